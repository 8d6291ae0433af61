/* octet eval - perplexity of a text as llama.cpp's llama-perplexity defines it, and the divergence
 * from a reference that runs beside it in FP32. */
#include <stdio.h>
#include <stdlib.h>

#include "tools/cli.h"
#include "tools/eval_run.h"
#include "tools/session.h"

struct values {
    struct session_flags session;
    const char *text, *reference;
    uint32_t ctx, chunks;
    bool json;
};

#define AT(field) offsetof(struct values, field)

static const struct flag FLAGS[] = {
    SESSION_FLAG_MODEL,
    {.name = "text",
     .type = FLAG_STRING,
     .offset = AT(text),
     .required = true,
     .arg = "FILE",
     .help = "the text; - is stdin"},
    {.name = "reference",
     .type = FLAG_STRING,
     .offset = AT(reference),
     .arg = "FILE",
     .help = "model to measure against; always runs in FP32"},
    {.name = "ctx",
     .type = FLAG_U32,
     .offset = AT(ctx),
     .min = EVAL_MIN_CTX,
     .max = LIMIT_CONTEXT,
     .fallback = "512",
     .arg = "N",
     .help = "tokens of a chunk"},
    {.name = "chunks",
     .type = FLAG_U32,
     .offset = AT(chunks),
     .fallback = "0",
     .arg = "N",
     .help = "at most so many chunks; 0: the whole text"},
    SESSION_FLAG_PRECISION,
    SESSION_FLAG_KV,
    SESSION_FLAG_THREADS,
    {.name = "json", .type = FLAG_BOOL, .offset = AT(json), .help = "one JSON document on stdout"},
};

static const struct flag_table TABLE = {
    .usage = "octet eval --model FILE --text FILE [options]",
    .about = "Perplexity of a text: chunks of --ctx tokens, the second half of each scored, as "
             "llama-perplexity does. With --reference also the divergence from it.",
    .flags = FLAGS,
    .n_flags = sizeof(FLAGS) / sizeof(FLAGS[0]),
};

/* The text's tokens, and how many chunks of them to score. */
struct tokens {
    int32_t *ids;
    size_t n, n_chunks;
};

static int make_tokens(const struct values *values, const struct model *model, const char *text,
                       size_t len, struct tokens *ret_tokens, struct error *err)
{
    struct tokens tokens = {0};
    int r = model_tokenize(model, text, len, MODEL_TEXT_BOS_AUTO, &tokens.ids, &tokens.n, err);

    if (r != ST_OK)
        return r;
    if (tokens.n / 2 < values->ctx) {
        free(tokens.ids);
        return error_set(err, ST_INVALID,
                         "%s: %zu tokens are less than two chunks of %u: give a longer text or a "
                         "smaller --ctx",
                         values->text, tokens.n, values->ctx);
    }
    tokens.n_chunks = tokens.n / values->ctx;
    if (values->chunks && values->chunks < tokens.n_chunks)
        tokens.n_chunks = values->chunks;
    *ret_tokens = tokens;
    return ST_OK;
}

/* Open a model and a runner fit for eval_run(). */
static int open_side(struct session *side, const struct session_flags *flags, uint32_t ctx,
                     struct error *err)
{
    struct runner_opts opts;
    int r = session_open(side, flags->model, (enum model_precision)flags->precision, err);

    if (r != ST_OK)
        return r;
    eval_runner_opts(ctx, model_info(side->model)->n_vocab, &opts);
    if (ctx > model_info(side->model)->n_ctx_train)
        return error_set(err, ST_INVALID, "--ctx: %u is beyond the context of %s, %u tokens", ctx,
                         flags->model, model_info(side->model)->n_ctx_train);
    return session_run(side, flags, &opts, err);
}

/* Ids mean the same in both models, or a divergence means nothing. */
static int check_same_vocab(const struct values *values, const struct model *model,
                            const struct model *reference, struct error *err)
{
    size_t n = model_info(model)->n_vocab, n_ref = model_info(reference)->n_vocab;

    if (n == n_ref)
        return ST_OK;
    return error_set(
        err, ST_INVALID,
        "--reference: %s has a vocabulary of %zu tokens, %s one of %zu: give the file that "
        "the model was made from",
        values->reference, n_ref, values->session.model, n);
}

static json_t *reference_json(const struct eval_summary *s)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "ppl", s->ref_ppl, "ppl_ratio",
                     s->ppl_ratio, "kld_mean", s->kld_mean, "kld_median", s->kld_median, "kld_p99",
                     s->kld_p99, "kld_max", s->kld_max, "same_top", s->same_top, "rms_dp",
                     s->rms_dp);
}

static json_t *summary_json(const struct values *values, size_t n_chunks, size_t n,
                            const struct eval_summary *s)
{
    return json_pack("{s:I, s:I, s:I, s:f, s:f, s:s, s:o}", "tokens", (json_int_t)n, "chunks",
                     (json_int_t)n_chunks, "ctx", (json_int_t)values->ctx, "ppl", s->ppl, "ppl_se",
                     s->ppl_se, "precision", SESSION_PRECISIONS[values->session.precision],
                     "reference", values->reference ? reference_json(s) : json_null());
}

static void summary_text(const struct values *values, size_t n_chunks, size_t n,
                         const struct eval_summary *s)
{
    printf("perplexity     %.4f +- %.4f, %zu tokens scored in %zu chunks of %u\n", s->ppl,
           s->ppl_se, n, n_chunks, values->ctx);
    if (!values->reference)
        return;
    printf("reference      %.4f, ratio %.5f (%+.2f %%)\n", s->ref_ppl, s->ppl_ratio,
           (s->ppl_ratio - 1) * 100);
    printf("KL divergence  mean %.6f, median %.6f, 99 %% %.6f, most %.6f\n", s->kld_mean,
           s->kld_median, s->kld_p99, s->kld_max);
    printf("same top token %.2f %%\n", s->same_top * 100);
    printf("RMS change of the right token's probability %.3f %%\n", s->rms_dp * 100);
}

static int score(const struct values *values, const struct tokens *tokens, struct session *model,
                 struct session *reference, struct error *err)
{
    struct eval_job job = {
        .ids = tokens->ids,
        .n_chunks = tokens->n_chunks,
        .ctx = values->ctx,
        .bos = model_add_bos(model->model) ? model_bos(model->model) : -1,
        .n_vocab = model_info(model->model)->n_vocab,
        .runner = model->runner,
        .reference = reference->runner,
        .progress = &model->progress,
    };
    size_t n = job.n_chunks * eval_scored(job.ctx);
    struct eval_score *scores = calloc(n, sizeof(*scores));
    double *work = calloc(n, sizeof(*work));
    struct eval_summary summary;
    int r = ST_NOMEM;

    if (scores && work)
        r = eval_run(&job, scores, err);
    else
        error_set(err, r, "out of memory for %zu scores: give fewer --chunks", n);
    if (r == ST_OK) {
        eval_summarize(scores, n, work, &summary);
        if (values->json)
            cli_json(summary_json(values, job.n_chunks, n, &summary));
        else
            summary_text(values, job.n_chunks, n, &summary);
    }
    free(scores);
    free(work);
    return r;
}

int cmd_eval(int argc, char *const *argv)
{
    struct values values = {.session = {.kv = KV_BY_PRECISION}};
    struct session_flags in_fp32;
    struct flags_result given;
    struct session model = {0}, reference = {0};
    struct tokens tokens = {0};
    struct error err = {{0}};
    char *text = NULL;
    size_t len = 0;
    int r, ended;

    ended = cli_parse(&TABLE, argc, argv, &values, &given);
    if (ended != CLI_GO_ON)
        return ended;
    r = cli_read(values.text, &text, &len, &err);
    if (r == ST_OK)
        r = open_side(&model, &values.session, values.ctx, &err);
    if (r == ST_OK)
        r = make_tokens(&values, model.model, text, len, &tokens, &err);
    if (r == ST_OK && values.reference) {
        in_fp32 = (struct session_flags){values.reference, MODEL_FP32, MODEL_KV_F32,
                                         values.session.threads};
        r = open_side(&reference, &in_fp32, values.ctx, &err);
        if (r == ST_OK)
            r = check_same_vocab(&values, model.model, reference.model, &err);
    }
    if (r == ST_OK)
        r = score(&values, &tokens, &model, &reference, &err);
    free(tokens.ids);
    free(text);
    session_done(&reference);
    session_done(&model);
    return r == ST_OK ? cli_finish() : cli_failed(r, &err);
}
