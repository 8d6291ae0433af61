/* smooth.h - moving the difficulty of an input into its weights: SmoothQuant (Xiao et al. 2023).
 *
 * Channel j of the input is divided by s_j = max|x_j|^a / max|w_j|^(1 - a) (equation 4), folded into the
 * norm before it, and column j of the weights multiplied by it: the product stays.
 *
 * Owner:   pure functions over the caller's buffers; any thread.
 * Memory:  nothing is allocated.
 * Errors:  none. A channel that is always 0, on either side, has s_j = 1. */
#ifndef OCTET_MODEL_QUANT_SMOOTH_H
#define OCTET_MODEL_QUANT_SMOOTH_H

#include <stddef.h>

/* What is known of the k channels on both sides of the product. */
struct smooth {
    size_t k;
    const float *max_x, *energy_x; /* max|x_j|, mean x_j^2 */
    const float *max_w, *energy_w; /* max |w_j|, sum over outputs of w_j^2 */
};

/* s[k] for one a. */
void smooth_scales(const struct smooth *m, float a, float *s);

/* The mean square error of the outputs that rounding both sides to 8 bits is expected to make, with one
 * scale for each side: a rounding is off by step^2 / 12, and weighs as the other side's energy does. */
double smooth_error(const struct smooth *m, const float *s);

/* The a out of 0, 0.05, ..., 1 with the least of it, and its s[k]; none better than not smoothing at
 * all: s is all 1, and a is -1. */
float smooth_search(const struct smooth *m, float *s);

#endif
