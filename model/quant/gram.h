/* gram.h - H = sum over rows x of x x^T: what a linear layer's input says about which of its weights'
 * errors matter. Symmetric, so the lower half is kept, as panels.
 *
 * Owner:   the caller's buffers; pure functions, any thread. Workers add to panels of their own.
 * Memory:  nothing is allocated.
 * Errors:  none: shapes are the caller's.
 *
 * Layout of H: panel p is columns [PANEL p, PANEL (p + 1)) of the rows from PANEL p to k:
 * [k - PANEL p][PANEL]. Of rows x: panels of columns too, [t][PANEL] each, zeros beyond k. */
#ifndef OCTET_MODEL_QUANT_GRAM_H
#define OCTET_MODEL_QUANT_GRAM_H

#include <stddef.h>

#include "model/kernels/kernels.h"

/* Floats of H, and of t rows. */
size_t gram_floats(size_t k);
size_t gram_rows_floats(size_t k, size_t t);

/* Row r of t: x[k] → its place in rows. */
void gram_put_row(float *rows, size_t k, size_t t, size_t r, const float *x);

/* Every `step`-th panel of H from panel `first` on += those of the t rows. turned: scratch, [k][t]. */
void gram_add(const struct kernels *kernels, float *h, const float *rows, size_t k, size_t t,
              size_t first, size_t step, float *turned);

/* H / n_rows, whole, as seen by inputs that are first divided by `by` (NULL: not), then pass a
 * Hadamard transform of this block (0: none): out[to][to], to >= k, zeros beyond k. */
void gram_mean(const struct kernels *kernels, const float *h, size_t k, double n_rows,
               const float *by, size_t block, size_t to, float *out);
/* Its diagonal alone, the mean squares of those inputs: out[k]. block: at most 64, divides k. */
void gram_energy(const struct kernels *kernels, const float *h, size_t k, double n_rows,
                 const float *by, size_t block, float *out);

#endif
