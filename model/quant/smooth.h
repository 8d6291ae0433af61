/* smooth.h - moving the difficulty of an input into its weights: SmoothQuant (Xiao et al. 2023).
 *
 * Channel j of the input is divided by s_j = |x_j|^a / |w_j|^(1 - a) (equation 4), folded into whatever
 * makes it, and column j of the weights multiplied by it: the product stays. The paper's sizes are
 * maxima. Here they are root mean squares: what is rotated afterwards rounds with an error that goes
 * with sum x_j^2 / s_j^2 times sum w_j^2 s_j^2, on either side of the product, and that is least (by
 * Cauchy and Schwarz) at a = 1/2 of those.
 *
 * Owner:   pure functions over the caller's buffers; any thread.
 * Memory:  nothing is allocated.
 * Errors:  none. A channel that is always 0, on either side, has s_j = 1. */
#ifndef OCTET_MODEL_QUANT_SMOOTH_H
#define OCTET_MODEL_QUANT_SMOOTH_H

#include <stddef.h>

/* How large each of the k channels is on either side, and how good a choice of s[k] would be. */
struct smooth {
    size_t k;
    const float *size_x, *size_w;
    double (*error)(void *arg, const float *s);
    void *arg;
};

/* s[k] for one a: of geometric mean 1, for only their ratios count. */
void smooth_scales(const struct smooth *m, float a, float *s);

/* The a out of 0, 0.05, ..., 1 with the least error, and its s[k]; none better than not smoothing at
 * all: s is all 1, and a is -1. */
float smooth_search(const struct smooth *m, float *s);

#endif
