/* escape.h - any bytes → the inside of a JSON string, valid whatever came in.
 *
 * Owner, memory, threads: pure functions over the caller's buffers. Errors: none. */
#ifndef OCTET_CONFIG_ESCAPE_H
#define OCTET_CONFIG_ESCAPE_H

#include <stddef.h>

#define ESCAPE_MAX 6 /* bytes that one step can give */

/* Take one character at *s (before end) and write it escaped: quote, backslash and control
 * characters as JSON asks (RFC 8259 section 7), other UTF-8 as it is, an invalid byte as U+FFFD.
 * Advances *s; returns 1 .. 6. */
size_t escape_step(const char **s, const char *end, char out[ESCAPE_MAX]);

/* Length of the well-formed UTF-8 character at s (Unicode table 3-7: no overlong forms, no
 * surrogates), 0 if there is none. */
size_t utf8_len(const char *s, const char *end);

/* How many of the len bytes at s to show when at most max fit: never ends inside a character. */
size_t utf8_cut(const char *s, size_t len, size_t max);

#endif
