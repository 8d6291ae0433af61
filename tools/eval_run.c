#include "tools/eval_run.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/limits.h"

#define STEP_ROWS 512u
#define LOGITS_BYTES (UINT64_C(64) << 20) /* of one step and runner */
#define LOGITS_MIN_ROWS 16u
#define LOGITS_MAX_ROWS (STEP_ROWS / 2)

/* One of the runners, and where its sequences are: text t lives in seqs[t % max_seqs]. */
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

    size_t text; /* the next row of the stream: text and position */
    uint32_t pos;
    uint64_t rows_done, rows_all;

    struct wanted *wanted; /* of this step */
    size_t n_rows, n_wanted;
    float *decoded; /* [threads][n_vocab]: a stored row */
    uint8_t *saved; /* [max_logits][row bytes] */

    struct eval_score *scores;
    size_t n_scores;
    double nll; /* sum so far, for the running perplexity */
};

size_t eval_scored(uint32_t ctx)
{
    return ctx - 1 - ctx / 2;
}

size_t eval_text_scored(const struct eval_text *text)
{
    return text->n - 1 - text->first;
}

void eval_runner_opts(uint32_t n_min, uint32_t n_max, size_t n_vocab, struct runner_opts *ret_opts)
{
    uint64_t fit = LOGITS_BYTES / (n_vocab * sizeof(float));
    uint32_t touched = STEP_ROWS / (n_min - 1) + 2; /* the texts that a step can touch */

    *ret_opts = (struct runner_opts){
        .n_ctx = n_max,
        .max_seqs = touched < LIMIT_MAX_BATCH ? touched : LIMIT_MAX_BATCH,
        .max_rows = STEP_ROWS,
        .max_logits = fit < LOGITS_MIN_ROWS   ? LOGITS_MIN_ROWS
                      : fit > LOGITS_MAX_ROWS ? LOGITS_MAX_ROWS
                                              : (uint32_t)fit,
    };
}

struct session_flags eval_reference_flags(const struct session_flags *model, const char *reference)
{
    return (struct session_flags){reference, MODEL_FP32, MODEL_KV_F32, model->threads};
}

int eval_check_vocab(const struct session_flags *model, size_t n, const char *reference,
                     size_t n_ref, struct error *err)
{
    if (n == n_ref)
        return ST_OK;
    return error_set(
        err, ST_INVALID,
        "--reference: %s has a vocabulary of %zu tokens, %s one of %zu: give the file that "
        "the model was made from",
        reference, n_ref, model->model, n);
}

static int begin_text(struct eval *eval, struct error *err)
{
    uint32_t n = eval->job->texts[eval->text].n;

    for (size_t i = 0; i < eval->n_sides; i++) {
        struct side *side = &eval->sides[i];
        uint32_t *seq = &side->seqs[eval->text % eval->max_seqs];
        int r = runner_seq_new(side->runner, seq);
        if (r == ST_OK)
            r = runner_seq_reserve(side->runner, *seq, n - 1);
        if (r != ST_OK)
            return error_set(err, r, "no room for a sequence of %" PRIu32 " tokens: shorten it", n);
    }
    return ST_OK;
}

static void end_text(struct eval *eval, size_t text)
{
    for (size_t i = 0; i < eval->n_sides; i++)
        runner_seq_free(eval->sides[i].runner, eval->sides[i].seqs[text % eval->max_seqs]);
}

static void add_row(struct eval *eval)
{
    const struct eval_job *job = eval->job;
    const struct eval_text *text = &job->texts[eval->text];
    const int32_t *token = text->ids + eval->pos;
    bool scored = eval->pos >= text->first;

    for (size_t i = 0; i < eval->n_sides; i++)
        eval->sides[i].rows[eval->n_rows] = (struct batch_row){
            .token = eval->pos == 0 && job->bos >= 0 ? job->bos : *token,
            .seq = eval->sides[i].seqs[eval->text % eval->max_seqs],
            .pos = eval->pos,
            .logits = scored,
        };
    if (scored)
        eval->wanted[eval->n_wanted++] = (struct wanted){eval->n_rows, token[1]};
    eval->n_rows++;
}

/* The next rows of the stream, as many as fit. A text's last token is only predicted, never run. */
static int fill_step(struct eval *eval, struct error *err)
{
    const struct eval_job *job = eval->job;
    size_t first = eval->text;
    int r;

    eval->n_rows = eval->n_wanted = 0;
    while (eval->text < job->n_texts && eval->text - first < eval->max_seqs &&
           eval->n_rows < eval->max_rows && eval->n_wanted < eval->max_logits) {
        if (eval->pos == 0 && (r = begin_text(eval, err)) != ST_OK)
            return r;
        add_row(eval);
        if (++eval->pos == job->texts[eval->text].n - 1) {
            eval->pos = 0;
            eval->text++;
        }
    }
    eval->rows_done += eval->n_rows;
    return ST_OK;
}

static void score_share(void *arg, unsigned worker, unsigned n_workers)
{
    const struct eval *eval = arg;
    const struct eval_job *job = eval->job;
    size_t row_bytes = logits_row_bytes(job->n_vocab);

    for (size_t i = worker; i < eval->n_wanted; i += n_workers) {
        const struct wanted *wanted = &eval->wanted[i];
        const float *logits = runner_logits(eval->sides[0].runner, wanted->row), *ref = NULL;
        if (eval->n_sides > 1)
            ref = runner_logits(eval->sides[1].runner, wanted->row);
        if (job->stored) {
            float *decoded = eval->decoded + worker * job->n_vocab;
            logits_decode(job->stored->rows + (eval->n_scores + i) * row_bytes, job->n_vocab,
                          decoded);
            ref = decoded;
        }
        eval_score_row(logits, ref, job->n_vocab, wanted->next, &eval->scores[eval->n_scores + i]);
        if (job->save)
            logits_encode(ref ? ref : logits, job->n_vocab, eval->saved + i * row_bytes);
    }
}

/* Which text and position a score is of, for a sentence. */
static int not_finite(const struct eval *eval, struct error *err)
{
    const struct eval_text *text = eval->job->texts;
    size_t before = 0, n;

    while (before + (n = eval_text_scored(text)) <= eval->n_scores) {
        before += n;
        text++;
    }
    return error_set(err, ST_INTERNAL, "the logits of %s %zu, position %zu are not finite",
                     eval->job->unit, (size_t)(text - eval->job->texts),
                     text->first + eval->n_scores - before);
}

/* Take the step's scores in; a NaN is never averaged away. */
static int take_scores(struct eval *eval, struct error *err)
{
    for (size_t i = 0; i < eval->n_wanted; i++, eval->n_scores++) {
        const struct eval_score *score = &eval->scores[eval->n_scores];
        if (!isfinite(score->nll) || !isfinite(score->ref_nll) || !isfinite(score->kld))
            return not_finite(eval, err);
        eval->nll += score->nll;
    }
    return ST_OK;
}

static void show(const struct eval *eval)
{
    struct progress *progress = eval->job->progress;

    snprintf(progress->note, sizeof(progress->note), "%zu %s, perplexity %.4f", eval->text,
             eval->job->unit, exp(eval->nll / (eval->n_scores ? (double)eval->n_scores : 1)));
    progress->unit = "tokens";
    progress_update(progress, "scoring", eval->rows_done, eval->rows_all);
}

static int step(struct eval *eval, struct error *err)
{
    size_t first = eval->text;
    int r = fill_step(eval, err);

    for (size_t i = 0; i < eval->n_sides && r == ST_OK; i++) {
        r = runner_step(eval->sides[i].runner, eval->sides[i].rows, eval->n_rows);
        if (r != ST_OK)
            error_set(err, r, "the %s stopped in %s %zu: %s", i ? "reference" : "model",
                      eval->job->unit, first, status_name(r));
    }
    if (r != ST_OK)
        return r;
    runner_parallel(eval->sides[0].runner, score_share, eval);
    for (size_t text = first; text < eval->text; text++)
        end_text(eval, text);
    if (eval->job->save)
        r = logits_write_rows(eval->job->save, eval->saved, eval->n_wanted, err);
    return r == ST_OK ? take_scores(eval, err) : r;
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

static int open_all(struct eval *eval, const struct eval_job *job)
{
    const struct runner_info *info = runner_info(job->runner);
    int r;

    eval->max_rows = info->max_rows;
    eval->max_logits = info->max_logits;
    eval->max_seqs = info->max_seqs;
    for (size_t i = 0; i < job->n_texts; i++)
        eval->rows_all += job->texts[i].n - 1;
    eval->wanted = calloc(eval->max_logits, sizeof(*eval->wanted));
    r = eval->wanted ? side_open(eval, job->runner) : ST_NOMEM;
    if (r == ST_OK && job->reference)
        r = side_open(eval, job->reference);
    if (r == ST_OK && job->stored &&
        !(eval->decoded = calloc(info->threads * job->n_vocab, sizeof(*eval->decoded))))
        r = ST_NOMEM;
    if (r == ST_OK && job->save &&
        !(eval->saved = calloc(eval->max_logits, logits_row_bytes(job->n_vocab))))
        r = ST_NOMEM;
    return r;
}

int eval_run(const struct eval_job *job, struct eval_score *scores, struct error *err)
{
    struct eval eval = {.job = job, .scores = scores};
    int r = open_all(&eval, job);

    if (r != ST_OK)
        error_set(err, r, "out of memory");
    while (r == ST_OK && eval.text < job->n_texts) {
        r = step(&eval, err);
        if (r == ST_OK)
            show(&eval);
    }
    progress_end(job->progress);
    job->progress->unit = NULL;
    job->progress->note[0] = '\0';
    for (size_t i = 0; i < eval.n_sides; i++) {
        free(eval.sides[i].rows);
        free(eval.sides[i].seqs);
    }
    free(eval.wanted);
    free(eval.decoded);
    free(eval.saved);
    return r;
}
