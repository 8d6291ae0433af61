#include "tools/outfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int cannot(const struct outfile *out, struct error *err)
{
    return error_set(err, ST_IO, "%s: cannot be written: %s", out->path, strerror(errno));
}

int outfile_open(struct outfile *out, const char *path, struct error *err)
{
    size_t room = strlen(path) + 32;
    struct stat there;

    *out = (struct outfile){.path = path, .temp = malloc(room)};
    if (!out->temp)
        return error_set(err, ST_NOMEM, "%s: no memory to write it", path);
    if (stat(path, &there) == 0 && !S_ISREG(there.st_mode))
        return error_set(err, ST_IO, "%s: exists and is not a regular file", path);
    snprintf(out->temp, room, "%s.%ld.tmp", path, (long)getpid());
    out->file = fopen(out->temp, "wbxe");
    return out->file ? ST_OK : cannot(out, err);
}

int outfile_commit(struct outfile *out, struct error *err)
{
    int r = ST_OK;

    if (ferror(out->file) || fflush(out->file) || fsync(fileno(out->file)) ||
        rename(out->temp, out->path))
        r = cannot(out, err);
    if (r == ST_OK) {
        fclose(out->file); /* nothing is left in it: synced */
        out->file = NULL;
    }
    outfile_abort(out);
    return r;
}

void outfile_abort(struct outfile *out)
{
    if (out->file) {
        fclose(out->file);
        unlink(out->temp);
    }
    free(out->temp);
    out->file = NULL;
    out->temp = NULL;
}
