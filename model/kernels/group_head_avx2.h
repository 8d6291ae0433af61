/* group_head_avx2.h - a group's head (kernels.h), eight columns at a time, for the sets on ymm registers.
 */
#ifndef OCTET_MODEL_KERNELS_GROUP_HEAD_AVX2_H
#define OCTET_MODEL_KERNELS_GROUP_HEAD_AVX2_H

#include <immintrin.h>

#include "model/kernels/kernels.h"

/* What the sums of columns c .. c + 7 start from, of row `at` of the activations' corrections. */
static inline __m256i start_of(const struct packed_i8 *w, const uint8_t *head,
                               const struct quant_rows *a, size_t at, size_t c)
{
    const __m256i *z = (const __m256i *)(const void *)(head + 4 * (PANEL + c));
    const int32_t comp = a->comp[at];

    if (!w->wide)
        return _mm256_set1_epi32(w->nibbles ? comp / 16 : comp);
    __m256i sum = _mm256_mullo_epi32(_mm256_load_si256(z), _mm256_set1_epi32(comp / 128));
    if (a->zero)
        sum = _mm256_add_epi32(sum, _mm256_mullo_epi32(_mm256_load_si256(z + PANEL / 8),
                                                       _mm256_set1_epi32(a->zero[at])));
    return sum;
}

static inline __m256 scales_of(const struct packed_i8 *w, const uint8_t *head, size_t c)
{
    if (w->wide)
        return _mm256_load_ps((const float *)(const void *)head + c);
    return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)(head + 2 * c)));
}

#endif
