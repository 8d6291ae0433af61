/* status.h - the one list of results, and the one sentence that explains a bad one.
 *
 * Owner:   nobody; plain values.
 * Memory:  struct error is a fixed buffer that the caller owns; nothing is allocated.
 * Errors:  functions return ST_OK or a negative enum status; outputs named ret_* change only on
 *          ST_OK.
 * Threads: no shared state. */
#ifndef OCTET_CONFIG_STATUS_H
#define OCTET_CONFIG_STATUS_H

#include <stddef.h>

enum status {
    ST_OK = 0,
    ST_NOMEM = -1,       /* memory ran out */
    ST_INVALID = -2,     /* the caller's value is wrong: names what and where */
    ST_FORMAT = -3,      /* a file's content is malformed */
    ST_UNSUPPORTED = -4, /* understood, but not built: names the feature */
    ST_IO = -5,          /* the operating system said no; the sentence carries strerror */
    ST_FULL = -6,        /* expected under load: no room now, back off */
    ST_NOTFOUND = -7,    /* the named thing is not there */
    ST_TOOLONG = -8,     /* more than a fixed limit allows */
    ST_CANCELLED = -9,   /* whoever asked has left */
    ST_DEADLINE = -10,   /* its time is up */
    ST_INTERNAL = -11,   /* our own arithmetic went wrong (a NaN, say); never the caller's fault */
};

/* One sentence for a human: names the file, flag or field, and what would be right. */
struct error {
    char text[512];
};

/* Fill err (NULL is fine) printf-style and return status, so that `return error_set(…)` reads as
 * one step. A text that does not fit is cut. */
int error_set(struct error *err, enum status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A short fixed name of a status, for logs ("ok", "no memory", …); never NULL. */
const char *status_name(int status);

#endif
