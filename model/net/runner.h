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
enum { ALONE_ROWS = 4 };

/* Queries that one attention work item holds at once: rows of one sequence times the heads of one
 * key head, or of all. */
enum { ATTN_QUERIES = 48 };

/* A sequence is cut into spans for several workers only where fewer than so many items a worker
 * are there. */
enum { ATTN_FEW_ITEMS = 4 };

/* Floats of a product's block that its maker goes on with while the first cache holds them. */
enum { BLOCK_FLOATS = 6144 };

/* So many rows a worker are enough for it to have rows of its own. */
enum { ROWS_EACH = 48 };

/* Rows of one sequence that attend together. */
struct attn_tile {
    uint32_t first, n_rows;
};

/* Everything a worker needs to attend: queries, their integers, their sums. */
struct attn_scratch {
    _Alignas(64) float o[ATTN_QUERIES][HEAD_MAX];
    struct attn_query query[ATTN_QUERIES];
    /* Sums over the spans before, where there is more than one. */
    struct attn_query total[ATTN_QUERIES];
    _Alignas(64) float total_o[ATTN_QUERIES][HEAD_MAX];
};

/* What belongs to one compute thread. */
struct worker {
    struct profile profile;
    struct linear_input in, mid; /* [ALONE_ROWS] its own copies, for steps of few rows */
    float *row;                  /* [widest input] staged for quantization */
    struct attn_scratch *attn;
    struct sample_scratch sample;
};

/* Linear layers by what they read; those that read the same share a site. */
enum observe_site { SITE_QKV, SITE_O, SITE_GATE_UP, SITE_DOWN, SITES, SITE_HEAD = SITES };

/* Told of row r of a step what a layer's linears read of it: x[k]. Only on a model in floats. Called
 * by all workers, each row once a site; SITE_HEAD after the last layer, for every row. */
struct observer {
    void (*fn)(void *arg, size_t layer, enum observe_site site, size_t r, const float *x, size_t k);
    void *arg;
};

struct runner {
    const struct weights *w;
    const struct kernels *kernels;
    struct pool *pool;
    struct kv kv;
    uint64_t lookup_tokens, hit_tokens;
    struct runner_info info;
    struct observer observer; /* fn NULL: nobody looks */

    /* One step. Sizes in floats unless said; rows first. */
    const struct batch_row *rows;
    size_t n_rows;
    uint32_t *logit_slot; /* [max_rows]: which logits row, or UINT32_MAX */
    size_t n_logits;
    float *x;                   /* [rows][d_model] the residual stream */
    size_t query_step;          /* from one query to the next, in numbers */
    int8_t *q8;                 /* [rows][n_head][query_step] queries as integers: kernels.h */
    float *q_scale;             /* [rows][n_head] */
    int32_t *q_comp;            /* [rows][n_head] */
    float *qf;                  /* [rows][n_head][query_step] or as floats */
    float *gu;                  /* [rows][outputs of gate_up] in turns, as weights.h says */
    float *cosv, *sinv;         /* [rows][n_rot] */
    float *logits;              /* [max_logits][n_vocab] */
    size_t widest;              /* input of any layer */
    float *att;                 /* [rows][widest] heads that can't be quantized one by one */
    struct linear_input in;     /* what the first product of a block reads */
    struct linear_input mid;    /* what its second one reads */
    struct worker *workers;     /* [threads] */
    bool by_rows;               /* each worker has rows [row_cut[w], row_cut[w + 1]) of its own */
    size_t *row_cut, *tile_cut; /* [threads + 1] */
    struct attn_tile *tiles;
    size_t n_tiles;
    size_t item_heads;             /* key/value heads of one attention item */
    size_t item_queries;           /* most there are of one */
    uint32_t item_spans;           /* spans a tile is cut into, 1: not at all */
    size_t prefetch_blocks;        /* of a worker's in the next layer, fetched beside gate and up */
    _Atomic size_t *next_item;     /* [threads][n_layer]: attention items handed out so far */
    _Atomic uint32_t *spans_done;  /* [ATTN_FEW_ITEMS * threads] of a tile and head */
    struct arena spans;            /* of these, mapped for the most there can be */
    struct attn_query *span_query; /* [item_spans][items][item_queries] */
    float *span_o;                 /* the same, [dv] each */
};

/* Behind runner_open of model.h. */
int runner_new(const struct weights *w, const struct kernels *kernels,
               const struct runner_opts *opts, struct runner **ret_runner, struct error *err);

/* scratch.c: the buffers of a step; info and kv are set. ST_NOMEM leaves what was opened to
 * scratch_close. */
int scratch_open(struct runner *rn);
void scratch_close(struct runner *rn);
/* The rows of in or mid from `base` on, in a region of their own: layers differ in width, so that
 * with one stride for all a worker would write where another, at another layer, still reads. */
struct linear_input scratch_region(const struct runner *rn, const struct linear_input *all,
                                   size_t base);

/* forward.c: one worker's part of a step. Every worker calls it at once (arg: the runner). */
void forward_step(void *runner, unsigned worker, unsigned n_workers);
/* plan.c: divide the step's rows among the workers and cut them into tiles. */
void plan_step(struct runner *rn);
struct share plan_share(const struct runner *rn, unsigned worker);
/* attention.c: one worker's share of a layer's attention: queries → att, or mid if
 * attention_quantizes. */
void attention_layer(struct runner *rn, size_t layer, const struct linear_input *mid,
                     unsigned worker);
/* The first blocks of item_heads heads each that a worker reads in a layer if none is late, from
 * where the walk, at first {0}, has come to. Returns how many, up to max. Not for spans apart. */
struct attn_walk {
    size_t item;
    uint32_t block;
};
size_t attention_runs(const struct runner *rn, size_t layer, unsigned worker,
                      struct attn_walk *walk, const uint8_t **runs, size_t max);
/* A head's result is whole groups of o's input, so that whoever has it can quantize it. */
bool attention_quantizes(const struct runner *rn, size_t layer);
uint32_t attention_spans(uint32_t n_pos);
/* What the last row of a tile, which sees the most, sees. */
uint32_t attention_positions(const struct runner *rn, const struct attn_tile *tile);
/* heads.c: this worker's heads of a layer's queries, keys and values. */
void heads_layer(const struct runner *rn, size_t layer, const struct linear_input *in,
                 const struct share *share, unsigned worker);

#endif
