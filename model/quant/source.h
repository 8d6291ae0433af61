/* source.h - one weight matrix of a file, as rows of floats or as rows of integers of a wanted
 * spec.
 *
 * The one way from a file's tensors to weights: the loader, the converter at load and `octet
 * quantize` all read through it, so a file that was quantized first and one that is converted while
 * loading give the same bytes.
 *
 * Owner:   one thread at a time (rows go through the source's scratch).
 * Memory:  scratch of a few rows; a v matrix whose head rotation changes is held whole as f32
 *          while open.
 * Errors:  at open: ST_NOTFOUND (no such tensor), ST_FORMAT (shape), ST_UNSUPPORTED, ST_NOMEM.
 *          Rows: ST_FORMAT for NaN, infinity or a scale that f16 cannot hold, naming the tensor. */
#ifndef OCTET_MODEL_QUANT_SOURCE_H
#define OCTET_MODEL_QUANT_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/status.h"
#include "model/format/gguf.h"
#include "model/quant/spec.h"
#include "model/quant/steps.h"

struct source;

/* Rounding error of the rows that were quantized so far. */
struct source_noise {
    double signal, noise; /* sums of squares */
    uint64_t n_weights;
    bool beyond_f16; /* a row was refused for a scale that f32 could hold */
};

/* name: "blk.0.attn_q.weight"; its quantized form in octet's own files is found by itself. n x k is
 * the shape it must have (k unpadded). want: the spec rows are asked in. */
int source_open(const struct gguf *g, const char *name, size_t n, size_t k,
                const struct quant_spec *want, struct source **ret_source, struct error *err);
void source_free(struct source *s);

/* What is folded into a matrix, so that the network computes the same from a smoother input: column j
 * is multiplied by columns[j], row i divided by rows[i] (before they are rotated). NULL: nothing. */
struct source_fold {
    const float *columns, *rows; /* [k], [n] */
};
/* Before any row is read; the caller's arrays stay where they are. energy: not NULL: ranges are
 * searched (grid_fit), [padded k] of the rotated input. */
int source_prepare(struct source *s, const struct source_fold *fold, const float *energy,
                   struct error *err);
/* Rows are to be quantized with one scale (and zero point) for all: reads the matrix once. */
int source_one_scale(struct source *s, struct error *err);
/* Rows are to be quantized for inputs with these steps: the caller's, for as long as s. */
void source_set_steps(struct source *s, const struct steps *steps);
const struct steps *source_steps(const struct source *s); /* NULL: none */
/* Row i in the original space (no rotation along K), folded: out[k]; as f16 has it where that is
 * wanted. */
int source_row_f32(struct source *s, size_t i, float *out, struct error *err);
/* Row i where it is rounded: rotated, steps folded in. out[k]. */
int source_row_rotated(struct source *s, size_t i, float *out, struct error *err);
/* Row i in the wanted spec → what *row points to. */
int source_row_ints(struct source *s, size_t i, const struct quant_row *row, struct error *err);
const struct source_noise *source_noise(const struct source *s);

/* octet.linear.*: parallel arrays beside octet.linear.names, a key for each number of a quant_spec,
 * in their order; of those from the fifth on, one that is missing is all zeros. */
enum { SOURCE_LINEAR_KEYS = 9 };
extern const char *const source_linear_keys[SOURCE_LINEAR_KEYS];

/* The spec that the file itself stores the matrix in: bits 0 for a type that we don't write. */
int source_stored_spec(const struct gguf *g, const char *name, struct quant_spec *ret_spec,
                       struct error *err);
/* Is there such a matrix, in any form? */
bool source_exists(const struct gguf *g, const char *name);

/* Names in octet's own files: "blk.0.attn_q.weight" → "blk.0.attn_q.octet_q", ".octet_scale",
 * ".octet_zero" and ".octet_act". ST_INVALID: no matrix of weights. */
struct source_names {
    char q[256], scale[256], zero[256], act[256];
};
int source_octet_names(const char *name, struct source_names *ret_names);

/* x[n] (or rows x[n][k]) times the Hadamard blocks along n: how a v matrix and its bias are
 * rotated; its own inverse. */
void source_turn(float *x, size_t n, size_t k, size_t block);

#endif
