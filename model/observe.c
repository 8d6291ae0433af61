/* observe.c - the pass over a text that quantizing learns from. Behind model_observe of model.h.
 *
 * The model runs in FP32, a sequence after another; what each linear layer reads of a step's rows is
 * put aside, and added to the sums when the step is over. Without a text the model draws its own
 * first. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/draw.h"
#include "model/observations.h"
#include "model/quant/gram.h"
#include "model/text/utf8.h"

enum { TOKENS = 32768, CTX = 512, STEP_ROWS = 256 };

struct observing {
    const struct model_observe_opts *opts;
    struct model *model;
    struct observations *o;
    struct error *err;
    uint32_t n_ctx, n_tokens; /* whole sequences */
    int32_t *ids;             /* [n_tokens] */
    float **rows;             /* [n_sites]: this step's, as gram.h lays them */
    float **turned;           /* [threads]: scratch */
    _Atomic int status;       /* of the sums */
    unsigned threads;
    size_t n_rows; /* of this step */
};

static void tell(const struct observing *ob, const char *what, uint64_t done)
{
    if (ob->opts->progress.fn)
        ob->opts->progress.fn(ob->opts->progress.arg, what, done, ob->n_tokens);
}

/* ---- the text ---- */

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

static int own_text(struct observing *ob)
{
    const struct draw_opts d = {.n_seqs = ob->n_tokens / ob->n_ctx,
                                .n_ctx = ob->n_ctx,
                                .temperature = ob->opts->temperature,
                                .seed = ob->opts->seed,
                                .threads = ob->threads,
                                .progress = ob->opts->progress};

    return draw_text(ob->model, &d, ob->ids, ob->err);
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

/* A step's rows, one after another. */
static void gather(const float *panels, size_t t, size_t k, float *ret_rows)
{
    for (size_t c = 0; c < k; c += PANEL)
        for (size_t r = 0; r < t; r++)
            memcpy(ret_rows + r * k + c, panels + c * t + r * PANEL,
                   (k - c < PANEL ? k - c : PANEL) * sizeof(float));
}

static void look(struct observing *ob, size_t i, const struct kernels *kernels, float *scratch)
{
    struct site *s = &ob->o->sites[i];

    for (size_t v = 0; v < VIEWS; v++) {
        gather(ob->rows[i], ob->n_rows, s->k, scratch);
        int r = view_add(&s->views[v], kernels, scratch, ob->n_rows, scratch + s->k * STEP_ROWS);
        if (r != ST_OK)
            ob->status = r;
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
        if (i % n_workers == worker)
            look(ob, i, kernels, ob->turned[worker]);
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
        ob->turned[i] = malloc(widest * (STEP_ROWS + 2) * sizeof(float));
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
        if (r == ST_OK)
            r = ob->status;
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
        r = opts->text ? take_text(&ob) : own_text(&ob);
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
