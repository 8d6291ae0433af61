/* avxvnni.c - AVX-VNNI: vpdpbusd on ymm registers, for CPUs that have it without AVX-512.
 *
 * avxvnni512vl.c compiles this file once more with the AVX512VL form of the same instruction, so
 * that CPUs without AVX-VNNI can test it. */
#include <string.h>

#include "model/kernels/rows.h"
#include "model/kernels/sets.h"
#include "model/kernels/vec_avx2.h"

enum { ATTN_TILE = 4, TILE_ROWS = 6 };

#define INLINE static inline __attribute__((always_inline))

#ifndef AVXVNNI_NAME
#define AVXVNNI_NAME "avxvnni"
#define AVXVNNI_TABLE kernels_avxvnni
#define AVXVNNI_DOT _mm256_dpbusd_avx_epi32
#endif

/* sum + u x s, four products a lane. */
INLINE __m256i dot(__m256i sum, __m256i u, __m256i s)
{
    sum = AVXVNNI_DOT(sum, u, s);
    __asm__("" : "+x"(sum)); /* else gcc 12 keeps sums twice and spills: half the speed */
    return sum;
}
INLINE __m256i load(const void *p)
{
    return _mm256_load_si256(p);
}
INLINE __m256i four(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof(x));
    return _mm256_set1_epi32(x);
}

/* A tile is rows x vectors of 8 columns: few rows by 4 vectors, more by 2, so that 12 of the 16
 * registers hold sums and what is left holds the shorter side's operands. */
enum { VECS = 4, FEW_ROWS = 3 };
#define VECS_OF(rows) ((rows) <= FEW_ROWS ? 4u : 2u)

/* Four inputs more: sum[i][j] += four bytes at x[i] times vector j, of which two lie side by side
 * and the next two `far` bytes on. */
INLINE void step(__m256i (*sum)[VECS], const size_t rows, const uint8_t *b, size_t far,
                 const int8_t *const *x, size_t k)
{
    __m256i few[FEW_ROWS];

    if (rows <= FEW_ROWS) {
        for (size_t i = 0; i < rows; i++)
            few[i] = four(x[i] + k);
        for (size_t j = 0; j < 4; j++) {
            __m256i v = load(b + j / 2 * far + j % 2 * 32);
            for (size_t i = 0; i < rows; i++)
                sum[i][j] = dot(sum[i][j], v, few[i]);
        }
        return;
    }
    few[0] = load(b);
    few[1] = load(b + 32);
    for (size_t i = 0; i < rows; i++) {
        __m256i a = four(x[i] + k);
        sum[i][0] = dot(sum[i][0], few[0], a);
        sum[i][1] = dot(sum[i][1], few[1], a);
    }
}

INLINE void qk_rows(const uint8_t *k, size_t dk, ptrdiff_t ahead, size_t seen,
                    const struct attn_query *q, const size_t n, int32_t (*s)[KV_BLOCK])
{
    const size_t vecs = VECS_OF(n);
    const int8_t *x[ATTN_TILE];

    (void)ahead;
    for (size_t i = 0; i < n; i++)
        x[i] = q[i].q8;
    for (size_t t = 0; t < seen; t += 8 * vecs) {
        __m256i acc[ATTN_TILE][VECS];
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < vecs; j++)
                acc[i][j] = _mm256_set1_epi32(q[i].comp);
        for (size_t c = 0; c < dk; c += 4)
            step(acc, n, k + t * dk + 16 * c, 16 * dk, x, c);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < vecs; j++)
                _mm256_store_si256((__m256i *)(s[i] + t + 8 * j), acc[i][j]);
    }
}

INLINE void pv_columns(const int8_t *v, size_t dv, size_t seen, const uint8_t (*u)[KV_BLOCK],
                       const size_t n, const size_t vecs, int32_t (*acc)[HEAD_MAX])
{
    __m256i sum[ATTN_TILE][VECS];

    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < vecs; j++)
            sum[i][j] = _mm256_setzero_si256();
    for (size_t t = 0; t < seen; t += 4)
        for (size_t j = 0; j < vecs; j++) {
            __m256i b = load(v + t * dv + 32 * j);
            for (size_t i = 0; i < n; i++)
                sum[i][j] = dot(sum[i][j], four(u[i] + t), b);
        }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < vecs; j++)
            _mm256_store_si256((__m256i *)(acc[i] + 8 * j), sum[i][j]);
}

INLINE void pv_rows(const int8_t *v, size_t dv, ptrdiff_t ahead, size_t seen,
                    const uint8_t (*u)[KV_BLOCK], const size_t n, int32_t (*acc)[HEAD_MAX])
{
    const size_t wide = 8 * VECS_OF(n);
    size_t d = 0;

    (void)ahead;
    for (; d + wide <= dv; d += wide)
        pv_columns(v + 4 * d, dv, seen, u, n, wide / 8, (int32_t(*)[HEAD_MAX])(acc[0] + d));
    for (; d < dv; d += 16)
        pv_columns(v + 4 * d, dv, seen, u, n, 2, (int32_t(*)[HEAD_MAX])(acc[0] + d));
}

#include "model/kernels/attention_kernels.h"
#include "model/kernels/group_head_avx2.h"
#include "model/kernels/spread.h"

/* `rows` rows from r0 times `vecs` eights of columns from column c0 of a panel: the sums in f. */
INLINE void gemm_tile(const struct packed_i8 *w, const struct quant_rows *a, size_t r0,
                      const uint8_t *panel, size_t c0, const size_t rows, __m256 (*f)[VECS])
{
    const size_t n_groups = w->k / w->group, vecs = VECS_OF(rows);
    const int8_t *x[TILE_ROWS];

    for (size_t i = 0; i < rows; i++) {
        x[i] = a->q + (r0 + i) * a->k;
        for (size_t j = 0; j < vecs; j++)
            f[i][j] = _mm256_setzero_ps();
    }
    for (size_t g = 0; g < n_groups; g++) {
        const size_t at = r0 * n_groups + g;
        const uint8_t *b = panel + packed_head_bytes(w->wide);
        _Alignas(32) uint8_t spread[NIBBLE_GROUP_MAX * PANEL];
        __m256i acc[TILE_ROWS][VECS];

        if (w->nibbles)
            b = spread_nibbles(b, w->group, 4, 0, spread);
        b += 4 * c0;
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < vecs; j++)
                acc[i][j] = start_of(w, panel, a, at + i * n_groups, c0 + 8 * j);
        for (size_t k = 0; k < w->group; k += 4, b += 4 * PANEL)
            step(acc, rows, b, 64, x, g * w->group + k);
        for (size_t j = 0; j < vecs; j++) {
            __m256 sw = scales_of(w, panel, c0 + 8 * j);
            for (size_t i = 0; i < rows; i++)
                f[i][j] = _mm256_fmadd_ps(
                    _mm256_cvtepi32_ps(acc[i][j]),
                    _mm256_mul_ps(sw, _mm256_set1_ps(a->scale[at + i * n_groups])), f[i][j]);
        }
        panel += packed_group_bytes(w->group, w->nibbles, w->wide);
    }
}

INLINE void gemm_rows(const struct packed_i8 *w, const struct quant_rows *a, size_t r0, size_t p,
                      const size_t rows, const struct gemm_out *out)
{
    const size_t left = w->n - p * PANEL, vecs = VECS_OF(rows);

    for (size_t c0 = 0; c0 < PANEL && c0 < left; c0 += 8 * vecs) {
        __m256 f[TILE_ROWS][VECS];
        gemm_tile(w, a, r0, w->w + p * w->panel_bytes, c0, rows, f);
        for (size_t j = 0; j < vecs; j++) {
            size_t c = c0 + 8 * j;
            __m256i m = v16_mask8((ptrdiff_t)left - (ptrdiff_t)c);
            for (size_t i = 0; i < rows; i++) {
                float *to = out->out + (r0 + i) * out->ld + p * PANEL + c;
                if (out->add)
                    f[i][j] = _mm256_add_ps(_mm256_maskload_ps(to, m), f[i][j]);
                _mm256_maskstore_ps(to, m, f[i][j]);
            }
        }
    }
}

#include "model/kernels/gemm_i8_kernels.h"

enum { PEAK_CHAINS = 6, DOT_MACS = 64 };

INLINE i16 dot_step(i16 sum, i16 a, i16 b)
{
    return (i16){dot(sum.lo, a.lo, b.lo), dot(sum.hi, a.hi, b.hi)};
}

#include "model/kernels/peak_kernels.h"

const struct kernels AVXVNNI_TABLE = {
    .name = AVXVNNI_NAME, .pack = {4, 128}, .gemm_i8 = gemm_i8, KERNELS_SHARED, KERNELS_PEAK};
