#include "tools/eval_run.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/cli.h"

#define STEP_ROWS 512u
#define LOGITS_BYTES (UINT64_C(64) << 20) /* of one step and runner */
#define LOGITS_MIN_ROWS 16u
#define LOGITS_MAX_ROWS (STEP_ROWS / 2)
#define REDRAW_S 0.2

/* One of the runners, and where its sequences are: chunk c lives in seqs[c % max_seqs]. */
struct side {
    struct runner *runner;
    struct batch_row *rows;
    uint32_t *seqs;
};

/* One position to score: the row of the step it came from, the token that follows. */
struct wanted {
    size_t row;
    int32_t next;
};

struct eval {
    const struct eval_job *job;
    struct side sides[2];
    size_t n_sides;
    uint32_t max_rows, max_logits, max_seqs;

    size_t chunk; /* the next row of the stream: chunk and position */
    uint32_t pos;

    struct wanted *wanted; /* of this step */
    size_t n_rows, n_wanted;

    struct eval_score *scores;
    size_t n_scores;
    double nll; /* sum so far, for the running perplexity */
    double start_s, shown_s;
};

size_t eval_scored(uint32_t ctx)
{
    return ctx - 1 - ctx / 2;
}

void eval_runner_opts(uint32_t ctx, size_t n_vocab, struct runner_opts *ret_opts)
{
    uint64_t fit = LOGITS_BYTES / (n_vocab * sizeof(float));

    *ret_opts = (struct runner_opts){
        .n_ctx = ctx,
        .max_seqs = STEP_ROWS / (ctx - 1) + 2, /* the chunks that a step can touch */
        .max_rows = STEP_ROWS,
        .max_logits = fit < LOGITS_MIN_ROWS   ? LOGITS_MIN_ROWS
                      : fit > LOGITS_MAX_ROWS ? LOGITS_MAX_ROWS
                                              : (uint32_t)fit,
    };
}

static int begin_chunk(struct eval *eval, struct error *err)
{
    for (size_t i = 0; i < eval->n_sides; i++) {
        struct side *side = &eval->sides[i];
        uint32_t *seq = &side->seqs[eval->chunk % eval->max_seqs];
        int r = runner_seq_new(side->runner, seq);
        if (r == ST_OK)
            r = runner_seq_reserve(side->runner, *seq, eval->job->ctx - 1);
        if (r != ST_OK)
            return error_set(err, r, "no room for a sequence of %u tokens: give a smaller --ctx",
                             eval->job->ctx);
    }
    return ST_OK;
}

static void end_chunk(struct eval *eval, size_t chunk)
{
    for (size_t i = 0; i < eval->n_sides; i++)
        runner_seq_free(eval->sides[i].runner, eval->sides[i].seqs[chunk % eval->max_seqs]);
}

static void add_row(struct eval *eval)
{
    const struct eval_job *job = eval->job;
    const int32_t *token = job->ids + eval->chunk * job->ctx + eval->pos;
    bool scored = eval->pos >= job->ctx / 2;

    for (size_t i = 0; i < eval->n_sides; i++)
        eval->sides[i].rows[eval->n_rows] = (struct batch_row){
            .token = eval->pos == 0 && job->bos >= 0 ? job->bos : *token,
            .seq = eval->sides[i].seqs[eval->chunk % eval->max_seqs],
            .pos = eval->pos,
            .logits = scored,
        };
    if (scored)
        eval->wanted[eval->n_wanted++] = (struct wanted){eval->n_rows, token[1]};
    eval->n_rows++;
}

/* The next rows of the stream, as many as fit. A chunk's last token is only predicted, never run.
 */
static int fill_step(struct eval *eval, struct error *err)
{
    const struct eval_job *job = eval->job;
    int r;

    eval->n_rows = eval->n_wanted = 0;
    while (eval->chunk < job->n_chunks && eval->n_rows < eval->max_rows &&
           eval->n_wanted < eval->max_logits) {
        if (eval->pos == 0 && (r = begin_chunk(eval, err)) != ST_OK)
            return r;
        add_row(eval);
        if (++eval->pos == job->ctx - 1) {
            eval->pos = 0;
            eval->chunk++;
        }
    }
    return ST_OK;
}

static void score_share(void *arg, unsigned worker, unsigned n_workers)
{
    const struct eval *eval = arg;

    for (size_t i = worker; i < eval->n_wanted; i += n_workers) {
        const struct wanted *wanted = &eval->wanted[i];
        const float *logits = runner_logits(eval->sides[0].runner, wanted->row), *ref = NULL;
        if (eval->n_sides > 1)
            ref = runner_logits(eval->sides[1].runner, wanted->row);
        eval_score_row(logits, ref, eval->job->n_vocab, wanted->next,
                       &eval->scores[eval->n_scores + i]);
    }
}

/* Take the step's scores in; a NaN is never averaged away. */
static int take_scores(struct eval *eval, struct error *err)
{
    size_t per_chunk = eval_scored(eval->job->ctx);

    for (size_t i = 0; i < eval->n_wanted; i++, eval->n_scores++) {
        const struct eval_score *score = &eval->scores[eval->n_scores];
        if (!isfinite(score->nll) || !isfinite(score->ref_nll) || !isfinite(score->kld))
            return error_set(
                err, ST_INTERNAL, "the logits of chunk %zu, position %zu are not finite",
                eval->n_scores / per_chunk, eval->job->ctx / 2 + eval->n_scores % per_chunk);
        eval->nll += score->nll;
    }
    return ST_OK;
}

static void show(struct eval *eval)
{
    const struct eval_job *job = eval->job;
    double now_s = cli_now_s(), passed_s = now_s - eval->start_s;
    double rows = (double)eval->chunk * job->ctx + eval->pos,
           all = (double)job->n_chunks * job->ctx;
    bool last = eval->chunk == job->n_chunks;

    if (!job->progress->enabled || (!last && now_s - eval->shown_s < REDRAW_S) ||
        eval->n_scores == 0)
        return;
    eval->shown_s = now_s;
    fprintf(stderr,
            "\r\033[Kscoring  %zu of %zu chunks  %.0f tokens/s  %.0f s left  perplexity %.4f%s",
            eval->chunk, job->n_chunks, rows / passed_s, (all - rows) * passed_s / rows,
            exp(eval->nll / (double)eval->n_scores), last ? "\n" : "");
    job->progress->open = !last;
}

static int step(struct eval *eval, struct error *err)
{
    size_t first = eval->chunk;
    int r = fill_step(eval, err);

    for (size_t i = 0; i < eval->n_sides && r == ST_OK; i++) {
        r = runner_step(eval->sides[i].runner, eval->sides[i].rows, eval->n_rows);
        if (r != ST_OK)
            error_set(err, r, "the %s stopped in chunk %zu: %s", i ? "reference" : "model", first,
                      status_name(r));
    }
    if (r != ST_OK)
        return r;
    runner_parallel(eval->sides[0].runner, score_share, eval);
    for (size_t chunk = first; chunk < eval->chunk; chunk++)
        end_chunk(eval, chunk);
    return take_scores(eval, err);
}

static int side_open(struct eval *eval, struct runner *runner)
{
    struct side *side = &eval->sides[eval->n_sides++];
    const struct runner_info *info = runner_info(runner);

    assert(info->max_rows >= eval->max_rows && info->max_logits >= eval->max_logits &&
           info->max_seqs >= eval->max_seqs);
    side->runner = runner;
    side->rows = calloc(eval->max_rows, sizeof(*side->rows));
    side->seqs = calloc(eval->max_seqs, sizeof(*side->seqs));
    return side->rows && side->seqs ? ST_OK : ST_NOMEM;
}

int eval_run(const struct eval_job *job, struct eval_score *scores, struct error *err)
{
    struct eval eval = {.job = job, .scores = scores, .start_s = cli_now_s()};
    struct runner_opts opts;
    int r;

    eval_runner_opts(job->ctx, job->n_vocab, &opts);
    eval.max_rows = opts.max_rows;
    eval.max_logits = opts.max_logits;
    eval.max_seqs = opts.max_seqs;
    eval.wanted = calloc(eval.max_logits, sizeof(*eval.wanted));
    r = eval.wanted ? side_open(&eval, job->runner) : ST_NOMEM;
    if (r == ST_OK && job->reference)
        r = side_open(&eval, job->reference);
    if (r != ST_OK)
        error_set(err, r, "out of memory");
    while (r == ST_OK && eval.chunk < job->n_chunks) {
        r = step(&eval, err);
        show(&eval);
    }
    progress_end(job->progress);
    for (size_t i = 0; i < eval.n_sides; i++) {
        free(eval.sides[i].rows);
        free(eval.sides[i].seqs);
    }
    free(eval.wanted);
    return r;
}
