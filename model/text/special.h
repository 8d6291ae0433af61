/* special.h - find tokens that stand in a text by name: control tokens, user-defined ones.
 *
 * Of the names that match, the leftmost wins, and of those that begin there the longest.
 *
 * Owner:   immutable after special_open; the vocabulary is borrowed and must outlive it.
 * Memory:  four bytes a name.
 * Errors:  ST_NOMEM.
 * Threads: any thread may look. */
#ifndef OCTET_MODEL_TEXT_SPECIAL_H
#define OCTET_MODEL_TEXT_SPECIAL_H

#include <stdbool.h>
#include <stddef.h>

#include "model/text/vocab.h"

struct special {
    int32_t *ids; /* in the order of their names' bytes */
    uint32_t n;
    uint32_t first[257]; /* ids whose names begin with byte b: first[b] up to first[b + 1] */
    size_t longest;      /* bytes of the longest of these names */
};

/* User-defined tokens and, if control, also control and unknown tokens. */
int special_open(const struct vocab *v, bool control, struct special *ret_special);
void special_done(struct special *s);

/* The first name in text at or after from: *ret_at and the token, or *ret_at = len and -1. */
int32_t special_find(const struct special *s, const struct vocab *v, const char *text, size_t len,
                     size_t from, size_t *ret_at);

#endif
