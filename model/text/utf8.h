/* utf8.h - one character at a time, by the table of well-formed byte sequences (Unicode, table
 * 3-7).
 *
 * Owner:   pure functions, any thread.
 * Memory:  nothing is allocated.
 * Errors:  none: every byte has an answer.
 * Threads: no shared state. */
#ifndef OCTET_MODEL_TEXT_UTF8_H
#define OCTET_MODEL_TEXT_UTF8_H

#include <stddef.h>

#define UTF8_MAX 4 /* bytes of a character */

enum utf8_kind {
    UTF8_WHOLE, /* a character */
    UTF8_BAD,   /* the maximal subpart of an ill-formed one: what one U+FFFD stands for */
    UTF8_CUT,   /* the bytes end inside a character */
};

/* left > 0 bytes at p → what stands there, and how many bytes it takes. */
enum utf8_kind utf8_look(const char *p, size_t left, size_t *ret_n);

/* Bytes from p on, up to len, that are whole characters. */
size_t utf8_span(const char *p, size_t len);

#endif
