/* attention_float_kernels.h - attention over one block of f16 or f32 positions, written once over
 * v16 (see float_kernels.h; softmax_kernels.h has the order of its sums). */
#ifndef OCTET_MODEL_KERNELS_ATTENTION_FLOAT_KERNELS_H
#define OCTET_MODEL_KERNELS_ATTENTION_FLOAT_KERNELS_H

#include "model/kernels/softmax_kernels.h"

static inline v16 load_kv(const void *p, size_t i, bool half)
{
    return half ? v16_load_half((const uint16_t *)p + i) : v16_load((const float *)p + i);
}

static void attn_f_one(const struct kv_block_f *b, struct attn_query *q, size_t n, size_t d,
                       size_t dv)
{
    v16 s[KV_VECS], p[KV_VECS];
    float m, l, old, fresh, pt[KV_BLOCK];

    for (size_t j = 0; j < KV_VECS; j++)
        s[j] = v16_set1(0.0f);
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < KV_VECS; j++)
            s[j] = v16_fma(v16_set1(q->qf[i]), load_kv(b->k, i * KV_BLOCK + 16 * j, b->half), s[j]);
    block_softmax(s, n, p, &m, &l);
    merge_block(q, m, l, &old, &fresh);
    for (size_t j = 0; j < KV_VECS; j++)
        v16_store(pt + 16 * j, p[j]);
    for (size_t c = 0; c < dv; c += 16) {
        v16 o = v16_set1(0.0f);
        for (size_t t = 0; t < n; t++)
            o = v16_fma(v16_set1(pt[t]), load_kv(b->v, t * dv + c, b->half), o);
        o = v16_fma(o, v16_set1(fresh), v16_mul(v16_load(q->o + c), v16_set1(old)));
        v16_store(q->o + c, o);
    }
}

static void attn_f(const struct kv_block_f *b, struct attn_query *q, size_t n, uint32_t pos0,
                   size_t d, size_t dv)
{
    for (size_t i = 0; i < n; i++) {
        size_t seen = block_visible(&q[i], pos0);
        if (seen)
            attn_f_one(b, &q[i], seen, d, dv);
    }
}

#endif
