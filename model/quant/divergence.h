/* divergence.h - how far one row of logits is from a reference's: KL divergence, exact for differences
 * that are small, as those of one quantized layer are.
 *
 * Owner:   pure functions over the caller's buffers; any thread.
 * Memory:  nothing is allocated.
 * Errors:  none; what is not finite gives what is not finite. */
#ifndef OCTET_MODEL_QUANT_DIVERGENCE_H
#define OCTET_MODEL_QUANT_DIVERGENCE_H

#include <stddef.h>

#include "model/kernels/kernels.h"

/* KL(softmax(ref) || softmax(x)), n logits each, in nats. p: scratch [n]. */
double divergence_row(const struct kernels *kernels, const float *ref, const float *x, size_t n,
                      float *p);

#endif
