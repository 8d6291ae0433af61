/* progress.h - one line on a terminal that is rewritten while something long goes on; elsewhere
 * silence.
 *
 * Owner:   whoever started the long work.
 * Memory:  the struct is the caller's; nothing is allocated.
 * Errors:  none.
 * Threads: one thread at a time. */
#ifndef OCTET_CONFIG_PROGRESS_H
#define OCTET_CONFIG_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
    int fd;       /* where it goes: stderr */
    bool enabled; /* fd is a terminal */
    bool open;    /* a line is on the screen without its newline */
    char what[64];
    const char *unit;          /* what done and total count: "tokens"; NULL: bytes */
    char note[64];             /* said at the end of the line; "": nothing */
    double started_s, shown_s; /* monotonic */
};

void progress_init(struct progress *progress);

/* Has the shape of model_progress.fn; arg is a struct progress. total 0: unknown. Shows at most
 * ten times a second, and always the end. A new `what` starts a new line. */
void progress_update(void *arg, const char *what, uint64_t done, uint64_t total);

/* End the line, if one is open, so that what is printed next starts at column 0. */
void progress_end(struct progress *progress);

/* "quantizing  42 %  226 of 538 MB  113 MB/s  3 s left", without newline; returns its length. unit:
 * as in the struct. For tests. */
struct progress_state {
    const char *what, *unit;
    uint64_t done, total;
    double elapsed_s;
};
size_t progress_format(char *out, size_t cap, const struct progress_state *state);

#endif
