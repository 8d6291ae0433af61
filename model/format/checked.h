/* checked.h - sizes from outside: arithmetic that says when it overflows, and a cursor that can't
 * leave its bytes.
 *
 * Owner:   pure functions, any thread.
 * Memory:  nothing is allocated; a cursor borrows its bytes.
 * Errors:  true is success; on false nothing was changed.
 * Threads: no shared state. */
#ifndef OCTET_MODEL_FORMAT_CHECKED_H
#define OCTET_MODEL_FORMAT_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Numbers in files are little-endian and are copied out as they are. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "octet reads files on little-endian machines");

static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *ret_sum)
{
    uint64_t sum;

    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *ret_sum = sum;
    return true;
}

static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *ret_product)
{
    uint64_t product;

    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *ret_product = product;
    return true;
}

/* a rounded up to a multiple of step, a power of two. */
static inline bool checked_align(uint64_t a, uint64_t step, uint64_t *ret_aligned)
{
    uint64_t sum;

    if (!checked_add(a, step - 1, &sum))
        return false;
    *ret_aligned = sum & ~(step - 1);
    return true;
}

struct cursor {
    const uint8_t *at;
    size_t left;
};

static inline bool cursor_take(struct cursor *c, uint64_t n, const uint8_t **ret_bytes)
{
    if (n > c->left)
        return false;
    *ret_bytes = c->at;
    c->at += n;
    c->left -= (size_t)n;
    return true;
}

static inline bool cursor_u32(struct cursor *c, uint32_t *ret_value)
{
    const uint8_t *bytes;

    if (!cursor_take(c, sizeof(*ret_value), &bytes))
        return false;
    memcpy(ret_value, bytes, sizeof(*ret_value));
    return true;
}

static inline bool cursor_u64(struct cursor *c, uint64_t *ret_value)
{
    const uint8_t *bytes;

    if (!cursor_take(c, sizeof(*ret_value), &bytes))
        return false;
    memcpy(ret_value, bytes, sizeof(*ret_value));
    return true;
}

#endif
