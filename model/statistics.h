/* statistics.h - what became of a matrix as it was quantized: range, scales, clipped weights, noise,
 * where the weights lie on the grid.
 *
 * Rows come in order, beside the integers that were made of them; each is read from the source once
 * more, so it costs about what quantizing does.
 * Owner:   one matrix of model_quantize().
 * Memory:  a row of floats, and a copy of the scales at the end.
 * Errors:  ST_NOMEM; the source's own.
 * Threads: the one that has the source. */
#ifndef OCTET_MODEL_STATISTICS_H
#define OCTET_MODEL_STATISTICS_H

#include "model/model.h"
#include "model/net/weights.h"
#include "model/quant/source.h"

struct statistics;

/* Fills *to by the end; borrows source, which is of g, and to. */
int statistics_open(const struct gguf *g, const struct tensor_role *t,
                    const struct quant_spec *spec, struct source *source,
                    struct model_tensor_stats *to, struct statistics **ret_statistics);
void statistics_free(struct statistics *s);
int statistics_row(struct statistics *s, size_t i, const struct quant_row *row, struct error *err);
/* A row of a matrix that stays floats, in place of both. */
void statistics_floats(struct statistics *s, const float *row);
/* All rows have come; scales and zeros of all of them. */
int statistics_end(struct statistics *s, const float *scales, const int8_t *zeros);

/* What every report has: the noise of one more matrix, added up in sum. */
void statistics_add(struct model_quantize_report *report, struct source_noise *sum,
                    const struct tensor_role *t, const struct source_noise *noise);

#endif
