/* filter.h - headers that two parsers could read differently are refused before anything is done.
 *
 * libmicrohttpd 0.9.75 takes the first of two Content-Length, prefers chunked where both are given,
 * and glues a folded header's name to its value; behind a proxy that reads them another way, each
 * is a way to smuggle a second request past it (RFC 9112 section 11.2).
 *
 * Owner, memory: the caller's struct. Errors: filter_verdict(). Threads: no shared state. */
#ifndef OCTET_SERVER_FILTER_H
#define OCTET_SERVER_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/error.h"

struct filter {
    unsigned n_length, n_coding, n_host;
    bool chunked;    /* the only Transfer-Encoding is exactly "chunked" */
    bool bad_length; /* Content-Length is not plain digits */
    bool bad_header; /* a name that is no token, or a near miss of the two above */
    uint64_t length; /* Content-Length, UINT64_MAX if it is more */
};

void filter_header(struct filter *filter, const char *name, size_t name_len, const char *value,
                   size_t value_len);

/* ST_OK, or ST_INVALID with err filled (400 or 501); the connection must then be closed. */
int filter_verdict(const struct filter *filter, const char *version, struct api_error *err);

static inline bool filter_has_body(const struct filter *filter)
{
    return filter->length > 0 || filter->n_coding > 0;
}

#endif
