/* compensated.h - the matrices of a model as integers that make up for each other's errors: joins
 * observations, sources and quant/compensate.h for quantize.c.
 *
 * Owner:   one thread; it runs the rows of a matrix on threads of its own.
 * Memory:  some thousand rows of a matrix as f32, and twice its input's k^2 floats.
 * Errors:  as of source.h; ST_INTERNAL for observations that no text can have given. */
#ifndef OCTET_MODEL_COMPENSATED_H
#define OCTET_MODEL_COMPENSATED_H

#include "model/net/weights.h"
#include "model/prepare.h"

struct compensated;

/* prepared: by the observations o; both stay. clip: ranges are searched. */
int compensated_open(const struct observations *o, const struct prepared *prepared, bool clip,
                     unsigned threads, struct compensated **ret_compensated, struct error *err);
void compensated_free(struct compensated *c);

/* Is there an observation of what it reads? */
bool compensated_has(const struct compensated *c, const struct tensor_role *t);
/* All of a matrix, whose source has been prepared: all->q[n][padded k], all->scales and all->zeros
 * [n][padded k / group], as rows of source_row_ints would give them. ret_noise->beyond_f16 is set when that fails it. */
int compensated_matrix(struct compensated *c, const struct tensor_role *t,
                       const struct quant_spec *spec, struct source *s, const struct quant_row *all,
                       struct source_noise *ret_noise, struct error *err);

#endif
