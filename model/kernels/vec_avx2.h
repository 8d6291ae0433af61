/* vec_avx2.h - the operations of vec_generic.h on two ymm registers. */
#ifndef OCTET_MODEL_KERNELS_VEC_H
#define OCTET_MODEL_KERNELS_VEC_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    __m256 lo, hi;
} v16;
typedef struct {
    __m256i lo, hi;
} i16;

enum { V16_REGS = 8 };

static inline v16 v16_of(__m256 lo, __m256 hi)
{
    return (v16){lo, hi};
}
/* All ones in the lanes below n. */
static inline __m256i v16_mask8(ptrdiff_t n)
{
    int32_t m = n < 0 ? 0 : n > 8 ? 8 : (int32_t)n;
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(m), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline v16 v16_set1(float a)
{
    return v16_of(_mm256_set1_ps(a), _mm256_set1_ps(a));
}
static inline v16 v16_load(const float *p)
{
    return v16_of(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}
static inline v16 v16_loadn(const float *p, size_t n)
{
    return v16_of(_mm256_maskload_ps(p, v16_mask8((ptrdiff_t)n)),
                  _mm256_maskload_ps(p + 8, v16_mask8((ptrdiff_t)n - 8)));
}
static inline v16 v16_load_half(const uint16_t *p)
{
    return v16_of(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                  _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8))));
}
static inline void v16_store(float *p, v16 a)
{
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}
static inline void v16_storen(float *p, v16 a, size_t n)
{
    _mm256_maskstore_ps(p, v16_mask8((ptrdiff_t)n), a.lo);
    _mm256_maskstore_ps(p + 8, v16_mask8((ptrdiff_t)n - 8), a.hi);
}
static inline v16 v16_add(v16 a, v16 b)
{
    return v16_of(_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi));
}
static inline v16 v16_sub(v16 a, v16 b)
{
    return v16_of(_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi));
}
static inline v16 v16_mul(v16 a, v16 b)
{
    return v16_of(_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi));
}
static inline v16 v16_div(v16 a, v16 b)
{
    return v16_of(_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi));
}
static inline v16 v16_fma(v16 a, v16 b, v16 c)
{
    return v16_of(_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi));
}
static inline v16 v16_max(v16 a, v16 b)
{
    return v16_of(_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi));
}
static inline v16 v16_min(v16 a, v16 b)
{
    return v16_of(_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi));
}
static inline v16 v16_first(v16 a, v16 b, size_t n)
{
    return v16_of(_mm256_blendv_ps(b.lo, a.lo, _mm256_castsi256_ps(v16_mask8((ptrdiff_t)n))),
                  _mm256_blendv_ps(b.hi, a.hi, _mm256_castsi256_ps(v16_mask8((ptrdiff_t)n - 8))));
}
static inline i16 v16_rint(v16 a)
{
    return (i16){_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)};
}
static inline v16 i16_float(i16 a)
{
    return v16_of(_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi));
}
static inline __m256 v16_scale2_half(__m256 a, __m256i n)
{
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32(n, 23)));
}
static inline v16 v16_scale2(v16 a, i16 n)
{
    return v16_of(v16_scale2_half(a.lo, n.lo), v16_scale2_half(a.hi, n.hi));
}
static inline __m256 v16_butterfly_half(__m256 a, int s)
{
    const __m256 o = _mm256_set1_ps(-0.0f), z = _mm256_setzero_ps();
    __m256 sign = s == 1   ? _mm256_blend_ps(z, o, 0xAA)
                  : s == 2 ? _mm256_blend_ps(z, o, 0xCC)
                           : _mm256_blend_ps(z, o, 0xF0);
    __m256 other = s == 1   ? _mm256_permute_ps(a, 0xB1)
                   : s == 2 ? _mm256_permute_ps(a, 0x4E)
                            : _mm256_permute2f128_ps(a, a, 1);
    return _mm256_add_ps(other, _mm256_xor_ps(a, sign));
}
static inline v16 v16_butterfly(v16 a, int s)
{
    if (s == 8)
        return v16_of(_mm256_add_ps(a.hi, a.lo), _mm256_sub_ps(a.lo, a.hi));
    return v16_of(v16_butterfly_half(a.lo, s), v16_butterfly_half(a.hi, s));
}
static inline v16 v16_swap(v16 a)
{
    return v16_of(_mm256_permute_ps(a.lo, 0xB1), _mm256_permute_ps(a.hi, 0xB1));
}
static inline float v16_sum(v16 a)
{
    __m256 h = _mm256_add_ps(a.lo, a.hi);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    q = _mm_add_ss(q, _mm_movehdup_ps(q));
    return _mm_cvtss_f32(q);
}
static inline float v16_hmax(v16 a)
{
    __m256 h = _mm256_max_ps(a.lo, a.hi);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    q = _mm_max_ss(q, _mm_movehdup_ps(q));
    return _mm_cvtss_f32(q);
}
static inline i16 i16_set1(int32_t a)
{
    return (i16){_mm256_set1_epi32(a), _mm256_set1_epi32(a)};
}
static inline i16 i16_load(const int32_t *p)
{
    return (i16){_mm256_loadu_si256((const __m256i *)p),
                 _mm256_loadu_si256((const __m256i *)(p + 8))};
}
static inline i16 i16_add(i16 a, i16 b)
{
    return (i16){_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}
static inline i16 v16_abs_bits(v16 a)
{
    const __m256i m = _mm256_set1_epi32(0x7FFFFFFF);
    return (i16){_mm256_and_si256(_mm256_castps_si256(a.lo), m),
                 _mm256_and_si256(_mm256_castps_si256(a.hi), m)};
}
static inline i16 i16_max(i16 a, i16 b)
{
    return (i16){_mm256_max_epi32(a.lo, b.lo), _mm256_max_epi32(a.hi, b.hi)};
}
static inline int32_t i16_hmax(i16 a)
{
    __m256i h = _mm256_max_epi32(a.lo, a.hi);
    __m128i q = _mm_max_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0x4E));
    q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0xB1));
    return _mm_cvtsi128_si32(q);
}
static inline int32_t i16_sum(i16 a)
{
    __m256i h = _mm256_add_epi32(a.lo, a.hi);
    __m128i q = _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0x4E));
    q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0xB1));
    return _mm_cvtsi128_si32(q);
}
static inline void i16_store8(void *p, i16 a)
{
    const __m256i low = _mm256_set1_epi32(0xFF); /* so that packing never saturates */
    __m256i w = _mm256_packus_epi32(_mm256_and_si256(a.lo, low), _mm256_and_si256(a.hi, low));
    w = _mm256_permute4x64_epi64(w, 0xD8);
    __m128i b = _mm_packus_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
    _mm_storeu_si128((__m128i *)p, b);
}

#endif
