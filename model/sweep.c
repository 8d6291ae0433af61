/* sweep.c - the text of a sweep, its FP32 logits, and how far from them another network is. Behind
 * sweep_* of model.h.
 *
 * What a unit of layer L changes are layers from L on: so the network that is run is those alone, whose
 * embedding is, for each position of a sequence, what layer L reads of it. */
#include "model/sweep_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/quant/divergence.h"
#include "model/draw.h"
#include "model/observations.h"

enum { TOKENS = 1024 };

/* The text is not that of observations of the same seed. */
#define SEED_APART UINT64_C(0x5EED00000000)

/* ---- one measurement ---- */

/* Logits of a sequence beside the reference's. */
struct rows {
    struct sweep *s;
    const struct runner *rn;
    const float *ref;
    double *kld; /* [n_ctx] */
};

static void compare_share(void *arg, unsigned worker, unsigned n_workers)
{
    const struct rows *rows = arg;
    const size_t n = rows->s->w.hp.n_vocab;

    for (size_t i = worker; i < rows->s->n_ctx; i += n_workers)
        rows->kld[i] = divergence_row(rows->s->kernels, rows->ref + i * n,
                                      runner_logits(rows->rn, i), n, rows->s->p + worker * n);
}

/* One step over a whole sequence of these tokens. */
static int run_sequence(const struct sweep *s, struct runner *rn, const int32_t *ids, bool logits)
{
    struct batch_row rows[SWEEP_CTX];
    uint32_t seq;
    int r = runner_seq_new(rn, &seq);

    if (r != ST_OK)
        return r;
    for (uint32_t i = 0; i < s->n_ctx; i++)
        rows[i] = (struct batch_row){.token = ids[i], .seq = seq, .pos = i, .logits = logits};
    r = runner_seq_reserve(rn, seq, s->n_ctx);
    if (r == ST_OK)
        r = runner_step(rn, rows, s->n_ctx);
    runner_seq_free(rn, seq);
    return r;
}

static struct runner_opts opts_of(const struct sweep *s, enum model_kv kv)
{
    return (struct runner_opts){.n_ctx = s->n_ctx,
                                .max_seqs = 1,
                                .max_rows = s->n_ctx,
                                .max_logits = s->n_ctx,
                                .kv = kv,
                                .threads = s->opts.threads};
}

/* Mean divergence of what rn makes of the text from the reference. states: w, which is rn's, reads
 * those instead. */
static int measure(struct sweep *s, struct runner *rn, struct weights *states, double *ret_kld)
{
    double sum = 0.0, kld[SWEEP_CTX];
    int r = ST_OK;

    for (size_t i = 0; r == ST_OK && i < s->n_seqs; i++) {
        struct rows rows = {s, rn, s->ref + i * s->n_ctx * s->w.hp.n_vocab, kld};
        if (states)
            states->embed = s->states[i];
        r = run_sequence(s, rn, states ? s->at : s->ids + i * s->n_ctx, true);
        if (r == ST_OK)
            pool_run(s->pool, compare_share, &rows);
        for (size_t j = 0; r == ST_OK && j < s->n_ctx; j++)
            sum += kld[j];
    }
    *ret_kld = sum / (double)s->n_seqs / (double)s->n_ctx;
    if (r == ST_OK && !isfinite(*ret_kld))
        r = ST_INTERNAL;
    return r;
}

/* What it takes to measure a network of the last n_layer layers. */
double sweep_cost(const struct sweep *s, uint32_t n_layer)
{
    const struct model_info *info = model_info(s->model);
    const double head = (double)info->head_macs, body = (double)info->row_macs;

    return (double)s->n_seqs * s->n_ctx * (head + body * n_layer / s->w.hp.n_layer) / (head + body);
}

/* A network of our own making. */
int sweep_network(struct sweep *s, struct weights *w, bool states, enum model_kv kv,
                  double *ret_kld, struct error *err)
{
    const struct runner_opts ro = opts_of(s, kv);
    struct runner *rn = NULL;
    int r = runner_new(w, s->kernels, &ro, &rn, err);

    if (r != ST_OK)
        return r;
    r = measure(s, rn, states ? w : NULL, ret_kld);
    runner_free(rn);
    s->done += sweep_cost(s, w->hp.n_layer);
    if (s->opts.progress.fn)
        s->opts.progress.fn(s->opts.progress.arg, "sweeping", (uint64_t)s->done,
                            (uint64_t)(s->total + 0.5));
    return r == ST_OK ? r
                      : error_set(err, r, "%s: the sweep stopped: %s", s->opts.in, status_name(r));
}

int sweep_measure(struct sweep *s, const char *path, double *ret_kld, struct error *err)
{
    const struct model_opts mo = {.path = path, .progress = s->opts.progress};
    const struct runner_opts ro = opts_of(s, MODEL_KV_INT8);
    struct model *model = NULL;
    struct runner *rn = NULL;
    int r = model_open(&mo, &model, err);

    if (r == ST_OK)
        r = runner_open(model, &ro, &rn, err);
    if (r == ST_OK && rn->w->hp.n_vocab != s->w.hp.n_vocab)
        r = error_set(err, ST_INVALID, "%s: has not the vocabulary of %s", path, s->opts.in);
    else if (r == ST_OK && (r = measure(s, rn, NULL, ret_kld)) != ST_OK)
        error_set(err, r, "%s: measuring stopped: %s", path, status_name(r));
    runner_free(rn);
    model_free(model);
    return r;
}

/* ---- states ---- */

void sweep_first_states(struct sweep *s)
{
    for (size_t i = 0; i < s->n_seqs; i++)
        for (size_t j = 0; j < s->n_ctx; j++) {
            linear_get_row(&s->w.embed, (size_t)s->ids[i * s->n_ctx + j], s->p);
            linear_set_row_f32(&s->states[i], j, s->p);
        }
}

/* The layer itself over what it reads: what the next one reads. */
int sweep_next_states(struct sweep *s, size_t layer, struct error *err)
{
    const struct runner_opts ro = opts_of(s, MODEL_KV_F32);
    struct weights w = s->w;
    struct runner *rn = NULL;

    w.head = *weights_head(&s->w);
    w.layers = s->w.layers + layer;
    w.hp.n_layer = 1;
    int r = runner_new(&w, s->kernels, &ro, &rn, err);
    for (size_t i = 0; r == ST_OK && i < s->n_seqs; i++) {
        w.embed = s->states[i];
        r = run_sequence(s, rn, s->at, false);
        for (size_t j = 0; r == ST_OK && j < s->n_ctx; j++)
            linear_set_row_f32(&s->states[i], j, rn->x + j * w.hp.d_model);
    }
    runner_free(rn);
    return r;
}

/* ---- opening ---- */

/* The text's logits as the model has them. */
static int make_reference(struct sweep *s, struct error *err)
{
    const struct runner_opts ro = opts_of(s, MODEL_KV_F32);
    struct runner *rn = NULL;
    int r = runner_open(s->model, &ro, &rn, err);

    if (r != ST_OK)
        return r;
    s->w = *rn->w;
    s->kernels = rn->kernels;
    s->ref = calloc((size_t)s->n_seqs * s->n_ctx, s->w.hp.n_vocab * sizeof(*s->ref));
    s->p = calloc(s->opts.threads, (s->w.hp.n_vocab + (size_t)s->w.hp.d_model) * sizeof(*s->p));
    if (!s->ref || !s->p)
        r = ST_NOMEM;
    for (size_t i = 0; r == ST_OK && i < s->n_seqs; i++) {
        r = run_sequence(s, rn, s->ids + i * s->n_ctx, true);
        for (size_t j = 0; r == ST_OK && j < s->n_ctx; j++)
            memcpy(s->ref + (i * s->n_ctx + j) * s->w.hp.n_vocab, runner_logits(rn, j),
                   s->w.hp.n_vocab * sizeof(*s->ref));
    }
    runner_free(rn);
    return r == ST_OK
               ? r
               : error_set(err, r, "%s: the FP32 model stopped: %s", s->opts.in, status_name(r));
}

static int make_text(struct sweep *s, struct error *err)
{
    const struct draw_opts d = {.n_seqs = s->n_seqs,
                                .n_ctx = s->n_ctx,
                                .seed = s->opts.seed + SEED_APART,
                                .threads = s->opts.threads,
                                .progress = s->opts.progress};
    int r;

    s->ids = calloc((size_t)s->n_seqs * s->n_ctx, sizeof(*s->ids));
    if (!s->ids)
        return error_set(err, ST_NOMEM, "out of memory");
    r = draw_text(s->model, &d, s->ids, err);
    s->facts.ids = s->ids;
    if (r == ST_OK)
        sha256_text(s->ids, s->facts.n_tokens * sizeof(*s->ids), s->facts.text);
    return r;
}

static int open_states(struct sweep *s, struct error *err)
{
    const struct linear_desc desc = {
        .n = s->n_ctx, .k = s->w.hp.d_model, .w_bits = 32, .act = ACT_FLOAT};
    size_t bytes;
    int r = ST_OK;

    s->states = calloc(s->n_seqs, sizeof(*s->states));
    if (!s->states || !linear_room(&desc, &bytes) ||
        arena_open(&s->arena, s->n_seqs * (bytes + 64)) != ST_OK)
        return error_set(err, ST_NOMEM, "out of memory");
    for (size_t i = 0; r == ST_OK && i < s->n_seqs; i++)
        r = linear_open(&s->states[i], &desc, s->kernels, &s->arena, "states", err);
    return r;
}

/* Who uses observations of another file would find other errors than those of its weights. */
static int check_source(struct sweep *s, struct error *err)
{
    const struct observations *o = s->opts.observations;
    int r = model_digest(s->opts.in, NULL, s->facts.source, err);

    s->facts.clip = o && s->opts.clip;
    if (o)
        memcpy(s->facts.calibration, o->text, sizeof(o->text));
    if (r == ST_OK && o && strcmp(o->source, s->facts.source) != 0)
        r = error_set(err, ST_INVALID,
                      "%s: the observations are of another file: make them anew from this one",
                      s->opts.in);
    return r;
}

static void choose_size(struct sweep *s)
{
    const struct model_info *info = model_info(s->model);
    uint32_t n_tokens = s->opts.n_tokens ? s->opts.n_tokens : TOKENS;

    s->n_ctx = s->opts.n_ctx && s->opts.n_ctx < SWEEP_CTX ? s->opts.n_ctx : SWEEP_CTX;
    if (s->n_ctx > info->n_ctx_train)
        s->n_ctx = info->n_ctx_train;
    if (s->n_ctx >
        info->n_vocab) /* a position is a token of the network whose embedding is states */
        s->n_ctx = info->n_vocab;
    s->n_seqs = n_tokens > s->n_ctx ? n_tokens / s->n_ctx : 1;
    s->facts.n_ctx = s->n_ctx;
    s->facts.n_tokens = s->n_seqs * s->n_ctx;
}

int sweep_open(const struct sweep_opts *opts, struct sweep **ret_sweep, struct error *err)
{
    const struct model_opts mo = {
        .path = opts->in, .precision = MODEL_FP32, .progress = opts->progress};
    struct sweep *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return error_set(err, ST_NOMEM, "out of memory");
    s->opts = *opts;
    s->opts.threads = opts->threads ? opts->threads : 1;
    for (int32_t i = 0; i < SWEEP_CTX; i++)
        s->at[i] = i;
    r = check_source(s, err);
    if (r == ST_OK)
        r = model_open(&mo, &s->model, err);
    if (r == ST_OK && pool_open(s->opts.threads, &s->pool) != ST_OK)
        r = error_set(err, ST_NOMEM, "cannot start %u compute threads", s->opts.threads);
    if (r == ST_OK) {
        choose_size(s);
        r = make_text(s, err);
    }
    if (r == ST_OK)
        r = make_reference(s, err);
    if (r == ST_OK)
        r = open_states(s, err);
    if (r != ST_OK) {
        sweep_free(s);
        return r;
    }
    *ret_sweep = s;
    return ST_OK;
}

void sweep_free(struct sweep *s)
{
    if (!s)
        return;
    arena_done(&s->arena);
    free(s->states);
    free(s->ids);
    free(s->ref);
    free(s->p);
    pool_free(s->pool);
    model_free(s->model);
    free(s);
}

const struct sweep_facts *sweep_facts(const struct sweep *s)
{
    return &s->facts;
}
