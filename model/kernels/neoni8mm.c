/* neoni8mm.c - arm64 with int8 matrix products (Armv8.6 and later): smmla multiplies two rows of
 * eight with two columns of eight, usdot u8 with s8. */
#include <string.h>

#include "model/kernels/sets.h"
#include "model/kernels/vec_neon.h"

#define INLINE static inline __attribute__((always_inline))

enum { PACK_STEP = 8, TILE_ROWS = 4, VECS = 8, FEW_ROWS = 2 };

INLINE int32x4_t k_start(int32_t comp)
{
    return vdupq_n_s32(comp);
}
INLINE int32x4_t dot_k(int32x4_t sum, uint8x16_t k, int8x16_t q)
{
    return vusdotq_s32(sum, k, q);
}
INLINE int32x4_t p_start(const uint8_t *u)
{
    (void)u;
    return vdupq_n_s32(0);
}
INLINE int32x4_t dot_p(int32x4_t sum, uint8x16_t u, int8x16_t v)
{
    return vusdotq_s32(sum, u, v);
}

/* pair[p][v]: of rows 2p and 2p + 1, columns 2v and 2v + 1, row by row. An odd last row is its own
 * partner. */
INLINE void group_sums(const uint8_t *b, size_t c0, const int8_t *const *x, size_t group,
                       const size_t rows, int32x4_t (*sum)[VECS])
{
    const size_t vecs = rows <= FEW_ROWS ? VECS : VECS / 2, pairs = (rows + 1) / 2;
    int32x4_t pair[TILE_ROWS / 2][2 * VECS];

    b += 8 * c0;
    for (size_t p = 0; p < pairs; p++)
        for (size_t v = 0; v < 2 * vecs; v++)
            pair[p][v] = vdupq_n_s32(0);
    for (size_t k = 0; k < group; k += 16, b += 16 * PANEL) {
        int8x16_t lo[TILE_ROWS / 2], hi[TILE_ROWS / 2]; /* inputs 0-7 and 8-15 of two rows */
        for (size_t p = 0; p < pairs; p++) {
            int64x2_t r0 = vreinterpretq_s64_s8(vld1q_s8(x[2 * p] + k)),
                      r1 = 2 * p + 1 < rows ? vreinterpretq_s64_s8(vld1q_s8(x[2 * p + 1] + k)) : r0;
            lo[p] = vreinterpretq_s8_s64(vzip1q_s64(r0, r1));
            hi[p] = vreinterpretq_s8_s64(vzip2q_s64(r0, r1));
        }
        for (size_t v = 0; v < 2 * vecs; v++) {
            int8x16_t w0 = vld1q_s8((const int8_t *)b + 16 * v),
                      w1 = vld1q_s8((const int8_t *)b + 8 * PANEL + 16 * v);
            for (size_t p = 0; p < pairs; p++) {
                pair[p][v] = vmmlaq_s32(pair[p][v], lo[p], w0);
                pair[p][v] = vmmlaq_s32(pair[p][v], hi[p], w1);
            }
        }
    }
    for (size_t p = 0; p < pairs; p++)
        for (size_t j = 0; j < vecs; j++) {
            int64x2_t c01 = vreinterpretq_s64_s32(pair[p][2 * j]),
                      c23 = vreinterpretq_s64_s32(pair[p][2 * j + 1]);
            sum[2 * p][j] = vreinterpretq_s32_s64(vzip1q_s64(c01, c23));
            if (2 * p + 1 < rows)
                sum[2 * p + 1][j] = vreinterpretq_s32_s64(vzip2q_s64(c01, c23));
        }
}

#include "model/kernels/neon_products.h"

enum { PEAK_CHAINS = 6, DOT_MACS = 128 };

DOT_STEP(vmmlaq_s32)

#include "model/kernels/peak_kernels.h"

const struct kernels kernels_neoni8mm = {
    .name = "neoni8mm", .pack = {PACK_STEP, 0}, .gemm_i8 = gemm_i8, KERNELS_SHARED, KERNELS_PEAK};
