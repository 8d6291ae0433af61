/* attention_kernels.h - attention over one block of positions, written once over v16 (see
 * float_kernels.h).
 *
 * The including set has defined, before this, its integer products:
 *   qk_tile(k, dk, q, n, s)   s[i][t] = comp_i + sum_d (k[t][d] + 128) * q_i[d], n <= ATTN_TILE
 * queries pv_tile(v, dv, u, n, a)   a[i][d] = sum_t u_i[t] * v[t][d]
 *
 * Softmax runs in base 2 over blocks of KV_BLOCK positions in ascending order (Milakov and
 * Gimelshein 2018, online normalizer; Dao et al. 2022): each block is reduced by itself, then
 * merged, so that neither chunking nor a split over threads can change a result. With INT8 keys and
 * values both products are integers (design.md section 5): P times V's scales is quantized to u8
 * per block against the block's own maximum. */
#ifndef OCTET_MODEL_KERNELS_ATTENTION_KERNELS_H
#define OCTET_MODEL_KERNELS_ATTENTION_KERNELS_H

#include "model/kernels/float_kernels.h"

enum { KV_VECS = KV_BLOCK / 16 };

/* Base-2 logits s[KV_BLOCK], of which n count → p = 2^(s - max), 0 beyond n; the block's max and
 * sum. */
static inline void block_softmax(const v16 *s, size_t n, v16 *p, float *ret_max, float *ret_sum)
{
    const v16 low = v16_set1(-INFINITY), zero = v16_set1(0.0f);
    v16 top = low, sum = zero;
    for (size_t j = 0; j < KV_VECS; j++)
        top = v16_max(v16_first(s[j], low, n > 16 * j ? n - 16 * j : 0), top);
    *ret_max = v16_hmax(top);
    for (size_t j = 0; j < KV_VECS; j++) {
        v16 e = exp2_v16(v16_sub(s[j], v16_set1(*ret_max)));
        p[j] = v16_first(e, zero, n > 16 * j ? n - 16 * j : 0);
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

static inline size_t block_visible(const struct attn_query *q, uint32_t pos0)
{
    if (q->n_pos <= pos0)
        return 0;
    return q->n_pos - pos0 < KV_BLOCK ? q->n_pos - pos0 : KV_BLOCK;
}

/* Softmax of one query over one block and P's quantization. Returns what one unit of u is worth in
 * o, 0: nothing. */
static inline float attn_i8_probs(const struct kv_block_i8 *b, struct attn_query *q, size_t n,
                                  const int32_t *dots, uint8_t *u, float *ret_old)
{
    const v16 zero = v16_set1(0.0f);
    v16 s[KV_VECS], p[KV_VECS], top = zero;
    float m, l, fresh;

    for (size_t j = 0; j < KV_VECS; j++) {
        v16 d = v16_mul(i16_float(i16_load(dots + 16 * j)), v16_load(b->ks + 16 * j));
        s[j] = v16_mul(d, v16_set1(q->scale));
    }
    block_softmax(s, n, p, &m, &l);
    merge_block(q, m, l, ret_old, &fresh);
    for (size_t j = 0; j < KV_VECS; j++) {
        p[j] =
            v16_first(v16_mul(p[j], v16_load(b->vs + 16 * j)), zero, n > 16 * j ? n - 16 * j : 0);
        top = v16_max(p[j], top);
    }
    float max = v16_hmax(top);
    v16 inv = v16_set1(max > 1e-30f ? 255.0f / max : 0.0f);
    for (size_t j = 0; j < KV_VECS; j++)
        i16_store8(u + 16 * j, v16_rint(v16_mul(p[j], inv)));
    return max > 1e-30f ? max * (1.0f / 255.0f) * fresh : max * 0.0f;
}

static void attn_i8(const struct kv_block_i8 *b, struct attn_query *q, size_t n, uint32_t pos0,
                    size_t dk, size_t dv)
{
    for (size_t i = 0; i < n; i += ATTN_TILE) {
        size_t m = n - i < ATTN_TILE ? n - i : ATTN_TILE;
        _Alignas(64) int32_t dots[ATTN_TILE][KV_BLOCK];
        _Alignas(64) uint8_t u[ATTN_TILE][KV_BLOCK];
        _Alignas(64) int32_t acc[ATTN_TILE][HEAD_MAX];
        float unit[ATTN_TILE], old[ATTN_TILE];
        size_t seen[ATTN_TILE];

        qk_tile(b->k, dk, q + i, m, dots);
        for (size_t t = 0; t < m; t++) {
            seen[t] = block_visible(&q[i + t], pos0);
            if (seen[t])
                unit[t] = attn_i8_probs(b, &q[i + t], seen[t], dots[t], u[t], &old[t]);
            else
                memset(u[t], 0, KV_BLOCK);
        }
        pv_tile(b->v, dv, (const uint8_t(*)[KV_BLOCK])u, m, acc);
        for (size_t t = 0; t < m; t++)
            for (size_t d = 0; seen[t] && d < dv; d += 16) {
                v16 o = v16_mul(v16_load(q[i + t].o + d), v16_set1(old[t]));
                o = v16_fma(i16_float(i16_load(acc[t] + d)), v16_set1(unit[t]), o);
                v16_store(q[i + t].o + d, o);
            }
    }
}

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

/* The table of the including set: its integer product beside what is shared. */
#define KERNELS_SHARED                                                                             \
    .rms_norm = rms_norm, .hadamard = hadamard, .quantize = quantize, .silu_mul = silu_mul,        \
    .add = add, .rope = rope, .attn_i8 = attn_i8, .attn_f = attn_f, .argmax = argmax,              \
    .exp_sum = exp_sum

#endif
