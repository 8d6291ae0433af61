/* steps.h - the steps and zero points of a matrix's static activations, as octet's own files hold them
 * beside it: NAME.octet_act, f32, [n] steps and, where activations are affine, [n] zero points after
 * them: x' = step * (q - zero). n is 1, or k where each channel has its own.
 *
 * Then the product's inputs all have the scale of the largest step, and column j of the stored weights
 * is what it was times step_j / the largest: steps_fold.
 *
 * Owner:   plain values, read-only once made; any thread.
 * Memory:  two arrays, freed by steps_done.
 * Errors:  ST_NOMEM; ST_FORMAT for a tensor that is missing, of another shape, or whose steps are not
 *          finite and above 0 or whose zero points are no integers of a byte. */
#ifndef OCTET_MODEL_QUANT_STEPS_H
#define OCTET_MODEL_QUANT_STEPS_H

#include <stddef.h>

#include "model/format/gguf.h"
#include "model/quant/spec.h"

struct steps {
    float *step, *zero; /* [n]; zero: NULL without zero points */
    size_t n;           /* 0: activations are not static */
};

/* Room for those of a matrix with k inputs; all steps are 1, all zero points 0. */
int steps_new(const struct quant_spec *spec, size_t k, struct steps *ret_steps);
/* Those that the file has for `name` ("blk.0.attn_q.weight"). */
int steps_read(const struct gguf *g, const char *name, const struct quant_spec *spec, size_t k,
               struct steps *ret_steps, struct error *err);
void steps_done(struct steps *s);

float steps_largest(const struct steps *s);
/* A row of weights, rotated, x[k]: as it is stored; and back. One step for all: nothing to do. */
void steps_fold(const struct steps *s, float *x);
void steps_unfold(const struct steps *s, float *x);

#endif
