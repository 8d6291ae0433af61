/* avx2.c - AVX2 with FMA and F16C. Bytes are widened to 16 bits and multiplied by vpmaddwd:
 * vpmaddubsw would be shorter but saturates at 2^15, and every set must give the same sums. */
#include <string.h>

#include "model/kernels/sets.h"
#include "model/kernels/vec_avx2.h"

enum { ATTN_TILE = 4, TILE_ROWS = 3 };

#define INLINE static inline __attribute__((always_inline))

/* Four s8 (or u8) at p as 16-bit numbers, four times over. */
INLINE __m256i four_s8(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof(x));
    return _mm256_broadcastq_epi64(_mm_cvtepi8_epi16(_mm_cvtsi32_si128(x)));
}
INLINE __m256i four_u8(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof(x));
    return _mm256_broadcastq_epi64(_mm_cvtepu8_epi16(_mm_cvtsi32_si128(x)));
}
INLINE __m256i wide_u8(const void *p)
{
    return _mm256_cvtepu8_epi16(_mm_load_si128((const __m128i *)p));
}
INLINE __m256i wide_s8(const void *p)
{
    return _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)p));
}
/* a: sums of columns 0-3, b: of 4-7, each as two halves a column → eight sums in order. */
INLINE __m256i join(__m256i a, __m256i b)
{
    return _mm256_permute4x64_epi64(_mm256_hadd_epi32(a, b), 0xD8);
}

/* 16 columns x rows: sum over k4 quads of wide(b) * a. b advances `step` bytes a quad. */
static void qk_tile(const uint8_t *k, size_t dk, const struct attn_query *q, size_t n,
                    int32_t (*s)[KV_BLOCK])
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < KV_BLOCK / 16; j++) {
            __m256i acc[4], comp = _mm256_set1_epi32(q[i].comp);
            for (size_t e = 0; e < 4; e++)
                acc[e] = _mm256_setzero_si256();
            for (size_t c = 0; c < dk; c += 4) {
                __m256i a = four_s8(q[i].q8 + c);
                for (size_t e = 0; e < 4; e++)
                    acc[e] = _mm256_add_epi32(
                        acc[e], _mm256_madd_epi16(wide_u8(k + (j * dk + c) * 16 + 16 * e), a));
            }
            _mm256_store_si256((__m256i *)(s[i] + 16 * j),
                               _mm256_add_epi32(join(acc[0], acc[1]), comp));
            _mm256_store_si256((__m256i *)(s[i] + 16 * j + 8),
                               _mm256_add_epi32(join(acc[2], acc[3]), comp));
        }
}

static void pv_tile(const int8_t *v, size_t dv, const uint8_t (*u)[KV_BLOCK], size_t n,
                    int32_t (*acc)[HEAD_MAX])
{
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < dv; d += 16) {
            __m256i sum[4];
            for (size_t e = 0; e < 4; e++)
                sum[e] = _mm256_setzero_si256();
            for (size_t t = 0; t < KV_BLOCK; t += 4) {
                __m256i a = four_u8(u[i] + t);
                for (size_t e = 0; e < 4; e++)
                    sum[e] = _mm256_add_epi32(
                        sum[e], _mm256_madd_epi16(wide_s8(v + t * dv + 4 * d + 16 * e), a));
            }
            _mm256_store_si256((__m256i *)(acc[i] + d), join(sum[0], sum[1]));
            _mm256_store_si256((__m256i *)(acc[i] + d + 8), join(sum[2], sum[3]));
        }
}

#include "model/kernels/attention_kernels.h"

/* `rows` rows times 8 columns of a panel (the c8-th eight): the group sums in f32 come out in y. */
INLINE void gemm_tile(const struct packed_i8 *w, const struct quant_rows *a, size_t r0,
                      const uint8_t *panel, size_t c8, const size_t rows, __m256 *f)
{
    const size_t n_groups = w->k / w->group;
    const int8_t *x = a->q + r0 * a->k;

    for (size_t i = 0; i < rows; i++)
        f[i] = _mm256_setzero_ps();
    for (size_t g = 0; g < n_groups; g++) {
        const uint8_t *b = panel + 2 * PANEL + 32 * c8;
        __m256i lo[TILE_ROWS], hi[TILE_ROWS];
        for (size_t i = 0; i < rows; i++)
            lo[i] = hi[i] = _mm256_setzero_si256();
        for (size_t k = 0; k < w->group; k += 4, b += 4 * PANEL) {
            __m256i b0 = wide_u8(b), b1 = wide_u8(b + 16);
            for (size_t i = 0; i < rows; i++) {
                __m256i q = four_s8(x + i * a->k + k);
                lo[i] = _mm256_add_epi32(lo[i], _mm256_madd_epi16(b0, q));
                hi[i] = _mm256_add_epi32(hi[i], _mm256_madd_epi16(b1, q));
            }
        }
        __m256 sw =
            _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)(panel + 16 * c8)));
        for (size_t i = 0; i < rows; i++) {
            size_t at = (r0 + i) * n_groups + g;
            __m256i sum = _mm256_add_epi32(join(lo[i], hi[i]), _mm256_set1_epi32(a->comp[at]));
            f[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum),
                                   _mm256_mul_ps(sw, _mm256_set1_ps(a->scale[at])), f[i]);
        }
        panel += 2 * PANEL + w->group * PANEL;
        x += w->group;
    }
}

INLINE void gemm_rows(const struct packed_i8 *w, const struct quant_rows *a, size_t r0, size_t p,
                      const size_t rows, const struct gemm_out *out)
{
    size_t left = w->n - p * PANEL;

    for (size_t c8 = 0; c8 < PANEL / 8 && 8 * c8 < left; c8++) {
        __m256 f[TILE_ROWS];
        __m256i m = v16_mask8((ptrdiff_t)(left - 8 * c8 < 8 ? left - 8 * c8 : 8));
        gemm_tile(w, a, r0, w->w + p * w->panel_bytes, c8, rows, f);
        for (size_t i = 0; i < rows; i++) {
            float *to = out->out + (r0 + i) * out->ld + p * PANEL + 8 * c8;
            if (out->add)
                f[i] = _mm256_add_ps(_mm256_maskload_ps(to, m), f[i]);
            _mm256_maskstore_ps(to, m, f[i]);
        }
    }
}

static void gemm_i8(const struct packed_i8 *w, const struct quant_rows *a, size_t rows, size_t p0,
                    size_t p1, const struct gemm_out *out)
{
    for (size_t p = p0; p < p1; p++) {
        size_t r = 0;
        for (; r + 3 <= rows; r += 3)
            gemm_rows(w, a, r, p, 3, out);
        if (rows - r == 2)
            gemm_rows(w, a, r, p, 2, out);
        else if (rows - r == 1)
            gemm_rows(w, a, r, p, 1, out);
    }
}

enum { PEAK_CHAINS = 6, DOT_MACS = 16 };

/* One register of the two. Intrinsics would multiply once and add it to every sum. */
INLINE i16 dot_step(i16 sum, i16 a, i16 b)
{
    __m256i ab;
    __asm__ volatile("vpmaddwd %2, %1, %0" : "=x"(ab) : "x"(a.lo), "x"(b.lo));
    return (i16){_mm256_add_epi32(sum.lo, ab), sum.hi};
}

#include "model/kernels/peak_kernels.h"

const struct kernels kernels_avx2 = {
    .name = "avx2", .pack = {4, 128}, .gemm_i8 = gemm_i8, KERNELS_SHARED, KERNELS_PEAK};
