/* buf.h - growable bytes with a maximum given at birth.
 *
 * Owner:   whoever called buf_init().
 * Memory:  one block, freed by buf_done(). data is NUL-terminated whenever len > 0 (the NUL is
 *          not in len).
 * Errors:  sticky: the first failure (ST_NOMEM, ST_TOOLONG) is kept in status, later writes do
 *          nothing, so that a run of writes is checked once at its end.
 * Threads: one at a time. */
#ifndef OCTET_API_BUF_H
#define OCTET_API_BUF_H

#include <stddef.h>

#include "config/status.h"

struct buf {
    char *data; /* NULL until something is written */
    size_t len, cap, max;
    int status;
};

void buf_init(struct buf *buf, size_t max); /* max: bytes of content */
void buf_done(struct buf *buf);
void buf_reset(struct buf *buf); /* empty and without error, memory kept */

int buf_put(struct buf *buf, const void *bytes, size_t len);
int buf_puts(struct buf *buf, const char *text);
int buf_printf(struct buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Hand the block to the caller, who free()s it; buf is empty afterwards. NULL if nothing was
 * written or status is not ST_OK. */
char *buf_take(struct buf *buf, size_t *ret_len);

#endif
