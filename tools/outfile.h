/* outfile.h - a file that appears whole or not at all: written under another name in the same
 * folder, synced, renamed.
 *
 * Owner:   the subcommand.
 * Memory:  outfile_commit() or outfile_abort() gives everything back; a zeroed struct is fine for
 *          the latter.
 * Errors:  ST_IO naming the file, ST_NOMEM.
 * Threads: the main thread only. */
#ifndef OCTET_TOOLS_OUTFILE_H
#define OCTET_TOOLS_OUTFILE_H

#include <stdio.h>

#include "config/status.h"

struct outfile {
    FILE *file; /* to write to; errors show at the commit at the latest */
    const char *path;
    char *temp;
};

int outfile_open(struct outfile *out, const char *path, struct error *err); /* borrows path */
int outfile_commit(struct outfile *out, struct error *err);
void outfile_abort(struct outfile *out);

#endif
