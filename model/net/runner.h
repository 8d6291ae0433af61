/* runner.h - what changes while a model runs: pages, scratch, compute threads. Behind runner_* of
 * model.h.
 *
 * Owner:   the engine's thread; inside a step, the pool's workers write disjoint parts between
 *          barriers.
 * Memory:  all scratch is allocated at open for max_rows rows; a step allocates nothing. */
#ifndef OCTET_MODEL_NET_RUNNER_H
#define OCTET_MODEL_NET_RUNNER_H

#include "model/model.h"
#include "model/net/kv.h"
#include "model/net/pool.h"
#include "model/net/profile.h"
#include "model/net/sample.h"
#include "model/net/weights.h"

/* Steps of so few rows are not worth sharing by rows: each worker prepares all of them for itself,
 * which costs less than a barrier. */
enum { ALONE_ROWS = 2 };

struct own_input {
    float *h; /* [ALONE_ROWS][widest input] */
    struct quant_rows q;
};

/* Queries that one attention work item holds at once: rows of one sequence times the heads that
 * share a key head. */
enum { ATTN_QUERIES = 48 };

/* Rows of one sequence that attend together. */
struct attn_tile {
    uint32_t first, n_rows;
};

struct runner {
    const struct weights *w;
    const struct kernels *kernels;
    struct pool *pool;
    struct kv kv;
    uint64_t lookup_tokens, hit_tokens;
    struct runner_info info;

    /* One step. Sizes in floats unless said; rows first. */
    const struct batch_row *rows;
    size_t n_rows;
    uint32_t *logit_slot; /* [max_rows]: which logits row, or UINT32_MAX */
    size_t n_logits;
    float *x;              /* [rows][d_model] the residual stream */
    float *h;              /* [rows][widest input] what a linear layer reads */
    float *att;            /* [rows][o's input] what attention gives */
    float *qkv;            /* [rows][q heads + k heads + v heads] */
    float *gu;             /* [rows][gate d_ff, up d_ff] */
    float *cosv, *sinv;    /* [rows][n_rot] */
    float *logits;         /* [max_logits][n_vocab] */
    struct quant_rows q;   /* h (or att) quantized */
    struct own_input *own; /* [threads]: h and q of a worker alone, for steps of few rows */
    struct attn_tile *tiles;
    size_t n_tiles;
    _Atomic size_t *next_item;     /* [n_layer]: attention items handed out so far */
    struct attn_scratch **attn;    /* [threads] */
    struct sample_scratch *sample; /* [threads] */
    struct profile *profile;       /* [threads] */
};

/* Everything a worker needs to attend: queries, their integers, their sums. */
struct attn_scratch {
    _Alignas(64) float o[ATTN_QUERIES][HEAD_MAX];
    _Alignas(64) int8_t q8[ATTN_QUERIES][HEAD_MAX + 16];
    float qf[ATTN_QUERIES][HEAD_MAX];
    struct attn_query query[ATTN_QUERIES];
};

/* Behind runner_open of model.h. */
int runner_new(const struct weights *w, const struct kernels *kernels,
               const struct runner_opts *opts, struct runner **ret_runner, struct error *err);

/* forward.c: one worker's part of a step. Every worker calls it at once (arg: the runner). */
void forward_step(void *runner, unsigned worker, unsigned n_workers);
/* attention.c: cut the step's rows into tiles; then one worker's share of a layer's attention: qkv
 * → att. */
void attention_plan(struct runner *rn);
/* Every row is a sequence of its own: an item reads no key that another item of this step stores,
 * so that rotating, storing and attending need no barrier between them. */
bool attention_is_apart(const struct runner *rn);
void attention_layer(struct runner *rn, size_t layer, unsigned worker);
/* forward.c: bias and RoPE for one key/value head of row r with its queries, then key and value
 * into the cache. */
void rotate_and_store(const struct runner *rn, size_t layer, size_t r, size_t kv_head);

#endif
