/* grid.h - the integers that a group of weights may become: scale, zero point, ends.
 *
 * Owner:   plain values; pure functions, any thread.
 * Memory:  none.
 * Errors:  grid_of alone: ST_FORMAT for a scale beyond what is stored.
 * Formulas: design.md section 5. */
#ifndef OCTET_MODEL_QUANT_GRID_H
#define OCTET_MODEL_QUANT_GRID_H

#include "model/kernels/kernels.h"
#include "model/quant/spec.h"

/* x' = scale * (q - zero); the scale may be negative. */
struct grid {
    float scale, zero, low, high; /* ends: of q - zero */
};

/* For weights from min (<= 0) to max (>= 0). */
int grid_of(const struct quant_spec *spec, float min, float max, struct grid *ret_grid);

/* For the n weights x. GRID_RANGE: their whole range. GRID_SEARCH: of some, the one with the least sum of
 * energy_j (x_j - x'_j)^2, energy_j being the mean square of the input that weight j meets (NULL: 1).
 * 8 bits: the range times 1 - i / 480, i from -32 to 15: the ends hardly move, but every choice
 * rounds the weights anew, and the luckiest of 48 is a seventh better in groups of 64. 4 bits: its ends times
 * 1 - i / 32, i below 20; symmetric: as the end of either side, from 8/7 of it down (there the
 * largest weight becomes 7, not -8); affine: of min, then of max. */
enum grid_how { GRID_RANGE, GRID_SEARCH };
int grid_fit(const struct kernels *kernels, const struct quant_spec *spec, enum grid_how how,
             const float *x, const float *energy, size_t n, struct grid *ret_grid);

/* q - zero of x: to nearest, ties to even. A group whose scale is too small for f16 is zeros, off by
 * max|x| at most. */
static inline float grid_round(const struct grid *g, float x)
{
    const float magic = 12582912.0f; /* x + magic - magic is rint(x) for |x| < 2^22 */
    float v = g->scale != 0.0f ? x / g->scale : 0.0f;

    v = v > g->high ? g->high : v < g->low ? g->low : v;
    return (v + magic) - magic;
}

/* How plain rounding finds ranges. Without the transform, and with nothing known of the inputs, a file is
 * what ONNX Runtime and llama.cpp would make of the weights. */
static inline enum grid_how grid_plain_how(const struct quant_spec *spec, const float *energy)
{
    return energy || spec->block_in ? GRID_SEARCH : GRID_RANGE;
}

/* x[n] on the grid. */
static inline void grid_put(const struct grid *g, const float *x, size_t n, int8_t *q)
{
    for (size_t i = 0; i < n; i++)
        q[i] = (int8_t)(grid_round(g, x[i]) + g->zero);
}

#endif
