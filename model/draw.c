#include "model/draw.h"

enum { DRAW_SEQS = 32 };

struct drawing {
    const struct model *model;
    const struct draw_opts *opts;
    int32_t *ids; /* [n_seqs][n_ctx] */
    struct runner *rn;
    struct sampler *samplers[DRAW_SEQS];
    uint32_t seqs[DRAW_SEQS];
    size_t n; /* sequences at once */
};

/* Without BOS any token may begin, by the seed. */
static int32_t first_token(const struct drawing *d, size_t seq)
{
    uint32_t n = model_info(d->model)->n_vocab;

    if (model_bos(d->model) >= 0)
        return model_bos(d->model);
    return (int32_t)((d->opts->seed + seq * UINT64_C(0x9E3779B97F4A7C15)) >> 16) % (int32_t)n;
}

static int open_seqs(struct drawing *d, size_t first)
{
    struct sampler_opts so = {.temperature =
                                  d->opts->temperature > 0.0f ? d->opts->temperature : 1.0f,
                              .top_p = 1.0f,
                              .repetition_penalty = 1.0f};

    for (size_t i = 0; i < d->n; i++) {
        so.seed = d->opts->seed + first + i;
        int r = sampler_open(d->model, &so, &d->samplers[i]);
        if (r == ST_OK)
            r = runner_seq_new(d->rn, &d->seqs[i]);
        if (r == ST_OK)
            r = runner_seq_reserve(d->rn, d->seqs[i], d->opts->n_ctx);
        if (r != ST_OK)
            return r;
        d->ids[(first + i) * d->opts->n_ctx] = first_token(d, first + i);
    }
    return ST_OK;
}

static void close_seqs(struct drawing *d)
{
    for (size_t i = 0; i < d->n; i++) {
        if (d->samplers[i])
            runner_seq_free(d->rn, d->seqs[i]);
        sampler_free(d->samplers[i]);
        d->samplers[i] = NULL;
    }
}

/* One token for each of the sequences from `first` on. */
static int draw_step(struct drawing *d, size_t first, uint32_t pos)
{
    struct batch_row rows[DRAW_SEQS];
    struct sample_job jobs[DRAW_SEQS];
    const uint32_t n_ctx = d->opts->n_ctx;
    int r;

    for (size_t i = 0; i < d->n; i++)
        rows[i] = (struct batch_row){.token = d->ids[(first + i) * n_ctx + pos],
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
        d->ids[(first + i) * n_ctx + pos + 1] = jobs[i].id[0];
    }
    return ST_OK;
}

static int draw_seqs(struct drawing *d, size_t first)
{
    const struct draw_opts *o = d->opts;
    int r = open_seqs(d, first);

    for (uint32_t pos = 0; r == ST_OK && pos + 1 < o->n_ctx; pos++) {
        r = draw_step(d, first, pos);
        if (o->progress.fn)
            o->progress.fn(o->progress.arg, "drawing text", first * o->n_ctx + (pos + 2) * d->n,
                           (uint64_t)o->n_seqs * o->n_ctx);
    }
    close_seqs(d);
    return r;
}

int draw_text(const struct model *model, const struct draw_opts *opts, int32_t *ret_ids,
              struct error *err)
{
    struct drawing d = {.model = model,
                        .opts = opts,
                        .ids = ret_ids,
                        .n = opts->n_seqs < DRAW_SEQS ? opts->n_seqs : DRAW_SEQS};
    const struct runner_opts ro = {.n_ctx = opts->n_ctx,
                                   .max_seqs = (uint32_t)d.n,
                                   .max_rows = (uint32_t)d.n,
                                   .kv = MODEL_KV_F16,
                                   .threads = opts->threads};
    int r = runner_open(model, &ro, &d.rn, err);

    if (r != ST_OK)
        return r;
    for (size_t first = 0; r == ST_OK && first < opts->n_seqs; first += d.n) {
        d.n = opts->n_seqs - first < d.n ? opts->n_seqs - first : d.n;
        r = draw_seqs(&d, first);
    }
    runner_free(d.rn);
    return r == ST_OK ? r
                      : error_set(err, r, "%s: drawing text from the model stopped: %s",
                                  model_info(model)->name, status_name(r));
}
