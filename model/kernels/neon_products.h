/* neon_products.h - the integer products of both NEON sets, but for the instructions themselves.
 *
 * The including set has defined, before this,
 *   dot_k(sum, k, q)   sum + k * q by fours, from k_start(comp) on: k is s8 + 128, comp is -128 *
 * sum(q)
 *   dot_p(sum, u, v)   sum + u * v by fours, from p_start(u) on for the u[KV_BLOCK] of a query
 *   group_sums(b, c0, x, group, rows, sum)   a group's bytes b, columns from c0, times x[rows]
 * and PACK_STEP, its packing's step, TILE_ROWS, the most rows of a tile; up to FEW_ROWS it is VECS
 * vectors of 4 columns wide, else half of that, so that 16 of the 32 registers hold sums. */
#ifndef OCTET_MODEL_KERNELS_NEON_PRODUCTS_H
#define OCTET_MODEL_KERNELS_NEON_PRODUCTS_H

#include "model/kernels/rows.h"
#include "model/kernels/spread.h"

enum { ATTN_TILE = 4 };

INLINE uint8x16_t four_u8(const uint8_t *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof(x));
    return vreinterpretq_u8_u32(vdupq_n_u32(x));
}

INLINE void qk_rows(const uint8_t *k, size_t dk, ptrdiff_t ahead, size_t seen,
                    const struct attn_query *q, const size_t n, int32_t (*s)[KV_BLOCK])
{
    (void)ahead;
    for (size_t t = 0; t < seen; t += 16, k += 16 * dk) {
        int32x4_t sum[ATTN_TILE][4];
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < 4; j++)
                sum[i][j] = k_start(q[i].comp);
        for (size_t c = 0; c < dk; c += 4) {
            int8x16_t a[ATTN_TILE];
            for (size_t i = 0; i < n; i++)
                a[i] = vreinterpretq_s8_u8(four_u8((const uint8_t *)q[i].q8 + c));
            for (size_t j = 0; j < 4; j++) {
                uint8x16_t b = vld1q_u8(k + 16 * c + 16 * j);
                for (size_t i = 0; i < n; i++)
                    sum[i][j] = dot_k(sum[i][j], b, a[i]);
            }
        }
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < 4; j++)
                vst1q_s32(s[i] + t + 4 * j, sum[i][j]);
    }
}

INLINE void pv_rows(const int8_t *v, size_t dv, ptrdiff_t ahead, size_t seen,
                    const uint8_t (*u)[KV_BLOCK], const size_t n, int32_t (*acc)[HEAD_MAX])
{
    (void)ahead;
    int32x4_t start[ATTN_TILE];

    for (size_t i = 0; i < n; i++)
        start[i] = p_start(u[i]);
    for (size_t d = 0; d < dv; d += 16) {
        int32x4_t sum[ATTN_TILE][4];
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < 4; j++)
                sum[i][j] = start[i];
        for (size_t t = 0; t < seen; t += 4) {
            uint8x16_t a[ATTN_TILE];
            for (size_t i = 0; i < n; i++)
                a[i] = four_u8(u[i] + t);
            for (size_t j = 0; j < 4; j++) {
                int8x16_t b = vld1q_s8(v + t * dv + 4 * d + 16 * j);
                for (size_t i = 0; i < n; i++)
                    sum[i][j] = dot_p(sum[i][j], a[i], b);
            }
        }
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < 4; j++)
                vst1q_s32(acc[i] + d + 4 * j, sum[i][j]);
    }
}

#include "model/kernels/attention_kernels.h"

/* Row `at` of a group, columns c0 on: f[j] += its sums, zero points taken off, * (the columns'
 * scales * the row's), j < vecs. */
INLINE void add_group(const struct packed_i8 *w, const uint8_t *head, size_t c0,
                      const struct quant_rows *a, size_t at, const int32x4_t *sum,
                      const size_t vecs, float32x4_t *f)
{
    const float row = a->scale[at];

    for (size_t j = 0; j < vecs; j++) {
        const size_t c = c0 + 4 * j;
        float32x4_t s;
        int32x4_t n = sum[j];
        if (w->wide) {
            const int32_t *z = (const int32_t *)(const void *)head + PANEL + c;
            s = vld1q_f32((const float *)(const void *)head + c);
            n = vmlaq_n_s32(n, vld1q_s32(z), a->comp[at] / 128);
            if (a->zero)
                n = vmlaq_n_s32(n, vld1q_s32(z + PANEL), a->zero[at]);
        } else {
            s = v16_load_half4((const uint16_t *)(const void *)head + c);
        }
        f[j] = vfmaq_f32(f[j], vcvtq_f32_s32(n), vmulq_n_f32(s, row));
    }
}

/* A row's columns to where they go; only `left` of them exist. */
INLINE void put_row(const float32x4_t *f, const size_t vecs, float *to, size_t left, bool add)
{
    for (size_t j = 0; j < vecs && 4 * j < left; j++, to += 4) {
        size_t n = left - 4 * j < 4 ? left - 4 * j : 4;
        float t[4] = {0};
        if (n == 4) {
            vst1q_f32(to, add ? vaddq_f32(vld1q_f32(to), f[j]) : f[j]);
            continue;
        }
        memcpy(t, to, n * sizeof(float));
        vst1q_f32(t, add ? vaddq_f32(vld1q_f32(t), f[j]) : f[j]);
        memcpy(to, t, n * sizeof(float));
    }
}

/* `rows` rows from r0 times columns c0 .. of panel p. */
INLINE void gemm_rows(const struct packed_i8 *w, const struct quant_rows *a, size_t r0, size_t p,
                      const size_t rows, const struct gemm_out *out)
{
    const size_t n_groups = w->k / w->group, left = w->n - p * PANEL,
                 vecs = rows <= FEW_ROWS ? VECS : VECS / 2;

    for (size_t c0 = 0; c0 < PANEL && c0 < left; c0 += 4 * vecs) {
        const uint8_t *panel = w->w + p * w->panel_bytes;
        const int8_t *x[TILE_ROWS];
        float32x4_t f[TILE_ROWS][VECS];

        for (size_t i = 0; i < rows; i++) {
            x[i] = a->q + (r0 + i) * a->k;
            for (size_t j = 0; j < vecs; j++)
                f[i][j] = vdupq_n_f32(0.0f);
        }
        for (size_t g = 0; g < n_groups; g++) {
            const uint8_t *b = panel + packed_head_bytes(w->wide);
            uint8_t spread[NIBBLE_GROUP_MAX * PANEL];
            int32x4_t sum[TILE_ROWS][VECS];
            if (w->nibbles)
                b = spread_nibbles(b, w->group, PACK_STEP, 8, spread);
            group_sums(b, c0, x, w->group, rows, sum);
            for (size_t i = 0; i < rows; i++) {
                x[i] += w->group;
                add_group(w, panel, c0, a, (r0 + i) * n_groups + g, sum[i], vecs, f[i]);
            }
            panel += packed_group_bytes(w->group, w->nibbles, w->wide);
        }
        for (size_t i = 0; i < rows; i++)
            put_row(f[i], vecs, out->out + (r0 + i) * out->ld + p * PANEL + c0, left - c0,
                    out->add);
    }
}

static void gemm_i8(const struct packed_i8 *w, const struct quant_rows *a, size_t rows, size_t p0,
                    size_t p1, const struct gemm_out *out)
{
    for (size_t p = p0; p < p1; p++)
        for (size_t r = 0; r < rows; r += TILE_ROWS) {
            size_t n = rows - r < TILE_ROWS ? rows - r : TILE_ROWS;
            ROWS_TO_4(n, gemm_rows(w, a, r, p, ROWS, out))
        }
}

/* dot_step of peak_kernels.h: the set's instruction on all four registers. */
#define DOT_STEP(dot)                                                                              \
    INLINE i16 dot_step(i16 sum, i16 a, i16 b)                                                     \
    {                                                                                              \
        return (i16){dot(sum.a, vreinterpretq_s8_s32(a.a), vreinterpretq_s8_s32(b.a)),             \
                     dot(sum.b, vreinterpretq_s8_s32(a.b), vreinterpretq_s8_s32(b.b)),             \
                     dot(sum.c, vreinterpretq_s8_s32(a.c), vreinterpretq_s8_s32(b.c)),             \
                     dot(sum.d, vreinterpretq_s8_s32(a.d), vreinterpretq_s8_s32(b.d))};            \
    }

#endif
