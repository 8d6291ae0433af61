/* fake_model.c - model/model.h without a model: what the server's tests need to hold the clock.
 *
 * Ids 0..255 are bytes, then BOS, EOS and a poison whose logits are NaN. The next token is a letter
 * that depends on every token before it, read back from the fake's own key/value store, so a server
 * that mixes up sequences, positions or recomputation produces other text. It asserts what model.h
 * asks of its caller: pages reserved, positions in order, neighbours of one sequence.
 *
 * The environment sets its pace and size: FAKE_STEP_US, FAKE_ROW_US (a step's time), FAKE_LOAD_MS,
 * FAKE_LOAD_FAIL, FAKE_CTX, FAKE_PAGES, FAKE_TOKEN_BYTES (text of one token), FAKE_EOS_EVERY (about
 * one token in so many is EOS), FAKE_FAIL_STEP (that step fails), FAKE_TOKENIZE_MS. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/model.h"

enum { BOS = 256, EOS = 257, POISON = 258, N_VOCAB = 512 };
#define PAGE_TOKENS 16u
#define MAX_PIECE 65536u

struct model {
    struct model_info info;
    uint64_t step_us, row_us, tokenize_ms, eos_every, fail_step;
    size_t token_bytes;
    char piece[MAX_PIECE]; /* filler of a long token */
};

struct fake_seq {
    int32_t *tokens; /* n_ctx: what step() stored */
    uint32_t n_stored, n_pages;
    bool alive;
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
};

struct sampler {
    struct sampler_opts opts;
    uint64_t n_accepted;
};

struct detok {
    const struct model *model;
    char **stops;
    size_t n_stops;
    char *text; /* held back, then what was handed out last */
    size_t len, cap;
    char *out;
    bool stopped;
};

static uint64_t knob(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : fallback;
}

static void sleep_us(uint64_t us)
{
    struct timespec time = {.tv_sec = (time_t)(us / 1000000),
                            .tv_nsec = (long)(us % 1000000) * 1000};

    if (us)
        nanosleep(&time, NULL);
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
    model->step_us = knob("FAKE_STEP_US", 0);
    model->row_us = knob("FAKE_ROW_US", 0);
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

int model_tokenize(const struct model *model, const char *text, size_t len, unsigned flags,
                   int32_t **ret_ids, size_t *ret_n, struct error *err)
{
    static const char eos[] = "<|eos|>";
    int32_t *ids = malloc((len + 1) * sizeof(*ids));
    size_t n = 0;

    (void)err;
    assert(ids);
    sleep_us(model->tokenize_ms * 1000);
    if (flags & MODEL_TEXT_BOS)
        ids[n++] = BOS;
    for (size_t i = 0; i < len;) {
        if ((flags & MODEL_TEXT_SPECIAL) && len - i >= sizeof(eos) - 1 &&
            memcmp(text + i, eos, sizeof(eos) - 1) == 0) {
            ids[n++] = EOS;
            i += sizeof(eos) - 1;
        } else {
            ids[n++] = (unsigned char)text[i++];
        }
    }
    *ret_ids = ids;
    *ret_n = n;
    return ST_OK;
}

size_t model_max_text_bytes(const struct model *model, size_t n_tokens)
{
    (void)model;
    return n_tokens * 7; /* the longest name, <|eos|>, is one token */
}

bool model_is_end(const struct model *model, int32_t id)
{
    (void)model;
    return id == EOS;
}

/* ---- text ---- */

int detok_open(const struct model *model, const char *const *stops, size_t n_stops,
               struct detok **ret_detok)
{
    struct detok *detok = calloc(1, sizeof(*detok));

    assert(detok);
    detok->model = model;
    detok->n_stops = n_stops;
    detok->cap = 2 * MAX_PIECE;
    detok->text = malloc(detok->cap);
    detok->out = malloc(detok->cap);
    detok->stops = calloc(n_stops + 1, sizeof(*detok->stops));
    assert(detok->text && detok->out && detok->stops);
    for (size_t i = 0; i < n_stops; i++)
        detok->stops[i] = strdup(stops[i]);
    *ret_detok = detok;
    return ST_OK;
}

void detok_free(struct detok *detok)
{
    if (!detok)
        return;
    for (size_t i = 0; i < detok->n_stops; i++)
        free(detok->stops[i]);
    free(detok->stops);
    free(detok->text);
    free(detok->out);
    free(detok);
}

/* Hand out the first n held bytes. */
static void hand_out(struct detok *detok, size_t n, const char **ret_text, size_t *ret_len)
{
    memcpy(detok->out, detok->text, n);
    memmove(detok->text, detok->text + n, detok->len - n);
    detok->len -= n;
    *ret_text = detok->out;
    *ret_len = n;
}

int detok_push(struct detok *detok, int32_t id, const char **ret_text, size_t *ret_len,
               int *ret_stop)
{
    size_t hold = 0, first = detok->len;

    *ret_stop = -1;
    assert(!detok->stopped && detok->len + detok->model->token_bytes <= detok->cap);
    memcpy(detok->text + detok->len, detok->model->piece, detok->model->token_bytes);
    detok->text[detok->len] = id < 128 ? (char)id : '?';
    detok->len += detok->model->token_bytes;
    for (size_t i = 0; i < detok->n_stops; i++) {
        size_t n = strlen(detok->stops[i]);
        char *at = memmem(detok->text, detok->len, detok->stops[i], n);
        if (at && (*ret_stop < 0 || (size_t)(at - detok->text) < first)) {
            *ret_stop = (int)i;
            first = (size_t)(at - detok->text);
        }
        for (size_t k = n - 1; k > hold && *ret_stop < 0; k--)
            if (k <= detok->len && memcmp(detok->text + detok->len - k, detok->stops[i], k) == 0)
                hold = k;
    }
    if (*ret_stop >= 0) {
        hand_out(detok, first, ret_text, ret_len);
        detok->len = 0;
        detok->stopped = true;
    } else {
        hand_out(detok, detok->len - hold, ret_text, ret_len);
    }
    return ST_OK;
}

int detok_finish(struct detok *detok, const char **ret_text, size_t *ret_len)
{
    hand_out(detok, detok->len, ret_text, ret_len);
    return ST_OK;
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
    runner->info.max_logits = runner->info.max_seqs;
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
        seq->n_stored = seq->n_pages = 0;
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
    for (uint32_t i = 0; i < seq->n_stored; i++)
        if (seq->tokens[i] == POISON)
            logits['a'] = NAN;
}

int runner_step(struct runner *runner, const struct batch_row *rows, size_t n_rows)
{
    assert(n_rows > 0 && n_rows <= runner->info.max_rows);
    runner->n_rows = n_rows;
    for (size_t i = 0; i < n_rows; i++) {
        struct fake_seq *seq = &runner->seqs[rows[i].seq];

        assert(seq->alive && rows[i].pos == seq->n_stored);
        assert(rows[i].pos < seq->n_pages * PAGE_TOKENS && rows[i].pos < runner->info.n_ctx);
        assert(i == 0 || rows[i].seq == rows[i - 1].seq || rows[i].pos == seq->n_stored);
        seq->tokens[seq->n_stored++] = rows[i].token;
        runner->has_logits[i] = rows[i].logits;
        if (rows[i].logits)
            fill_logits(runner, i, seq);
    }
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

void runner_sample(struct runner *runner, struct sample_job *jobs, size_t n_jobs)
{
    (void)runner;
    for (size_t j = 0; j < n_jobs; j++) {
        struct sample_job *job = &jobs[j];
        int best = 'a', ban = job->sampler->opts.ban_end ? EOS : -1;

        job->status = ST_OK;
        for (int i = 0; i < N_VOCAB; i++) {
            if (isnan(job->logits[i]))
                job->status = ST_INTERNAL;
            if (i != ban && job->logits[i] > job->logits[best])
                best = i;
        }
        /* Not greedy: the seed turns the letters. */
        if (job->sampler->opts.temperature > 0 && best != EOS)
            best = 'a' + (int)(((uint64_t)(best - 'a') + job->sampler->opts.seed) % 26);
        job->id[0] = best;
        job->n_ids = 1;
    }
}

uint32_t runner_seq_attach(struct runner *runner, uint32_t seq, uint64_t tenant, const int32_t *ids,
                           uint32_t n)
{
    (void)runner, (void)seq, (void)tenant, (void)ids, (void)n;
    return 0;
}

void runner_seq_publish(struct runner *runner, uint32_t seq, uint64_t tenant, const int32_t *ids,
                        uint32_t n, bool last)
{
    (void)runner, (void)seq, (void)tenant, (void)ids, (void)n, (void)last;
}
