/* attention_kernels.h - attention over one block of INT8 positions, written once over v16 (see
 * float_kernels.h; softmax_kernels.h has the order of its sums).
 *
 * The including set has defined, before this, its integer products:
 *   qk_rows(k, dk, ahead, seen, q, n, s)   s[i][t] = comp_i + sum_d (k[t][d] + 128) * q_i[d]
 *   pv_rows(v, dv, ahead, seen, u, n, a)   a[i][d] = sum_t u_i[t] * v[t][d]
 * for n <= ATTN_TILE queries; positions from `seen` on need not be read (u is 0 there), and what
 * lies `ahead` bytes on may be fetched meanwhile.
 *
 * Both products are integers (design.md section 5): P times V's scales is quantized to u8 per
 * block against the block's own maximum. */
#ifndef OCTET_MODEL_KERNELS_ATTENTION_KERNELS_H
#define OCTET_MODEL_KERNELS_ATTENTION_KERNELS_H

#include "model/kernels/attention_float_kernels.h"
#include "model/kernels/gemm_f32_kernels.h"
#include "model/kernels/rows.h"
#include "model/kernels/softmax_kernels.h"

/* Softmax over one block's first seen[t] positions and P's quantization, for m queries, step by step
 * together: what one waits for, the others fill. unit: what one unit of u is worth in o, 0: nothing.
 * Inlined once more for whole blocks, whose lanes need no masks. */
KERNEL_INLINE void probs(const struct kv_block_i8 *b, struct attn_query *q, const size_t m,
                         const size_t *seen, const bool whole, int32_t (*dots)[KV_BLOCK],
                         uint8_t (*u)[KV_BLOCK], float *unit, float *ret_old)
{
    const v16 low = v16_set1(-INFINITY), zero = v16_set1(0.0f);
    v16 s[ATTN_TILE][KV_VECS], sum[ATTN_TILE], top[ATTN_TILE];
    float max[ATTN_TILE], fresh[ATTN_TILE];

    for (size_t t = 0; t < m; t++) {
        const size_t n = whole ? KV_BLOCK : seen[t];
        top[t] = low;
        for (size_t j = 0; j < KV_VECS; j++) {
            v16 d = v16_mul(i16_float(i16_load(dots[t] + 16 * j)), v16_load(b->ks + 16 * j));
            s[t][j] = v16_mul(d, v16_set1(q[t].scale));
            top[t] = v16_max(first_of(s[t][j], low, n, j), top[t]);
        }
    }
    for (size_t t = 0; t < m; t++)
        max[t] = v16_hmax(top[t]);
    for (size_t t = 0; t < m; t++) {
        const size_t n = whole ? KV_BLOCK : seen[t];
        sum[t] = top[t] = zero;
        for (size_t j = 0; j < KV_VECS; j++) {
            v16 e = first_of(exp2_v16(v16_sub(s[t][j], v16_set1(max[t]))), zero, n, j);
            sum[t] = v16_add(sum[t], e);
            /* the scales beyond may be anything */
            s[t][j] = first_of(v16_mul(e, v16_load(b->vs + 16 * j)), zero, n, j);
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

static void attn_i8(const struct kv_block_i8 *b, struct attn_query *q, size_t n, uint32_t pos0,
                    size_t dk, size_t dv)
{
    for (size_t i = 0; i < n; i += ATTN_TILE) {
        size_t m = n - i < ATTN_TILE ? n - i : ATTN_TILE;
        _Alignas(64) int32_t dots[ATTN_TILE][KV_BLOCK];
        _Alignas(64) uint8_t u[ATTN_TILE][KV_BLOCK] = {{0}};
        _Alignas(64) int32_t acc[ATTN_TILE][HEAD_MAX];
        float unit[ATTN_TILE], old[ATTN_TILE];
        size_t seen[ATTN_TILE], least = KV_BLOCK, most = 0;

        for (size_t t = 0; t < m; t++) {
            seen[t] = block_visible(&q[i + t], pos0);
            least = seen[t] < least ? seen[t] : least;
            most = seen[t] > most ? seen[t] : most;
        }
        if (!most)
            continue;
        /* The first tile fetches for all: the next ones find this block in the first cache. */
        ptrdiff_t ahead = i == 0 ? b->ahead : 0;
        ROWS_TO_4(m, qk_rows(b->k, dk, ahead, most, q + i, ROWS, dots));
        for (size_t j = 0; i == 0 && j < 2 * KV_BLOCK; j += 16)
            __builtin_prefetch((const char *)(b->ks + j) + ahead, 0, 2);
        if (least == KV_BLOCK)
            ROWS_TO_4(m, probs(b, q + i, ROWS, seen, true, dots, u, unit, old))
        else
            ROWS_TO_4(m, probs(b, q + i, ROWS, seen, false, dots, u, unit, old))
        ROWS_TO_4(m, pv_rows(b->v, dv, ahead, most, (const uint8_t(*)[KV_BLOCK])u, ROWS, acc));
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
    .rms_norm = rms_norm, .hadamard = hadamard, .quantize = quantize,                              \
    .quantize_affine = quantize_affine, .quantize_static = quantize_static,                        \
    .rounding_errors = rounding_errors, .silu_mul = silu_mul, .add = add, .rope = rope,            \
    .attn_i8 = attn_i8, .attn_f = attn_f, .gemm_f32 = gemm_f32, .attn_merge = attn_merge,          \
    .argmax = argmax, .exp_sum = exp_sum

#endif
