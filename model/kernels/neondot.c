/* neondot.c - arm64 with dot products (Armv8.2 and later): sdot and udot multiply bytes of one sign
 * only, so weights are packed as s8, and a sign is flipped where u8 meets s8. */
#include <string.h>

#include "model/kernels/sets.h"
#include "model/kernels/vec_neon.h"

#define INLINE static inline __attribute__((always_inline))

enum { PACK_STEP = 4, TILE_ROWS = 4, VECS = 8, FEW_ROWS = 2 };

/* k - 128, by its sign bit: q's correction is not needed. */
INLINE int32x4_t k_start(int32_t comp)
{
    (void)comp;
    return vdupq_n_s32(0);
}
INLINE int32x4_t dot_k(int32x4_t sum, uint8x16_t k, int8x16_t q)
{
    return vdotq_s32(sum, vreinterpretq_s8_u8(veorq_u8(k, vdupq_n_u8(128))), q);
}

/* u * (v + 128), from -128 * sum(u) on. */
INLINE int32x4_t p_start(const uint8_t *u)
{
    uint32x4_t sum = vdupq_n_u32(0);
    for (size_t t = 0; t < KV_BLOCK; t += 16)
        sum = vdotq_u32(sum, vld1q_u8(u + t), vdupq_n_u8(128));
    return vdupq_n_s32(-(int32_t)vaddvq_u32(sum));
}
INLINE int32x4_t dot_p(int32x4_t sum, uint8x16_t u, int8x16_t v)
{
    uint8x16_t flipped = veorq_u8(vreinterpretq_u8_s8(v), vdupq_n_u8(128));
    return vreinterpretq_s32_u32(vdotq_u32(vreinterpretq_u32_s32(sum), u, flipped));
}

/* Inputs 4 * lane .. of the 16 in a, whose panel rows begin at b. */
#define STEP(lane)                                                                                 \
    for (size_t j = 0; j < vecs; j++) {                                                            \
        int8x16_t w = vld1q_s8((const int8_t *)b + (lane)*4 * PANEL + 16 * j);                     \
        for (size_t i = 0; i < rows; i++)                                                          \
            sum[i][j] = vdotq_laneq_s32(sum[i][j], w, a[i], lane);                                 \
    }

INLINE void group_sums(const uint8_t *b, size_t c0, const int8_t *const *x, size_t group,
                       const size_t rows, int32x4_t (*sum)[VECS])
{
    const size_t vecs = rows <= FEW_ROWS ? VECS : VECS / 2;

    b += 4 * c0;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < vecs; j++)
            sum[i][j] = vdupq_n_s32(0);
    for (size_t k = 0; k < group; k += 16, b += 16 * PANEL) {
        int8x16_t a[TILE_ROWS];
        for (size_t i = 0; i < rows; i++)
            a[i] = vld1q_s8(x[i] + k);
        STEP(0)
        STEP(1)
        STEP(2)
        STEP(3)
    }
}

#include "model/kernels/neon_products.h"

enum { PEAK_CHAINS = 6, DOT_MACS = 64 };

DOT_STEP(vdotq_s32)

#include "model/kernels/peak_kernels.h"

const struct kernels kernels_neondot = {
    .name = "neondot", .pack = {PACK_STEP, 0}, .gemm_i8 = gemm_i8, KERNELS_SHARED, KERNELS_PEAK};
