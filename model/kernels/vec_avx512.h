/* vec_avx512.h - the operations of vec_generic.h on one zmm register. */
#ifndef OCTET_MODEL_KERNELS_VEC_H
#define OCTET_MODEL_KERNELS_VEC_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

typedef __m512 v16;
typedef __m512i i16;

enum { V16_REGS = 32 };

static inline __mmask16 v16_mask(size_t n)
{
    return (__mmask16)(n >= 16 ? 0xFFFFu : (1u << n) - 1u);
}
static inline v16 v16_set1(float a)
{
    return _mm512_set1_ps(a);
}
static inline v16 v16_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline v16 v16_loadn(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps(v16_mask(n), p);
}
static inline v16 v16_load_half(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline void v16_store(float *p, v16 a)
{
    _mm512_storeu_ps(p, a);
}
static inline void v16_storen(float *p, v16 a, size_t n)
{
    if (n >= 16) /* a load would wait until a masked store has left the core */
        _mm512_storeu_ps(p, a);
    else
        _mm512_mask_storeu_ps(p, v16_mask(n), a);
}
static inline v16 v16_add(v16 a, v16 b)
{
    return _mm512_add_ps(a, b);
}
static inline v16 v16_sub(v16 a, v16 b)
{
    return _mm512_sub_ps(a, b);
}
static inline v16 v16_mul(v16 a, v16 b)
{
    return _mm512_mul_ps(a, b);
}
static inline v16 v16_div(v16 a, v16 b)
{
    return _mm512_div_ps(a, b);
}
static inline v16 v16_fma(v16 a, v16 b, v16 c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline v16 v16_max(v16 a, v16 b)
{
    return _mm512_max_ps(a, b);
}
static inline v16 v16_min(v16 a, v16 b)
{
    return _mm512_min_ps(a, b);
}
static inline v16 v16_first(v16 a, v16 b, size_t n)
{
    return _mm512_mask_mov_ps(b, v16_mask(n), a);
}
static inline i16 v16_rint(v16 a)
{
    return _mm512_cvtps_epi32(a);
}
static inline v16 i16_float(i16 a)
{
    return _mm512_cvtepi32_ps(a);
}
static inline v16 v16_scale2(v16 a, i16 n)
{
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_slli_epi32(n, 23)));
}
/* other + (odd ? -a : a) in one fma, which rounds once as the sum does. */
static inline v16 v16_butterfly(v16 a, int s)
{
    const __mmask16 odd = s == 1 ? 0xAAAA : s == 2 ? 0xCCCC : s == 4 ? 0xF0F0 : 0xFF00;
    const v16 sign = _mm512_mask_mov_ps(_mm512_set1_ps(1.0f), odd, _mm512_set1_ps(-1.0f));
    v16 other = s == 1   ? _mm512_permute_ps(a, 0xB1)
                : s == 2 ? _mm512_permute_ps(a, 0x4E)
                : s == 4 ? _mm512_shuffle_f32x4(a, a, 0xB1)
                         : _mm512_shuffle_f32x4(a, a, 0x4E);
    return _mm512_fmadd_ps(a, sign, other);
}
static inline v16 v16_swap(v16 a)
{
    return _mm512_permute_ps(a, 0xB1);
}
static inline float v16_sum(v16 a)
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a),
                             _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1)));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    q = _mm_add_ss(q, _mm_movehdup_ps(q));
    return _mm_cvtss_f32(q);
}
static inline float v16_hmax(v16 a)
{
    return _mm512_reduce_max_ps(a);
}
static inline i16 i16_set1(int32_t a)
{
    return _mm512_set1_epi32(a);
}
static inline i16 i16_load(const int32_t *p)
{
    return _mm512_loadu_si512(p);
}
static inline i16 i16_add(i16 a, i16 b)
{
    return _mm512_add_epi32(a, b);
}
static inline i16 v16_abs_bits(v16 a)
{
    return _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7FFFFFFF));
}
static inline i16 i16_max(i16 a, i16 b)
{
    return _mm512_max_epi32(a, b);
}
static inline int32_t i16_hmax(i16 a)
{
    return _mm512_reduce_max_epi32(a);
}
static inline int32_t i16_sum(i16 a)
{
    return _mm512_reduce_add_epi32(a);
}
static inline void i16_store8(void *p, i16 a)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(a));
}

#endif
