/* sets.h - a kernel of every set beside generic's. */
#ifndef OCTET_TESTS_KERNELS_SETS_H
#define OCTET_TESTS_KERNELS_SETS_H

#include <check.h>
#include <stddef.h>
#include <string.h>

#include "model/kernels/kernels.h"

static const size_t lengths[] = {1,  2,  3,  4,  8,  12, 15,  16,  17,   31,  32,
                                 33, 48, 63, 64, 65, 96, 100, 576, 1000, 1536};
enum { N_LENGTHS = sizeof(lengths) / sizeof(lengths[0]) };

/* Runs `call` for each set on fresh copies of `in`, compares what it left in `out`. */
#define FOR_EACH_SET(set)                                                                          \
    for (size_t set##_i = 0; kernels_at(set##_i); set##_i++)                                       \
        for (const struct kernels *set = kernels_at(set##_i), *set##_once = set; set##_once;       \
             set##_once = NULL)

static inline void same_bits(const char *what, const struct kernels *k, const void *a,
                             const void *b, size_t bytes, size_t n)
{
    ck_assert_msg(memcmp(a, b, bytes) == 0, "%s of %s differs from generic at length %zu", what,
                  k->name, n);
}

#endif
