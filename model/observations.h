/* observations.h - what one pass over a text has found out about the inputs of a model's linear
 * layers. Behind observations_* of model.h; observe.c fills it, quantize.c reads it.
 *
 * Owner:   one thread fills; any may read after.
 * Memory:  about 2 k^2 + 32 KB an input of k channels.
 * Errors:  ST_NOMEM. */
#ifndef OCTET_MODEL_OBSERVATIONS_H
#define OCTET_MODEL_OBSERVATIONS_H

#include "config/sha256.h"
#include "model/format/gguf_write.h"
#include "model/model.h"
#include "model/net/runner.h"
#include "model/view.h"

/* Inputs as they are, and as the default scheme turns them. */
enum { VIEWS = 2 };

struct site {
    size_t k;
    float *gram;    /* quant/gram.h: sum of x x^T over the rows */
    float *max_abs; /* [k] */
    struct view views[VIEWS];
};

struct observations {
    char source[SHA256_HEX]; /* model_digest of the file */
    char text[SHA256_HEX];   /* of the text, or of the ids that were drawn */
    bool drawn;
    uint32_t n_layer;
    struct site *sites; /* [n_layer * SITES], then the head's */
    size_t n_sites;
    uint64_t n_rows;
};

/* Zeros, of a network of these numbers. */
int observations_new(const struct hparams *hp, struct observations **ret_observations);
struct site *observations_at(const struct observations *o, size_t layer, enum observe_site site);
/* The inputs that the matrix of this name reads; NULL: not observed. */
const struct site *observations_of(const struct observations *o, const char *tensor);
/* "blk.0.attn_qkv": the input sites[i]. */
enum { OBSERVATIONS_NAME = 64 };
void observations_name(const struct observations *o, size_t i, char out[OBSERVATIONS_NAME]);
/* The steps of the static activations of such a matrix; tied: the embedding is the head; factors: what
 * its input is divided by, or NULL. ST_INVALID, with a sentence, for what was not observed: another
 * Hadamard block, anything but the extremes of smoothed inputs. */
int observations_steps(const struct observations *o, const char *tensor, bool tied,
                       const float *factors, const struct observer_choice *by,
                       const struct quant_spec *spec, struct steps *ret_steps, struct error *err);
/* ST_INVALID if they are not of this file. */
int observations_check(const struct observations *o, const struct gguf *g, struct error *err);
/* octet.calibration.*: by which text a file was made. */
int observations_write_keys(const struct observations *o, struct gguf_writer *w);

#endif
