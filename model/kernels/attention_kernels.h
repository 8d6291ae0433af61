/* attention_kernels.h - attention over one block of INT8 positions, written once over v16 (see
 * float_kernels.h; softmax_kernels.h has the order of its sums).
 *
 * The including set has defined, before this, its integer products:
 *   qk_tile(k, dk, ahead, q, n, s)   s[i][t] = comp_i + sum_d (k[t][d] + 128) * q_i[d]
 *   pv_tile(v, dv, ahead, u, n, a)   a[i][d] = sum_t u_i[t] * v[t][d]
 * for n <= ATTN_TILE queries; what lies `ahead` bytes on may be fetched meanwhile.
 *
 * Both products are integers (design.md section 5): P times V's scales is quantized to u8 per
 * block against the block's own maximum. */
#ifndef OCTET_MODEL_KERNELS_ATTENTION_KERNELS_H
#define OCTET_MODEL_KERNELS_ATTENTION_KERNELS_H

#include "model/kernels/attention_float_kernels.h"
#include "model/kernels/gemm_f32_kernels.h"
#include "model/kernels/rows.h"
#include "model/kernels/softmax_kernels.h"

/* Softmax of one query over n positions of one block and P's quantization. Returns what one unit of
 * u is worth in o, 0: nothing. */
KERNEL_INLINE float probs(const struct kv_block_i8 *b, struct attn_query *q, const size_t n,
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
        p[j] = v16_mul(p[j], v16_load(b->vs + 16 * j));
        if (n < KV_BLOCK) /* what lies beyond may be anything */
            p[j] = v16_first(p[j], zero, lanes_of(n, j));
        top = v16_max(p[j], top);
    }
    float max = v16_hmax(top);
    v16 inv = v16_set1(max > 1e-30f ? 255.0f / max : 0.0f);
    for (size_t j = 0; j < KV_VECS; j++)
        i16_store8(u + 16 * j, v16_rint(v16_mul(p[j], inv)));
    return max > 1e-30f ? max * (1.0f / 255.0f) * fresh : max * 0.0f;
}

/* The same for m queries that see the whole block, step by step together: what one waits for, the
 * others fill. */
KERNEL_INLINE void probs_together(const struct kv_block_i8 *b, struct attn_query *q, const size_t m,
                                  const int32_t (*dots)[KV_BLOCK], uint8_t (*u)[KV_BLOCK],
                                  float *unit, float *ret_old)
{
    v16 s[ATTN_TILE][KV_VECS], sum[ATTN_TILE], top[ATTN_TILE];
    float max[ATTN_TILE], fresh[ATTN_TILE];

    for (size_t t = 0; t < m; t++) {
        top[t] = v16_set1(-INFINITY);
        for (size_t j = 0; j < KV_VECS; j++) {
            v16 d = v16_mul(i16_float(i16_load(dots[t] + 16 * j)), v16_load(b->ks + 16 * j));
            s[t][j] = v16_mul(d, v16_set1(q[t].scale));
            top[t] = v16_max(s[t][j], top[t]);
        }
    }
    for (size_t t = 0; t < m; t++)
        max[t] = v16_hmax(top[t]);
    for (size_t t = 0; t < m; t++) {
        sum[t] = top[t] = v16_set1(0.0f);
        for (size_t j = 0; j < KV_VECS; j++) {
            v16 e = exp2_negative(v16_sub(s[t][j], v16_set1(max[t])));
            sum[t] = v16_add(sum[t], e);
            s[t][j] = v16_mul(e, v16_load(b->vs + 16 * j));
            top[t] = v16_max(s[t][j], top[t]);
        }
    }
    for (size_t t = 0; t < m; t++) {
        merge_block(&q[t], max[t], v16_sum(sum[t]), &ret_old[t], &fresh[t]);
        max[t] = v16_hmax(top[t]);
        unit[t] = max[t] > 1e-30f ? max[t] * (1.0f / 255.0f) * fresh[t] : max[t] * 0.0f;
    }
    for (size_t t = 0; t < m; t++) {
        v16 inv = v16_set1(max[t] > 1e-30f ? 255.0f / max[t] : 0.0f);
        for (size_t j = 0; j < KV_VECS; j++)
            i16_store8(u[t] + 16 * j, v16_rint(v16_mul(s[t][j], inv)));
    }
}

/* For m <= ATTN_TILE queries, of which some may see nothing of the block, or a part. */
static void attn_i8_probs(const struct kv_block_i8 *b, struct attn_query *q, size_t m,
                          const size_t *seen, const int32_t (*dots)[KV_BLOCK],
                          uint8_t (*u)[KV_BLOCK], float *unit, float *ret_old)
{
    size_t whole = 0;

    while (whole < m && seen[whole] == KV_BLOCK)
        whole++;
    if (whole == m) {
        ROWS_TO_4(m, probs_together(b, q, ROWS, dots, u, unit, ret_old))
        return;
    }
    for (size_t t = 0; t < m; t++)
        if (seen[t])
            unit[t] = probs(b, &q[t], seen[t], dots[t], u[t], &ret_old[t]);
        else
            memset(u[t], 0, KV_BLOCK);
}

static void attn_i8(const struct kv_block_i8 *b, struct attn_query *q, size_t n, uint32_t pos0,
                    size_t dk, size_t dv)
{
    for (size_t i = 0; i < n; i += ATTN_TILE) {
        size_t m = n - i < ATTN_TILE ? n - i : ATTN_TILE;
        _Alignas(64) int32_t dots[ATTN_TILE][KV_BLOCK];
        _Alignas(64) uint8_t u[ATTN_TILE][KV_BLOCK] = {{0}};
        _Alignas(64) int32_t acc[ATTN_TILE][HEAD_MAX];
        float unit[ATTN_TILE], old[ATTN_TILE];
        size_t seen[ATTN_TILE];

        /* The first tile fetches for all: the next ones find this block in the first cache. */
        ptrdiff_t ahead = i == 0 ? b->ahead : 0;
        qk_tile(b->k, dk, ahead, q + i, m, dots);
        for (size_t t = 0; t < m; t++)
            seen[t] = block_visible(&q[i + t], pos0);
        attn_i8_probs(b, q + i, m, seen, (const int32_t(*)[KV_BLOCK])dots, u, unit, old);
        pv_tile(b->v, dv, ahead, (const uint8_t(*)[KV_BLOCK])u, m, acc);
        for (size_t t = 0; t < m; t++)
            for (size_t d = 0; seen[t] && d < dv; d += 16) {
                v16 o = v16_mul(v16_load(q[i + t].o + d), v16_set1(old[t]));
                o = v16_fma(i16_float(i16_load(acc[t] + d)), v16_set1(unit[t]), o);
                v16_store(q[i + t].o + d, o);
            }
    }
}

/* The table of the including set: its integer product beside what is shared. */
#define KERNELS_SHARED                                                                             \
    .rms_norm = rms_norm, .hadamard = hadamard, .quantize = quantize, .silu_mul = silu_mul,        \
    .add = add, .rope = rope, .attn_i8 = attn_i8, .attn_f = attn_f, .gemm_f32 = gemm_f32,          \
    .attn_merge = attn_merge, .argmax = argmax, .exp_sum = exp_sum

#endif
