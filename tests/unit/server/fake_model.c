/* fake_model.c - model/model.h without a model: what the server's tests need to hold the clock.
 * Its text half is fake_text.c.
 *
 * Ids 0..255 are bytes, then BOS, EOS and a poison whose logits are NaN. The next token is a letter
 * that depends on every token before it, read back from the fake's own key/value store, so a server
 * that mixes up sequences, positions or recomputation produces other text. It asserts what model.h
 * asks of its caller: pages reserved, positions in order, neighbours of one sequence.
 *
 * The environment sets its pace and size: FAKE_STEP_US, FAKE_ROW_US (a step's time), FAKE_LOAD_MS,
 * FAKE_LOAD_FAIL, FAKE_CTX, FAKE_PAGES, FAKE_TOKEN_BYTES (text of one token), FAKE_EOS_EVERY (about
 * one token in so many is EOS), FAKE_FAIL_STEP (that step fails), FAKE_TOKENIZE_MS, FAKE_PERIOD
 * (most tokens repeat the one so many positions before), FAKE_KLD (a record of quality, its mean KL
 * divergence in millionths), FAKE_CHANGED (which is of another file). */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "unit/server/fake_model.h"

#define PAGE_TOKENS 16u
#define MAX_TEXTS 64u

struct fake_seq {
    int32_t *tokens; /* n_ctx: what step() stored */
    uint32_t n_stored, n_pages;
    uint32_t n_found; /* of those: published, never written again */
    bool alive;
};

/* A text that was published, as the fake's prefix cache: it costs no pages, whoever attaches to it
 * pays for a copy. */
struct fake_text {
    uint64_t tenant;
    int32_t *ids;
    uint32_t n;
};

struct runner {
    const struct model *model;
    struct runner_info info;
    struct fake_seq *seqs;
    float *logits; /* max_rows x N_VOCAB */
    bool *has_logits;
    size_t n_rows;
    uint32_t pages_free;
    uint64_t n_steps;
    struct fake_text texts[MAX_TEXTS]; /* a ring */
    uint32_t n_texts;
    struct runner_prefix_stats stats;
};

struct sampler {
    struct sampler_opts opts;
    uint64_t n_accepted;
};

static uint64_t knob(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : fallback;
}

/* ---- model ---- */

int model_check_cpu(struct error *err)
{
    (void)err;
    return ST_OK;
}

int model_open(const struct model_opts *opts, struct model **ret_model, struct error *err)
{
    struct model *model = calloc(1, sizeof(*model));

    assert(model);
    for (uint64_t i = 0; i < 10; i++) {
        sleep_us(knob("FAKE_LOAD_MS", 0) * 100);
        if (opts->progress.fn)
            opts->progress.fn(opts->progress.arg, "loading", i + 1, 10);
    }
    if (getenv("FAKE_LOAD_FAIL")) {
        free(model);
        return error_set(err, ST_FORMAT, "%s: this file is not a model", opts->path);
    }
    model->info = (struct model_info){.name = "fake",
                                      .arch = "fake",
                                      .scheme = "none",
                                      .kernels = "none",
                                      .precision = opts->precision,
                                      .n_ctx_train = (uint32_t)knob("FAKE_CTX", 8192),
                                      .n_vocab = N_VOCAB};
    if (getenv("FAKE_KLD")) {
        model->quality = (struct quality){.kld_mean = (double)knob("FAKE_KLD", 0) / 1e6,
                                          .same_top = 0.9375,
                                          .ppl_ratio = 1.015625,
                                          .precision = "int8",
                                          .kv = "int8",
                                          .scheme = "none"};
        model->info.quality = &model->quality;
        model->info.quality_stale = opts->check_quality && getenv("FAKE_CHANGED");
    }
    model->step_us = knob("FAKE_STEP_US", 0);
    model->row_us = knob("FAKE_ROW_US", 0);
    model->period = knob("FAKE_PERIOD", 0);
    model->tokenize_ms = knob("FAKE_TOKENIZE_MS", 0);
    model->eos_every = knob("FAKE_EOS_EVERY", 0);
    model->fail_step = knob("FAKE_FAIL_STEP", 0);
    model->token_bytes = knob("FAKE_TOKEN_BYTES", 1);
    assert(model->token_bytes >= 1 && model->token_bytes <= MAX_PIECE);
    memset(model->piece, '.', MAX_PIECE);
    *ret_model = model;
    return ST_OK;
}

void model_free(struct model *model)
{
    free(model);
}

const struct model_info *model_info(const struct model *model)
{
    return &model->info;
}

/* ---- running ---- */

int runner_open(const struct model *model, const struct runner_opts *opts,
                struct runner **ret_runner, struct error *err)
{
    struct runner *runner = calloc(1, sizeof(*runner));

    (void)err;
    assert(runner);
    runner->model = model;
    runner->info =
        (struct runner_info){.n_ctx = opts->n_ctx ? opts->n_ctx : model->info.n_ctx_train,
                             .max_seqs = opts->max_seqs ? opts->max_seqs : 32,
                             .page_tokens = PAGE_TOKENS,
                             .page_bytes = 1024,
                             .threads = opts->threads,
                             .kv = opts->kv};
    runner->info.max_rows = opts->max_rows ? opts->max_rows : 64 + runner->info.max_seqs;
    runner->info.max_logits = opts->max_logits ? opts->max_logits : runner->info.max_seqs;
    uint32_t pages = (uint32_t)knob("FAKE_PAGES", 0);
    if (pages == 0)
        pages = (runner->info.n_ctx + PAGE_TOKENS - 1) / PAGE_TOKENS * runner->info.max_seqs;
    if (runner->info.n_ctx > pages * PAGE_TOKENS)
        runner->info.n_ctx = pages * PAGE_TOKENS;
    runner->info.n_pages = runner->pages_free = pages;
    runner->seqs = calloc(runner->info.max_seqs, sizeof(*runner->seqs));
    runner->logits = calloc((size_t)runner->info.max_rows * N_VOCAB, sizeof(*runner->logits));
    runner->has_logits = calloc(runner->info.max_rows, sizeof(*runner->has_logits));
    assert(runner->seqs && runner->logits && runner->has_logits);
    *ret_runner = runner;
    return ST_OK;
}

void runner_free(struct runner *runner)
{
    if (!runner)
        return;
    for (uint32_t i = 0; i < runner->info.max_seqs; i++)
        free(runner->seqs[i].tokens);
    for (uint32_t i = 0; i < MAX_TEXTS; i++)
        free(runner->texts[i].ids);
    free(runner->seqs);
    free(runner->logits);
    free(runner->has_logits);
    free(runner);
}

const struct runner_info *runner_info(const struct runner *runner)
{
    return &runner->info;
}

uint32_t runner_pages_free(const struct runner *runner)
{
    return runner->pages_free;
}

uint32_t runner_pages_for(const struct runner *runner, uint32_t n_tokens)
{
    (void)runner;
    return (n_tokens + PAGE_TOKENS - 1) / PAGE_TOKENS;
}

int runner_seq_new(struct runner *runner, uint32_t *ret_seq)
{
    for (uint32_t i = 0; i < runner->info.max_seqs; i++) {
        struct fake_seq *seq = &runner->seqs[i];
        if (seq->alive)
            continue;
        seq->alive = true;
        seq->n_stored = seq->n_pages = seq->n_found = 0;
        if (!seq->tokens)
            seq->tokens = calloc(runner->info.n_ctx, sizeof(*seq->tokens));
        assert(seq->tokens);
        *ret_seq = i;
        return ST_OK;
    }
    return ST_FULL;
}

void runner_seq_free(struct runner *runner, uint32_t id)
{
    struct fake_seq *seq = &runner->seqs[id];

    assert(seq->alive);
    seq->alive = false;
    runner->pages_free += seq->n_pages;
    seq->n_pages = 0;
}

int runner_seq_reserve(struct runner *runner, uint32_t id, uint32_t n_tokens)
{
    struct fake_seq *seq = &runner->seqs[id];
    uint32_t need = runner_pages_for(runner, n_tokens);

    assert(seq->alive);
    if (n_tokens > runner->info.n_ctx)
        return ST_TOOLONG;
    if (need <= seq->n_pages)
        return ST_OK;
    if (need - seq->n_pages > runner->pages_free)
        return ST_FULL;
    runner->pages_free -= need - seq->n_pages;
    seq->n_pages = need;
    return ST_OK;
}

/* FNV-1a over the stored tokens. */
static uint64_t hash_tokens(const int32_t *tokens, uint32_t n)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (uint32_t i = 0; i < n; i++)
        hash = (hash ^ (uint32_t)tokens[i]) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

static void fill_logits(struct runner *runner, size_t row, const struct fake_seq *seq)
{
    float *logits = runner->logits + row * N_VOCAB;
    uint64_t hash = hash_tokens(seq->tokens, seq->n_stored);

    for (int i = 0; i < N_VOCAB; i++)
        logits[i] = -1000;
    for (uint64_t i = 0; i < 26; i++)
        logits['a' + i] = (float)((hash >> (i % 13) * 4 ^ i * 7) % 26) + (float)i / 64;
    if (runner->model->eos_every && hash % runner->model->eos_every == 0)
        logits[EOS] = 1000;
    uint64_t period = runner->model->period;
    if (period && seq->n_stored >= period && hash % 8 != 0)
        logits[seq->tokens[seq->n_stored - period]] += 500;
    for (uint32_t i = 0; i < seq->n_stored; i++)
        if (seq->tokens[i] == POISON)
            logits['a'] = NAN;
}

int runner_step(struct runner *runner, const struct batch_row *rows, size_t n_rows)
{
    uint32_t n_logits = 0;

    assert(n_rows > 0 && n_rows <= runner->info.max_rows);
    runner->n_rows = n_rows;
    for (size_t i = 0; i < n_rows; i++) {
        struct fake_seq *seq = &runner->seqs[rows[i].seq];

        /* What stood there was a guess that proved wrong. */
        assert(seq->alive && rows[i].pos <= seq->n_stored && rows[i].pos >= seq->n_found);
        assert(i == 0 || rows[i].seq != rows[i - 1].seq || rows[i].pos == rows[i - 1].pos + 1);
        seq->n_stored = rows[i].pos;
        assert(rows[i].pos < seq->n_pages * PAGE_TOKENS && rows[i].pos < runner->info.n_ctx);
        seq->tokens[seq->n_stored++] = rows[i].token;
        runner->has_logits[i] = rows[i].logits;
        n_logits += rows[i].logits;
        if (rows[i].logits)
            fill_logits(runner, i, seq);
    }
    assert(n_logits <= runner->info.max_logits);
    sleep_us(runner->model->step_us + runner->model->row_us * n_rows);
    return ++runner->n_steps == runner->model->fail_step ? ST_INTERNAL : ST_OK;
}

const float *runner_logits(const struct runner *runner, size_t row)
{
    assert(row < runner->n_rows);
    return runner->has_logits[row] ? runner->logits + row * N_VOCAB : NULL;
}

/* ---- sampling ---- */

int sampler_open(const struct model *model, const struct sampler_opts *opts,
                 struct sampler **ret_sampler)
{
    struct sampler *sampler = calloc(1, sizeof(*sampler));

    (void)model;
    assert(sampler);
    sampler->opts = *opts;
    *ret_sampler = sampler;
    return ST_OK;
}

void sampler_free(struct sampler *sampler)
{
    free(sampler);
}

int sampler_accept(struct sampler *sampler, int32_t id)
{
    (void)id;
    sampler->n_accepted++;
    return ST_OK;
}

static int draw(const struct sampler *sampler, const float *logits, int32_t *ret_id)
{
    int best = 'a', ban = sampler->opts.ban_end ? EOS : -1;

    for (int i = 0; i < N_VOCAB; i++) {
        if (isnan(logits[i]))
            return ST_INTERNAL;
        if (i != ban && logits[i] > logits[best])
            best = i;
    }
    /* Not greedy: the seed turns the letters. */
    if (sampler->opts.temperature > 0 && best >= 'a' && best <= 'z')
        best = 'a' + (int)(((uint64_t)(best - 'a') + sampler->opts.seed) % 26);
    *ret_id = best;
    return ST_OK;
}

void runner_sample(struct runner *runner, struct sample_job *jobs, size_t n_jobs)
{
    for (size_t j = 0; j < n_jobs; j++) {
        struct sample_job *job = &jobs[j];
        uint32_t i = 0;

        assert(job->logits >= runner->logits &&
               job->logits + (size_t)(job->n_draft + 1) * N_VOCAB <=
                   runner->logits + runner->n_rows * N_VOCAB);
        do {
            job->status = draw(job->sampler, job->logits + (size_t)i * N_VOCAB, &job->id[i]);
            i += job->status == ST_OK;
        } while (job->status == ST_OK && i <= job->n_draft && job->id[i - 1] == job->draft[i - 1]);
        job->n_ids = i;
    }
}

/* ---- prefix cache ---- */

uint32_t runner_seq_pages(const struct runner *runner, uint32_t seq)
{
    return runner->seqs[seq].n_pages;
}

uint32_t runner_seq_attach(struct runner *runner, uint32_t id, uint64_t tenant, const int32_t *ids,
                           uint32_t n)
{
    struct fake_seq *seq = &runner->seqs[id];
    uint32_t best = 0;

    assert(seq->alive && seq->n_stored == 0 && n > 0);
    for (uint32_t t = 0; t < MAX_TEXTS; t++) {
        const struct fake_text *text = &runner->texts[t];
        uint32_t same = 0;
        while (text->tenant == tenant && same < text->n && same + 1 < n &&
               text->ids[same] == ids[same])
            same++;
        best = same > best ? same : best;
    }
    if (runner_seq_reserve(runner, id, best) != ST_OK)
        return 0;
    if (best > 0)
        memcpy(seq->tokens, ids, best * sizeof(*ids));
    seq->n_stored = best;
    runner->stats.lookup_tokens += n;
    runner->stats.hit_tokens += best;
    return best;
}

void runner_seq_publish(struct runner *runner, uint32_t id, uint64_t tenant, const int32_t *ids,
                        uint32_t n, bool last)
{
    struct fake_seq *seq = &runner->seqs[id];
    struct fake_text *text = &runner->texts[runner->n_texts++ % MAX_TEXTS];

    assert(seq->alive && n <= seq->n_stored && memcmp(seq->tokens, ids, n * sizeof(*ids)) == 0);
    if (!last)
        n -= n % PAGE_TOKENS;
    runner->stats.cached_pages += runner_pages_for(runner, n) - runner_pages_for(runner, text->n);
    runner->stats.evicted_pages += runner_pages_for(runner, text->n);
    text->ids = realloc(text->ids, (n + 1) * sizeof(*ids));
    assert(text->ids);
    memcpy(text->ids, ids, n * sizeof(*ids));
    text->tenant = tenant;
    text->n = seq->n_found = n;
}

struct runner_prefix_stats runner_prefix_stats(const struct runner *runner)
{
    return runner->stats;
}
