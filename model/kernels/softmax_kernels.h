/* softmax_kernels.h - the softmax of attention, shared by its INT8 and its float half; over v16 (see
 * float_kernels.h).
 *
 * It runs in base 2 over blocks of KV_BLOCK positions in ascending order (Milakov and Gimelshein
 * 2018, online normalizer; Dao et al. 2022): each block is reduced by itself, then merged, so that
 * chunking can't change a result. attn_merge does the same for spans of blocks
 * (model/net/attention.c). */
#ifndef OCTET_MODEL_KERNELS_SOFTMAX_KERNELS_H
#define OCTET_MODEL_KERNELS_SOFTMAX_KERNELS_H

#include "model/kernels/float_kernels.h"

enum { KV_VECS = KV_BLOCK / 16 };

/* Vector j of a block of which n positions count: those lanes of a, the others of b. */
KERNEL_INLINE v16 first_of(v16 a, v16 b, const size_t n, size_t j)
{
    return n < KV_BLOCK ? v16_first(a, b, n > 16 * j ? n - 16 * j : 0) : a;
}

/* Base-2 logits s[KV_BLOCK], of which n count → p = 2^(s - max), 0 beyond n; the block's max and
 * sum. Inlined once for whole blocks, whose lanes need no masks. */
KERNEL_INLINE void block_softmax(const v16 *s, const size_t n, v16 *p, float *ret_max,
                                 float *ret_sum)
{
    const v16 low = v16_set1(-INFINITY), zero = v16_set1(0.0f);
    v16 top = low, sum = zero;
    for (size_t j = 0; j < KV_VECS; j++)
        top = v16_max(first_of(s[j], low, n, j), top);
    *ret_max = v16_hmax(top);
    for (size_t j = 0; j < KV_VECS; j++) {
        p[j] = first_of(exp2_v16(v16_sub(s[j], v16_set1(*ret_max))), zero, n, j);
        sum = v16_add(sum, p[j]);
    }
    *ret_sum = v16_sum(sum);
}

static inline float exp2_scalar(float x)
{
    float y[16];
    v16_store(y, exp2_v16(v16_set1(x)));
    return y[0];
}

/* Merge a block with maximum m and sum l into q: what it held is worth *ret_old of itself, the
 * block *ret_new. */
static inline void merge_block(struct attn_query *q, float m, float l, float *ret_old,
                               float *ret_new)
{
    float top = m > q->m ? m : q->m;
    *ret_old = q->m == top ? 1.0f : exp2_scalar(q->m - top);
    *ret_new = m == top ? 1.0f : exp2_scalar(m - top);
    q->l = q->l * *ret_old + l * *ret_new;
    q->m = top;
}

static void attn_merge(struct attn_query *sum, const struct attn_query *part, size_t dv)
{
    float old, fresh;

    if (part->m == -INFINITY)
        return;
    merge_block(sum, part->m, part->l, &old, &fresh);
    for (size_t d = 0; d < dv; d += 16) {
        v16 o = v16_mul(v16_load(sum->o + d), v16_set1(old));
        v16_store(sum->o + d, v16_fma(v16_load(part->o + d), v16_set1(fresh), o));
    }
}

static inline size_t block_visible(const struct attn_query *q, uint32_t pos0)
{
    if (q->n_pos <= pos0)
        return 0;
    return q->n_pos - pos0 < KV_BLOCK ? q->n_pos - pos0 : KV_BLOCK;
}

#endif
