/* observe.c - the pass over a text that quantizing learns from. Behind model_observe of model.h.
 *
 * The model runs in FP32, a sequence after another; what each linear layer reads of a step's rows is
 * put aside, and added to the sums when the step is over. Without a text the model draws its own
 * first: many sequences at once, each from BOS (as in "LLM-QAT", Liu et al. 2023, section 3.1). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/observations.h"
#include "model/quant/gram.h"
#include "model/text/utf8.h"

enum { TOKENS = 32768, CTX = 512, STEP_ROWS = 256, DRAW_SEQS = 32 };

struct observing {
    const struct model_observe_opts *opts;
    struct model *model;
    struct observations *o;
    struct error *err;
    uint32_t n_ctx, n_tokens; /* whole sequences */
    int32_t *ids;             /* [n_tokens] */
    float **rows;             /* [n_sites]: this step's, as gram.h lays them */
    float **turned;           /* [threads] */
    unsigned threads;
    size_t n_rows; /* of this step */
};

static void tell(const struct observing *ob, const char *what, uint64_t done)
{
    if (ob->opts->progress.fn)
        ob->opts->progress.fn(ob->opts->progress.arg, what, done, ob->n_tokens);
}

/* ---- the text ---- */

struct drawing {
    struct runner *rn;
    struct sampler *samplers[DRAW_SEQS];
    uint32_t seqs[DRAW_SEQS];
    size_t n;
};

/* Without BOS any token may begin, by the seed. */
static int32_t first_token(const struct observing *ob, size_t seq)
{
    uint32_t n = model_info(ob->model)->n_vocab;

    if (model_bos(ob->model) >= 0)
        return model_bos(ob->model);
    return (int32_t)((ob->opts->seed + seq * UINT64_C(0x9E3779B97F4A7C15)) >> 16) % (int32_t)n;
}

static int open_drawing(struct observing *ob, struct drawing *d, size_t first)
{
    struct sampler_opts so = {.temperature =
                                  ob->opts->temperature > 0.0f ? ob->opts->temperature : 1.0f,
                              .top_p = 1.0f,
                              .repetition_penalty = 1.0f};

    for (size_t i = 0; i < d->n; i++) {
        so.seed = ob->opts->seed + first + i;
        int r = sampler_open(ob->model, &so, &d->samplers[i]);
        if (r == ST_OK)
            r = runner_seq_new(d->rn, &d->seqs[i]);
        if (r == ST_OK)
            r = runner_seq_reserve(d->rn, d->seqs[i], ob->n_ctx);
        if (r != ST_OK)
            return r;
        ob->ids[(first + i) * ob->n_ctx] = first_token(ob, first + i);
    }
    return ST_OK;
}

static void close_drawing(struct drawing *d)
{
    for (size_t i = 0; i < d->n; i++) {
        if (d->samplers[i])
            runner_seq_free(d->rn, d->seqs[i]);
        sampler_free(d->samplers[i]);
        d->samplers[i] = NULL;
    }
}

/* One token for each of the sequences from `first` on. */
static int draw_step(struct observing *ob, struct drawing *d, size_t first, uint32_t pos)
{
    struct batch_row rows[DRAW_SEQS];
    struct sample_job jobs[DRAW_SEQS];
    int r;

    for (size_t i = 0; i < d->n; i++)
        rows[i] = (struct batch_row){.token = ob->ids[(first + i) * ob->n_ctx + pos],
                                     .seq = d->seqs[i],
                                     .pos = pos,
                                     .logits = true};
    r = runner_step(d->rn, rows, d->n);
    if (r != ST_OK)
        return r;
    for (size_t i = 0; i < d->n; i++)
        jobs[i] = (struct sample_job){.sampler = d->samplers[i], .logits = runner_logits(d->rn, i)};
    runner_sample(d->rn, jobs, d->n);
    for (size_t i = 0; i < d->n; i++) {
        if (jobs[i].status != ST_OK)
            return jobs[i].status;
        ob->ids[(first + i) * ob->n_ctx + pos + 1] = jobs[i].id[0];
    }
    return ST_OK;
}

static int draw_text(struct observing *ob)
{
    const size_t n_seqs = ob->n_tokens / ob->n_ctx;
    struct drawing d = {.n = n_seqs < DRAW_SEQS ? n_seqs : DRAW_SEQS};
    const struct runner_opts ro = {.n_ctx = ob->n_ctx,
                                   .max_seqs = (uint32_t)d.n,
                                   .max_rows = (uint32_t)d.n,
                                   .kv = MODEL_KV_F16,
                                   .threads = ob->threads};
    int r = runner_open(ob->model, &ro, &d.rn, ob->err);

    if (r != ST_OK)
        return r;
    for (size_t first = 0; r == ST_OK && first < n_seqs; first += d.n) {
        d.n = n_seqs - first < d.n ? n_seqs - first : d.n;
        r = open_drawing(ob, &d, first);
        for (uint32_t pos = 0; r == ST_OK && pos + 1 < ob->n_ctx; pos++) {
            r = draw_step(ob, &d, first, pos);
            tell(ob, "drawing text", first * ob->n_ctx + (pos + 2) * d.n);
        }
        close_drawing(&d);
    }
    runner_free(d.rn);
    return r == ST_OK ? r
                      : error_set(ob->err, r, "%s: drawing text from the model stopped: %s",
                                  ob->opts->in, status_name(r));
}

static int check_text(const struct observing *ob)
{
    const char *text = ob->opts->text, *name = ob->opts->text_name ? ob->opts->text_name : "text";
    const size_t len = ob->opts->text_len;
    size_t n;

    if (len == 0)
        return error_set(ob->err, ST_INVALID, "%s: is empty: give a text of at least %u tokens",
                         name, ob->n_ctx);
    for (size_t i = 0; i < len; i += n)
        if (utf8_look(text + i, len - i, &n) != UTF8_WHOLE)
            return error_set(ob->err, ST_INVALID,
                             "%s: byte %zu is not UTF-8: give plain text in UTF-8", name, i);
    return ST_OK;
}

/* The first sequences of the text; each begins with BOS if the tokenizer adds it, as in octet eval. */
static int take_text(struct observing *ob)
{
    const char *name = ob->opts->text_name ? ob->opts->text_name : "text";
    int32_t *ids = NULL;
    size_t n = 0;
    int r = model_tokenize(ob->model, ob->opts->text, ob->opts->text_len, MODEL_TEXT_BOS_AUTO, &ids,
                           &n, ob->err);

    if (r == ST_OK && n < ob->n_ctx)
        r = error_set(ob->err, ST_INVALID,
                      "%s: %zu tokens are less than one sequence of %u: give a longer text", name,
                      n, ob->n_ctx);
    if (r == ST_OK) {
        if (n < ob->n_tokens)
            ob->n_tokens = (uint32_t)(n / ob->n_ctx * ob->n_ctx);
        memcpy(ob->ids, ids, ob->n_tokens * sizeof(*ids));
        for (size_t i = 0; model_add_bos(ob->model) && i < ob->n_tokens; i += ob->n_ctx)
            ob->ids[i] = model_bos(ob->model);
    }
    free(ids);
    return r;
}

/* ---- the pass ---- */

static void put_aside(void *arg, size_t layer, enum observe_site site, size_t r, const float *x,
                      size_t k)
{
    struct observing *ob = arg;
    size_t i = (size_t)(observations_at(ob->o, layer, site) - ob->o->sites);

    gram_put_row(ob->rows[i], k, ob->n_rows, r, x);
}

static void take_max(struct site *s, const float *rows, size_t t, size_t p)
{
    for (size_t r = 0; r < t; r++)
        for (size_t c = p * PANEL; c < s->k && c < (p + 1) * PANEL; c++) {
            float v = fabsf(rows[(p * t + r) * PANEL + c % PANEL]);
            s->max_abs[c] = v > s->max_abs[c] ? v : s->max_abs[c];
        }
}

static void add_share(void *arg, unsigned worker, unsigned n_workers)
{
    struct observing *ob = arg;
    const struct kernels *kernels = kernels_get(NULL);

    for (size_t i = 0; i < ob->o->n_sites; i++) {
        struct site *s = &ob->o->sites[i];
        gram_add(kernels, s->gram, ob->rows[i], s->k, ob->n_rows, worker, n_workers,
                 ob->turned[worker]);
        for (size_t p = worker; p < packed_panels(s->k); p += n_workers)
            take_max(s, ob->rows[i], ob->n_rows, p);
    }
}

static int open_rows(struct observing *ob)
{
    size_t widest = 0;

    ob->rows = calloc(ob->o->n_sites, sizeof(*ob->rows));
    ob->turned = calloc(ob->threads, sizeof(*ob->turned));
    if (!ob->rows || !ob->turned)
        return ST_NOMEM;
    for (size_t i = 0; i < ob->o->n_sites; i++) {
        size_t k = ob->o->sites[i].k;
        widest = k > widest ? k : widest;
        ob->rows[i] = malloc(gram_rows_floats(k, STEP_ROWS) * sizeof(float));
        if (!ob->rows[i])
            return ST_NOMEM;
    }
    for (size_t i = 0; i < ob->threads; i++) {
        ob->turned[i] = malloc(widest * STEP_ROWS * sizeof(float));
        if (!ob->turned[i])
            return ST_NOMEM;
    }
    return ST_OK;
}

static void close_rows(struct observing *ob)
{
    for (size_t i = 0; ob->rows && i < ob->o->n_sites; i++)
        free(ob->rows[i]);
    for (size_t i = 0; ob->turned && i < ob->threads; i++)
        free(ob->turned[i]);
    free(ob->rows);
    free(ob->turned);
}

static int run_sequence(struct observing *ob, struct runner *rn, size_t first)
{
    struct batch_row rows[STEP_ROWS];
    uint32_t seq;
    int r = runner_seq_new(rn, &seq);

    if (r != ST_OK)
        return r;
    r = runner_seq_reserve(rn, seq, ob->n_ctx);
    for (uint32_t pos = 0; r == ST_OK && pos < ob->n_ctx; pos += (uint32_t)ob->n_rows) {
        ob->n_rows = ob->n_ctx - pos < STEP_ROWS ? ob->n_ctx - pos : STEP_ROWS;
        for (uint32_t i = 0; i < ob->n_rows; i++)
            rows[i] =
                (struct batch_row){.token = ob->ids[first + pos + i], .seq = seq, .pos = pos + i};
        r = runner_step(rn, rows, ob->n_rows);
        if (r == ST_OK)
            runner_parallel(rn, add_share, ob);
        ob->o->n_rows += ob->n_rows;
        tell(ob, "observing", first + pos + ob->n_rows);
    }
    runner_seq_free(rn, seq);
    return r;
}

static int run_pass(struct observing *ob)
{
    const struct runner_opts ro = {.n_ctx = ob->n_ctx,
                                   .max_seqs = 1,
                                   .max_rows = STEP_ROWS,
                                   .kv = MODEL_KV_F32,
                                   .threads = ob->threads};
    struct runner *rn = NULL;
    int r = runner_open(ob->model, &ro, &rn, ob->err);

    if (r != ST_OK)
        return r;
    r = observations_new(&rn->w->hp, &ob->o);
    if (r == ST_OK)
        r = open_rows(ob);
    rn->observer = (struct observer){put_aside, ob};
    for (size_t i = 0; r == ST_OK && i < ob->n_tokens; i += ob->n_ctx)
        r = run_sequence(ob, rn, i);
    close_rows(ob);
    runner_free(rn);
    return r == ST_OK
               ? r
               : error_set(ob->err, r, "%s: observing stopped: %s", ob->opts->in, status_name(r));
}

/* What they are of, and by what. */
static int sign(struct observing *ob)
{
    ob->o->drawn = !ob->opts->text;
    if (ob->opts->text)
        sha256_text(ob->opts->text, ob->opts->text_len, ob->o->text);
    else
        sha256_text(ob->ids, ob->n_tokens * sizeof(*ob->ids), ob->o->text);
    return model_digest(ob->opts->in, NULL, ob->o->source, ob->err);
}

int model_observe(const struct model_observe_opts *opts, struct observations **ret_observations,
                  struct error *err)
{
    struct observing ob = {.opts = opts,
                           .err = err,
                           .n_ctx = opts->n_ctx ? opts->n_ctx : CTX,
                           .threads = opts->threads ? opts->threads : 1};
    const struct model_opts mo = {
        .path = opts->in, .precision = MODEL_FP32, .progress = opts->progress};
    uint32_t want = opts->n_tokens ? opts->n_tokens : TOKENS;
    int r = opts->text ? check_text(&ob) : ST_OK;

    if (r == ST_OK)
        r = model_open(&mo, &ob.model, err);
    if (r != ST_OK)
        return r;
    if (ob.n_ctx > model_info(ob.model)->n_ctx_train)
        ob.n_ctx = model_info(ob.model)->n_ctx_train;
    ob.n_tokens = want < ob.n_ctx ? ob.n_ctx : want / ob.n_ctx * ob.n_ctx;
    ob.ids = malloc(ob.n_tokens * sizeof(*ob.ids));
    if (!ob.ids)
        r = error_set(err, ST_NOMEM, "out of memory");
    if (r == ST_OK)
        r = opts->text ? take_text(&ob) : draw_text(&ob);
    if (r == ST_OK)
        r = run_pass(&ob);
    if (r == ST_OK)
        r = sign(&ob);
    free(ob.ids);
    model_free(ob.model);
    if (r != ST_OK) {
        observations_free(ob.o);
        return r;
    }
    *ret_observations = ob.o;
    return ST_OK;
}
