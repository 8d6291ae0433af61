/* weights.h - the matrices and vectors of one network, packed and ready to run.
 *
 * Owner:   immutable after weights_load; any thread may read.
 * Memory:  everything is copied or packed, so the file may be unmapped afterwards.
 * Errors:  ST_FORMAT, ST_UNSUPPORTED, ST_NOMEM naming file and tensor. */
#ifndef OCTET_MODEL_NET_WEIGHTS_H
#define OCTET_MODEL_NET_WEIGHTS_H

#include "model/format/gguf.h"
#include "model/model.h"
#include "model/net/hparams.h"
#include "model/net/linear.h"
#include "model/quant/plan.h"

/* Gate and up take turns every so many outputs: one group of the default scheme. */
enum { FFN_UNIT = 64 };

struct layer {
    float *attn_norm, *ffn_norm; /* [d_model] */
    float *qkv_bias;             /* [n_q + 2 n_kv] (v's part rotated as v is), or NULL */
    struct linear qkv;           /* d_model → q heads, k heads, v heads, each padded to panels */
    struct linear o;             /* heads → d_model */
    struct linear gate_up; /* d_model → ffn_unit of gate, padded to panels, of up, and so on */
    struct linear down;    /* d_ff → d_model */
};

struct weights {
    struct hparams hp;
    size_t ffn_unit; /* 64 where it divides d_ff, so that whoever has both can go on; else d_ff */
    struct arena arena;   /* of all matrices */
    struct linear embed;  /* rows are tokens; the head too, if tied */
    struct linear head;   /* untied: has a map */
    struct layer *layers; /* [n_layer] */
    float *output_norm;   /* [d_model] */
    float *embed_smooth;  /* [d_model] what is looked up is divided by; NULL: 1 */
    double *inv_freq;     /* [n_rot / 2]: radians a position */
    char scheme[192];     /* "int8-h64-g64", "q8_0", "mixed:int8-h64-g64", "fp32" */
    uint64_t n_params, bytes;
};

/* A vector beside an embedding that is the head too: its columns are multiplied by it, for the head's
 * sake (model/prepare.h). */
#define WEIGHTS_EMBED_SMOOTH "token_embd.octet_smooth"

/* plan: NULL: as the file stores it, or else the default scheme; MODEL_FP32 asks neither. */
int weights_load(const struct gguf *g, enum model_precision precision,
                 const struct quant_plan *plan, const struct model_progress *progress,
                 struct weights *ret_weights, struct error *err);
void weights_done(struct weights *w);

/* Outputs from one unit of d (a head, ffn_unit) to the next: whole panels. */
size_t weights_unit_step(size_t d);
/* The head's matrix: its own, or the embedding. */
const struct linear *weights_head(const struct weights *w);

/* The list of tensor names that a network of these numbers has, one at a time; NULL after the last.
 * Used to refuse a file with tensors that this graph would silently not use. */
struct tensor_role {
    char name[64];
    size_t n, k; /* k = 0: a vector of n */
    size_t unit; /* every so many outputs of a matrix begin a panel */
    int role;    /* enum quant_role for matrices */
    bool optional;
};
bool weights_tensor_at(const struct hparams *hp, size_t i, struct tensor_role *ret_role);
/* The numbers of the network and its vocabulary; every tensor of the file is one of those above, and
 * those that must be there are. */
int weights_read_shape(const struct gguf *g, struct hparams *ret_hp, struct error *err);
/* ST_INVALID for a plan that names what is no module of this network. */
int weights_check_plan(const struct gguf *g, const struct hparams *hp,
                       const struct quant_plan *plan, struct error *err);
/* A vector of n as floats, which the caller frees. ST_NOTFOUND; ST_FORMAT for another length, NaN or
 * infinity. */
int weights_read_vector(const struct gguf *g, const char *name, size_t n, float **ret_vector,
                        struct error *err);

#endif
