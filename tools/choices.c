#include "tools/choices.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/choices_file.h"
#include "tools/cli.h"
#include "tools/outfile.h"

#define FEW_TOKENS 9u /* bounds the sequences that a step begins, and with them their memory */

struct work {
    const struct choices_opts *opts;
    struct progress progress;
    struct session model, reference;
    struct choices choices;
    struct eval_score *scores;
    double *sums, *ref_sums; /* log likelihood of each text by the model, and by the reference */
};

static int open_runner(struct work *work, struct session *side, const struct session_flags *flags,
                       struct error *err)
{
    struct runner_opts opts;

    eval_runner_opts(FEW_TOKENS, work->choices.n_max, model_info(side->model)->n_vocab, &opts);
    return session_run(side, flags, &opts, err);
}

static int open_reference(struct work *work, struct error *err)
{
    const struct choices_opts *opts = work->opts;
    struct session_flags in_fp32 = eval_reference_flags(&opts->session, opts->reference);
    int r = session_open(&work->reference, opts->reference, MODEL_FP32, err);

    if (r == ST_OK)
        r = eval_check_vocab(&opts->session, model_info(work->model.model)->n_vocab,
                             opts->reference, model_info(work->reference.model)->n_vocab, err);
    return r == ST_OK ? open_runner(work, &work->reference, &in_fp32, err) : r;
}

static int open_all(struct work *work, struct error *err)
{
    const struct choices_opts *opts = work->opts;
    char *data = NULL;
    size_t len = 0;
    int r = cli_read(opts->path, &data, &len, err);

    if (r == ST_OK)
        r = session_open(&work->model, opts->session.model,
                         (enum model_precision)opts->session.precision, err);
    if (r == ST_OK)
        r = choices_parse(work->model.model, opts->path, data, len, &work->choices, err);
    if (r == ST_OK)
        r = open_runner(work, &work->model, &opts->session, err);
    if (r == ST_OK && opts->reference)
        r = open_reference(work, err);
    free(data);
    return r;
}

static int run(struct work *work, struct error *err)
{
    const struct choices *c = &work->choices;
    struct eval_job job = {.texts = c->texts,
                           .n_texts = c->n_texts,
                           .bos = -1, /* in the ids already */
                           .n_vocab = model_info(work->model.model)->n_vocab,
                           .runner = work->model.runner,
                           .reference = work->reference.runner,
                           .progress = &work->progress,
                           .unit = "choices"};
    int r;

    work->scores = calloc(c->n_scores, sizeof(*work->scores));
    work->sums = calloc(c->n_texts, sizeof(*work->sums));
    work->ref_sums = calloc(c->n_texts, sizeof(*work->ref_sums));
    if (!work->scores || !work->sums || !work->ref_sums)
        return error_set(err, ST_NOMEM, "out of memory for %zu scores", c->n_scores);
    r = eval_run(&job, work->scores, err);
    for (size_t i = 0, at = 0; i < c->n_texts && r == ST_OK; i++)
        for (size_t n = eval_text_scored(&c->texts[i]); n; n--, at++) {
            work->sums[i] -= work->scores[at].nll;
            work->ref_sums[i] -= work->scores[at].ref_nll;
        }
    return r;
}

/* ---- what they pick ---- */

static double divisor(const struct choices *c, size_t text, enum choices_norm norm)
{
    switch (norm) {
    case CHOICES_BY_BYTE:
        return (double)c->bytes[text];
    case CHOICES_BY_TOKEN:
        return (double)eval_text_scored(&c->texts[text]);
    default:
        return 1;
    }
}

/* The best score; of equal ones the first. */
static uint32_t pick(const struct choices *c, const struct choice_question *q, const double *sums,
                     enum choices_norm norm)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < q->n; i++) {
        size_t now = q->first + i, then = q->first + best;
        if (sums[now] / divisor(c, now, norm) > sums[then] / divisor(c, then, norm))
            best = i;
    }
    return best;
}

static void count(const struct work *work, struct choices_result *ret_result)
{
    const struct choices *c = &work->choices;
    double n = (double)c->n_questions;
    struct choices_result result = {
        .n_questions = c->n_questions, .n_texts = c->n_texts, .n_scores = c->n_scores};

    for (size_t i = 0; i < c->n_questions; i++) {
        const struct choice_question *q = &c->questions[i];
        for (enum choices_norm norm = 0; norm < CHOICES_NORMS; norm++) {
            uint32_t ours = pick(c, q, work->sums, norm), theirs = pick(c, q, work->ref_sums, norm);
            result.accuracy[norm] += (ours == q->answer) / n;
            result.reference[norm] += (theirs == q->answer) / n;
            if (norm == CHOICES_BY_BYTE)
                result.same += (ours == theirs) / n;
        }
        result.chance += 1.0 / q->n / n;
    }
    *ret_result = result;
}

double choices_se(double accuracy, size_t n)
{
    double variance = accuracy * (1 - accuracy);

    return n > 1 && variance > 0 ? sqrt(variance / (double)(n - 1)) : 0;
}

/* One JSON object a line. */
static int write_out(const struct work *work, struct error *err)
{
    const struct choices *c = &work->choices;
    struct outfile out = {0};
    int r = outfile_open(&out, work->opts->out, err);

    for (size_t i = 0; i < c->n_questions && r == ST_OK; i++) {
        const struct choice_question *q = &c->questions[i];
        for (uint32_t j = 0; j < q->n; j++) {
            size_t text = q->first + j;
            fprintf(out.file,
                    "{\"line\":%zu,\"choice\":%u,\"right\":%s,\"bytes\":%zu,\"tokens\":%zu,"
                    "\"logprob\":%.9g",
                    q->line, j, j == q->answer ? "true" : "false", c->bytes[text],
                    eval_text_scored(&c->texts[text]), work->sums[text]);
            if (work->opts->reference)
                fprintf(out.file, ",\"reference_logprob\":%.9g", work->ref_sums[text]);
            fputs("}\n", out.file);
        }
    }
    if (r == ST_OK)
        return outfile_commit(&out, err);
    outfile_abort(&out);
    return r;
}

int choices_measure(const struct choices_opts *opts, struct choices_result *ret_result,
                    struct error *err)
{
    struct work work = {.opts = opts};
    int r;

    progress_init(&work.progress);
    r = open_all(&work, err);
    if (r == ST_OK)
        r = run(&work, err);
    if (r == ST_OK && opts->out)
        r = write_out(&work, err);
    if (r == ST_OK)
        count(&work, ret_result);
    choices_done(&work.choices);
    session_done(&work.reference);
    session_done(&work.model);
    free(work.scores);
    free(work.sums);
    free(work.ref_sums);
    return r;
}

/* ---- saying it ---- */

static const struct {
    const char *name, *se, *about;
} NORMS[CHOICES_NORMS] = {
    [CHOICES_BY_BYTE] = {"accuracy", "accuracy_se", "by log likelihood a byte"},
    [CHOICES_BY_TOKEN] = {"accuracy_per_token", "accuracy_per_token_se", "a token"},
    [CHOICES_UNDIVIDED] = {"accuracy_undivided", "accuracy_undivided_se", "undivided"},
};

static void put_accuracies(json_t *doc, const double accuracy[CHOICES_NORMS], size_t n)
{
    for (size_t i = 0; i < CHOICES_NORMS; i++) {
        json_object_set_new(doc, NORMS[i].name, json_real(accuracy[i]));
        json_object_set_new(doc, NORMS[i].se, json_real(choices_se(accuracy[i], n)));
    }
}

json_t *choices_json(const struct choices_opts *opts, const struct choices_result *result)
{
    json_t *doc = json_pack("{s:I, s:I, s:I, s:s, s:f}", "questions",
                            (json_int_t)result->n_questions, "choices", (json_int_t)result->n_texts,
                            "tokens", (json_int_t)result->n_scores, "precision",
                            SESSION_PRECISIONS[opts->session.precision], "chance", result->chance);
    json_t *reference =
        opts->reference ? json_pack("{s:f}", "same_choice", result->same) : json_null();

    put_accuracies(doc, result->accuracy, result->n_questions);
    if (opts->reference)
        put_accuracies(reference, result->reference, result->n_questions);
    json_object_set_new(doc, "reference", reference);
    return doc;
}

void choices_print(const struct choices_opts *opts, const struct choices_result *result)
{
    printf("%zu questions, %zu choices, %zu tokens scored; chance %.2f %%\n", result->n_questions,
           result->n_texts, result->n_scores, result->chance * 100);
    for (size_t i = 0; i < CHOICES_NORMS; i++) {
        printf("accuracy  %6.2f +- %.2f %%", result->accuracy[i] * 100,
               choices_se(result->accuracy[i], result->n_questions) * 100);
        if (opts->reference)
            printf(", reference %6.2f %%", result->reference[i] * 100);
        printf("  %s\n", NORMS[i].about);
    }
    if (opts->reference)
        printf("same choice  %.2f %%\n", result->same * 100);
}
