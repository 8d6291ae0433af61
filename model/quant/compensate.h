/* compensate.h - rounding weights so that later ones make up for the errors of earlier ones: GPTQ.
 *
 * Frantar et al. 2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
 * Transformers", algorithm 1, in the form of Chee et al. 2023 ("QuIP", theorem 6, where both are
 * shown to be the same): with H = R D R^T, R unit upper triangular, the error of a row of weights w
 * stored as q,
 *     (w - q) H (w - q)^T = sum over j of D_j ((w_j - q_j) + sum over i < j of (w_i - q_i) R_ij)^2,
 * is made small term by term: q_j = round(w_j + sum over i < j of (w_i - q_i) R_ij). No inverse is
 * needed. Inputs that were never seen (a zero on H's diagonal) are rounded plainly.
 *
 * Owner:   immutable once open; any thread may run rows through it.
 * Memory:  2 k^2 floats while opening, k^2 after.
 * Errors:  ST_NOMEM; ST_FORMAT for a scale beyond what is stored; ST_INTERNAL for an H that is not
 *          finite or not positive even when damped. */
#ifndef OCTET_MODEL_QUANT_COMPENSATE_H
#define OCTET_MODEL_QUANT_COMPENSATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/kernels/kernels.h"
#include "model/quant/spec.h"

/* Rows that one call of compensate_rows handles together. */
enum { COMPENSATE_ROWS = 48 };

struct compensate;

/* h[k][k], symmetric; it is overwritten. damp: of the mean diagonal, added to all of it. */
#define COMPENSATE_DAMP 0.01 /* GPTQ's own */
int compensate_open(const struct kernels *kernels, float *h, size_t k, double damp,
                    struct compensate **ret_compensate);
void compensate_free(struct compensate *c);

/* w[n_rows][k] → all->q[n_rows][k], all->scales and all->zeros [n_rows][k / group], as the spec has
 * them. A group's scale is that of its weights as they are when it is reached, searched by grid_fit
 * if `clip`, with D for the energies. group: whole panels, divides k. n_rows <= COMPENSATE_ROWS. scratch: compensate_scratch(k) floats. */
size_t compensate_scratch(size_t k);
int compensate_rows(const struct compensate *c, const struct quant_spec *spec, bool clip,
                    const float *w, size_t n_rows, const struct quant_row *all, float *scratch);

#endif
