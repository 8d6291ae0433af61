/* avx2.c - AVX2 with FMA and F16C. Bytes are widened to 16 bits and multiplied by vpmaddwd:
 * vpmaddubsw would be shorter but saturates at 2^15, and every set must give the same sums. */
#include <string.h>

#include "model/kernels/rows.h"
#include "model/kernels/sets.h"
#include "model/kernels/vec_avx2.h"

/* Rows of activations are widened beforehand, SPAN inputs at a time. */
enum { ATTN_TILE = 4, TILE_ROWS = 6, FEW_ROWS = 2, SPAN = 256 };
/* Few rows take 16 columns at a time, more take 8: 12 of the 16 registers hold
 * sums. */
#define EIGHTS_OF(rows) ((rows) <= FEW_ROWS ? 2u : 1u)

#define INLINE static inline __attribute__((always_inline))

/* n, a multiple of 4, s8 (or u8) → 16 bits. */
INLINE void widen(const void *p, size_t n, const bool is_signed, int16_t *to)
{
    const char *from = p;
    for (; n >= 16; n -= 16, from += 16, to += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)from);
        _mm256_storeu_si256((__m256i *)(void *)to,
                            is_signed ? _mm256_cvtepi8_epi16(x) : _mm256_cvtepu8_epi16(x));
    }
    for (; n; n -= 4, from += 4, to += 4) {
        int32_t four;
        memcpy(&four, from, sizeof(four));
        __m128i x = _mm_cvtsi32_si128(four);
        _mm_storel_epi64((__m128i *)(void *)to,
                         is_signed ? _mm_cvtepi8_epi16(x) : _mm_cvtepu8_epi16(x));
    }
}

/* Four columns of four bytes as 16-bit numbers. */
INLINE __m256i columns(const uint8_t *p, const bool is_signed)
{
    __m128i x = _mm_load_si128((const __m128i *)(const void *)p);
    return is_signed ? _mm256_cvtepi8_epi16(x) : _mm256_cvtepu8_epi16(x);
}
INLINE __m256i four_times(const int16_t *p)
{
    return _mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)(const void *)p));
}
INLINE __m256i dot(__m256i sum, __m256i a, __m256i b)
{
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
    __asm__("" : "+x"(sum)); /* else gcc 12 keeps sums twice and spills */
    return sum;
}
/* a: sums of columns 0-3, b: of 4-7, each as two halves a column → eight sums
 * in order. */
INLINE __m256i join(__m256i a, __m256i b)
{
    return _mm256_permute4x64_epi64(_mm256_hadd_epi32(a, b), 0xD8);
}

/* sum[i][e] += rows x times eight columns e, n inputs; every 4 of them b goes
 * `stride` bytes on. */
INLINE void dots(const uint8_t *b, size_t stride, const bool is_signed, const int16_t *const *x,
                 size_t n, const size_t rows, __m256i (*sum)[2])
{
    const size_t fours = 2 * EIGHTS_OF(rows);
    __m256i acc[TILE_ROWS][4];

    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < fours; j++)
            acc[i][j] = _mm256_setzero_si256();
    for (size_t k = 0; k < n; k += 4, b += stride) {
        __m256i few[FEW_ROWS]; /* the shorter side's operands stay in registers */
        if (rows <= FEW_ROWS) {
            for (size_t i = 0; i < rows; i++)
                few[i] = four_times(x[i] + k);
            for (size_t j = 0; j < fours; j++) {
                __m256i w = columns(b + 16 * j, is_signed);
                for (size_t i = 0; i < rows; i++)
                    acc[i][j] = dot(acc[i][j], w, few[i]);
            }
        } else {
            few[0] = columns(b, is_signed);
            few[1] = columns(b + 16, is_signed);
            for (size_t i = 0; i < rows; i++) {
                __m256i a = four_times(x[i] + k);
                acc[i][0] = dot(acc[i][0], few[0], a);
                acc[i][1] = dot(acc[i][1], few[1], a);
            }
        }
    }
    for (size_t i = 0; i < rows; i++)
        for (size_t e = 0; e < fours / 2; e++)
            sum[i][e] = _mm256_add_epi32(sum[i][e], join(acc[i][2 * e], acc[i][2 * e + 1]));
}

INLINE void qk_rows(const uint8_t *k, size_t dk, ptrdiff_t ahead, size_t seen,
                    const struct attn_query *q, const size_t n, int32_t (*s)[KV_BLOCK])
{
    const size_t eights = EIGHTS_OF(n);
    int16_t wide[ATTN_TILE][HEAD_MAX];
    const int16_t *x[ATTN_TILE];

    (void)ahead;
    for (size_t i = 0; i < n; i++) {
        widen(q[i].q8, dk, true, wide[i]);
        x[i] = wide[i];
    }
    for (size_t t = 0; t < seen; t += 8 * eights) {
        __m256i sum[ATTN_TILE][2];
        for (size_t i = 0; i < n; i++)
            sum[i][0] = sum[i][1] = _mm256_set1_epi32(q[i].comp);
        dots(k + t / 16 * 16 * dk + t % 16 * 4, 64, false, x, dk, n, sum);
        for (size_t i = 0; i < n; i++)
            for (size_t e = 0; e < eights; e++)
                _mm256_store_si256((__m256i *)(s[i] + t + 8 * e), sum[i][e]);
    }
}

INLINE void pv_rows(const int8_t *v, size_t dv, ptrdiff_t ahead, size_t seen,
                    const uint8_t (*u)[KV_BLOCK], const size_t n, int32_t (*acc)[HEAD_MAX])
{
    const size_t eights = EIGHTS_OF(n), depth = (seen + 3) / 4 * 4;
    int16_t wide[ATTN_TILE][KV_BLOCK];
    const int16_t *x[ATTN_TILE];

    (void)ahead;
    for (size_t i = 0; i < n; i++) {
        widen(u[i], depth, false, wide[i]);
        x[i] = wide[i];
    }
    for (size_t d = 0; d < dv; d += 8 * eights) {
        __m256i sum[ATTN_TILE][2];
        for (size_t i = 0; i < n; i++)
            sum[i][0] = sum[i][1] = _mm256_setzero_si256();
        dots((const uint8_t *)v + 4 * d, 4 * dv, true, x, depth, n, sum);
        for (size_t i = 0; i < n; i++)
            for (size_t e = 0; e < eights; e++)
                _mm256_store_si256((__m256i *)(acc[i] + d + 8 * e), sum[i][e]);
    }
}

#include "model/kernels/attention_kernels.h"
#include "model/kernels/group_head_avx2.h"
#include "model/kernels/spread.h"

/* One group of a panel: f[i] += its sums times scales, for all 32 columns. */
INLINE void add_group(const struct packed_i8 *w, const uint8_t *panel, const struct quant_rows *a,
                      size_t r0, size_t g, const size_t rows, float (*f)[PANEL])
{
    const size_t n_groups = a->k / a->group, eights = EIGHTS_OF(rows);
    const uint8_t *bytes = panel + packed_head_bytes(w->wide);
    _Alignas(32) uint8_t spread[NIBBLE_GROUP_MAX * PANEL];
    int16_t wide[TILE_ROWS][SPAN];
    const int16_t *x[TILE_ROWS];
    __m256i sum[PANEL / 8][TILE_ROWS][2];

    if (w->nibbles)
        bytes = spread_nibbles(bytes, w->group, 4, 0, spread);
    for (size_t i = 0; i < rows; i++)
        for (size_t c = 0; c < PANEL / 8; c++)
            sum[c / eights * eights][i][c % eights] =
                start_of(w, panel, a, (r0 + i) * n_groups + g, 8 * c);
    for (size_t k = 0; k < a->group; k += SPAN) {
        const size_t n = a->group - k < SPAN ? a->group - k : SPAN;
        for (size_t i = 0; i < rows; i++) {
            widen(a->q + (r0 + i) * a->k + g * a->group + k, n, true, wide[i]);
            x[i] = wide[i];
        }
        for (size_t c = 0; c < PANEL / 8; c += eights)
            dots(bytes + k * PANEL + 32 * c, 4 * PANEL, false, x, n, rows, sum[c]);
    }
    for (size_t c = 0; c < PANEL / 8; c++) {
        __m256 sw = scales_of(w, panel, 8 * c);
        for (size_t i = 0; i < rows; i++) {
            __m256 s = _mm256_mul_ps(sw, _mm256_set1_ps(a->scale[(r0 + i) * n_groups + g]));
            __m256i n = sum[c / eights * eights][i][c % eights];
            _mm256_store_ps(f[i] + 8 * c, _mm256_fmadd_ps(_mm256_cvtepi32_ps(n), s,
                                                          _mm256_load_ps(f[i] + 8 * c)));
        }
    }
}

INLINE void gemm_rows(const struct packed_i8 *w, const struct quant_rows *a, size_t r0, size_t p,
                      const size_t rows, const struct gemm_out *out)
{
    const size_t left = w->n - p * PANEL,
                 group_bytes = packed_group_bytes(w->group, w->nibbles, w->wide);
    const uint8_t *panel = w->w + p * w->panel_bytes;
    _Alignas(32) float f[TILE_ROWS][PANEL];

    memset(f, 0, rows * sizeof(f[0]));
    for (size_t g = 0; g < w->k / w->group; g++)
        add_group(w, panel + g * group_bytes, a, r0, g, rows, f);
    for (size_t c = 0; c < PANEL && c < left; c += 8) {
        __m256i m = v16_mask8((ptrdiff_t)(left - c < 8 ? left - c : 8));
        for (size_t i = 0; i < rows; i++) {
            float *to = out->out + (r0 + i) * out->ld + p * PANEL + c;
            __m256 y = _mm256_load_ps(f[i] + c);
            if (out->add)
                y = _mm256_add_ps(_mm256_maskload_ps(to, m), y);
            _mm256_maskstore_ps(to, m, y);
        }
    }
}

#include "model/kernels/gemm_i8_kernels.h"

enum { PEAK_CHAINS = 6, DOT_MACS = 32 };

/* a is hidden: its product with b would be the same for every sum. */
INLINE i16 dot_step(i16 sum, i16 a, i16 b)
{
    __asm__ volatile("" : "+x"(a.lo), "+x"(a.hi));
    return (i16){_mm256_add_epi32(sum.lo, _mm256_madd_epi16(a.lo, b.lo)),
                 _mm256_add_epi32(sum.hi, _mm256_madd_epi16(a.hi, b.hi))};
}

#include "model/kernels/peak_kernels.h"

const struct kernels kernels_avx2 = {
    .name = "avx2", .pack = {4, 128}, .gemm_i8 = gemm_i8, KERNELS_SHARED, KERNELS_PEAK};
