/* prepare.h - what is done to the matrices of a model before they are rounded, by what was observed of
 * their inputs: SmoothQuant's factors (quant/smooth.h), folded into whatever makes an input, so that the
 * network's function stays:
 *
 *     q, k, v     the gain of the norm before them
 *     gate, up    the same
 *     output      rows of v, and its bias: all that lies between is linear in them. Query heads that read
 *                 one v head share its factors
 *     down        rows of up: silu(gate) * up is linear in up
 *     head        the gain of the last norm. If it is the embedding too, the factors are written, for what
 *                 is looked up to be divided by them (WEIGHTS_EMBED_SMOOTH)
 *
 * and the energies by which ranges are searched.
 *
 * Owner:   one thread.
 * Memory:  a few floats a channel; while opening, some rows of a site's matrices.
 * Errors:  as of quant/source.h. */
#ifndef OCTET_MODEL_PREPARE_H
#define OCTET_MODEL_PREPARE_H

#include "model/net/weights.h"
#include "model/observations.h"
#include "model/quant/source.h"

struct prepare_opts {
    const struct gguf *g;
    const struct hparams *hp;
    const struct observations *observations;
    /* What matrix t will be. */
    struct quant_spec (*spec)(const void *arg, const struct tensor_role *t);
    const void *arg;
    bool smooth, clip;
    bool standard; /* nothing is written that other engines do not know */
    float alpha;   /* of smoothing; below 0: searched for each input */
    struct model_progress progress;
};

struct prepared;

/* All of it stays where it is while the result lives. */
int prepare_open(const struct prepare_opts *opts, struct prepared **ret_prepared,
                 struct error *err);
void prepare_free(struct prepared *p);

/* The input that matrix `name` reads; NULL: not observed. */
const struct site *prepare_site(const struct prepared *p, const char *name);
/* What its input is divided by, [k]; NULL: nothing. */
const float *prepare_factors(const struct prepared *p, const char *name);
/* A matrix' source, told what is folded into it and how its ranges are found; it is done with before the
 * next is prepared. */
int prepare_source(struct prepared *p, const struct tensor_role *t, const struct quant_spec *spec,
                   struct source *s, struct error *err);
/* Is this vector to be in the file, though it is not in the source? Then it begins as all 1. */
bool prepare_adds(const struct prepared *p, const char *name);
/* A vector of the file, x[n], in place. */
void prepare_vector(const struct prepared *p, const char *name, size_t n, float *x);

/* octet.smooth.*: the inputs and their alphas, in hundredths; octet.clip. */
int prepare_write_keys(const struct prepared *p, struct gguf_writer *w);

#endif
