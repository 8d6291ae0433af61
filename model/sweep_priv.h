/* sweep_priv.h - a sweep from the inside: sweep.c opens one and measures networks, sweep_units.c
 * takes the model apart.
 *
 * Owner:   one thread; the rows of a measurement are shared out.
 * Memory:  the FP32 model, its logits of the text, and for each sequence what one layer reads.
 * Errors:  as of sweep_* of model.h. */
#ifndef OCTET_MODEL_SWEEP_PRIV_H
#define OCTET_MODEL_SWEEP_PRIV_H

#include "model/model.h"
#include "model/net/runner.h"

/* Longest sequence: one step runs it whole. */
enum { SWEEP_CTX = 256 };

struct sweep {
    struct sweep_opts opts;
    struct sweep_facts facts;
    const struct kernels *kernels;
    struct pool *pool;
    struct model *model; /* FP32 */
    struct weights w;    /* its own, borrowed */
    uint32_t n_seqs, n_ctx;
    int32_t *ids;          /* [n_seqs][n_ctx] */
    int32_t at[SWEEP_CTX]; /* 0, 1, ...: what a network that reads states is given for tokens */
    float *ref;            /* [n_seqs][n_ctx][n_vocab]: logits */
    float *p;              /* [threads][n_vocab + d_model] scratch */
    struct arena arena;    /* of states */
    struct linear *states; /* [n_seqs]: row i is what the layer at hand reads at position i */
    double done, total;    /* tokens through as much as a whole network: progress */
};

/* How much work a network of the last n_layer layers is. */
double sweep_cost(const struct sweep *s, uint32_t n_layer);
/* Mean divergence of network w from the reference. from_states: w, whose embedding is set for that,
 * reads s->states instead of the text. */
int sweep_network(struct sweep *s, struct weights *w, bool from_states, enum model_kv kv,
                  double *ret_kld, struct error *err);

/* states: at first what layer 0 reads, then from what a layer reads to what the next one does. */
void sweep_first_states(struct sweep *s);
int sweep_next_states(struct sweep *s, size_t layer, struct error *err);

#endif
