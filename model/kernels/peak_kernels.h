/* peak_kernels.h - how many multiply-adds a second the set's instructions give on registers alone:
 * the limit that products are held against (octet bench engine --roofline).
 *
 * The including set has defined, before this, dot_step(sum, a, b): the instruction of its integer
 * product on whole registers, DOT_MACS multiply-adds, and PEAK_CHAINS: how many sums it may hold in
 * registers, enough of them to hide the instruction's latency. Where a compiler could add up turns
 * in advance, dot_step hides an operand from it. */
#ifndef OCTET_MODEL_KERNELS_PEAK_KERNELS_H
#define OCTET_MODEL_KERNELS_PEAK_KERNELS_H

#include <string.h>

#include "model/kernels/kernels.h"

/* `turns` times sum = step for each of PEAK_CHAINS sums; the end makes the compiler believe that they
 * are read. */
#define PEAK_LOOP(vec, start, step)                                                                \
    const vec a = start, b = start;                                                                \
    vec sum[PEAK_CHAINS], seen[PEAK_CHAINS];                                                       \
    for (size_t i = 0; i < PEAK_CHAINS; i++)                                                       \
        sum[i] = start;                                                                            \
    for (size_t t = 0; t < turns; t++)                                                             \
        for (size_t i = 0; i < PEAK_CHAINS; i++)                                                   \
            sum[i] = step;                                                                         \
    for (size_t i = 0; i < PEAK_CHAINS; i++)                                                       \
        seen[i] = sum[i];                                                                          \
    __asm__ volatile("" : : "r"(seen) : "memory")

static double peak_i8(size_t turns)
{
    const v16 one = v16_set1(1.0f);
    PEAK_LOOP(i16, v16_rint(one), dot_step(sum[i], a, b));
    return (double)turns * PEAK_CHAINS * DOT_MACS;
}

static double peak_f32(size_t turns)
{
    PEAK_LOOP(v16, v16_set1(0.5f), v16_fma(a, b, sum[i]));
    return (double)turns * PEAK_CHAINS * 16;
}

#define KERNELS_PEAK .peak_i8 = peak_i8, .peak_f32 = peak_f32

#endif
