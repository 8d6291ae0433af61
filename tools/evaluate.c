#include "tools/evaluate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/cli.h"
#include "tools/eval_run.h"

/* Everything that one evaluation holds. */
struct work {
    const struct evaluate_opts *opts;
    struct progress progress;
    char *text;
    size_t len;
    struct session model, reference;
    struct logits_reader stored;
    struct logits_writer save;
    int32_t *ids;
    size_t n_ids, n_chunks;
    struct eval_text *chunks;
    struct eval_score *scores;
    size_t n_scores;
    char text_sha256[SHA256_HEX], source_sha256[SHA256_HEX], digest[SHA256_HEX];
};

static struct model_progress told(struct work *work)
{
    return (struct model_progress){progress_update, &work->progress};
}

/* ---- opening ---- */

/* Open a model and a runner fit for eval_run(). */
static int open_side(struct session *side, const struct session_flags *flags, uint32_t ctx,
                     struct error *err)
{
    struct runner_opts opts;
    int r = session_open(side, flags->model, (enum model_precision)flags->precision, err);

    if (r != ST_OK)
        return r;
    eval_runner_opts(ctx, ctx, model_info(side->model)->n_vocab, &opts);
    if (ctx > model_info(side->model)->n_ctx_train)
        return error_set(err, ST_INVALID, "--ctx: %u is beyond the context of %s, %u tokens", ctx,
                         flags->model, model_info(side->model)->n_ctx_train);
    return session_run(side, flags, &opts, err);
}

static int read_text(struct work *work, struct error *err)
{
    int r = cli_read(work->opts->text, &work->text, &work->len, err);

    if (r == ST_OK)
        sha256_text(work->text, work->len, work->text_sha256);
    return r;
}

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int open_model(struct work *work, struct error *err)
{
    const struct evaluate_opts *opts = work->opts;
    struct model_progress progress = told(work);
    int r = ST_OK;

    if (opts->record && is_folder(opts->session.model))
        return error_set(err, ST_INVALID,
                         "--record: %s is a directory: a record is written into a GGUF file",
                         opts->session.model);
    if (opts->record)
        r = model_digest(opts->session.model, &progress, work->digest, err);
    progress_end(&work->progress);
    return r == ST_OK ? open_side(&work->model, &opts->session, opts->ctx, err) : r;
}

static int make_chunks(struct work *work, struct error *err)
{
    const struct evaluate_opts *opts = work->opts;
    int r = model_tokenize(work->model.model, work->text, work->len, MODEL_TEXT_BOS_AUTO,
                           &work->ids, &work->n_ids, err);

    if (r != ST_OK)
        return r;
    if (work->n_ids / 2 < opts->ctx)
        return error_set(err, ST_INVALID,
                         "%s: %zu tokens are less than two chunks of %u: give a longer text or a "
                         "smaller --ctx",
                         opts->text, work->n_ids, opts->ctx);
    work->n_chunks = work->n_ids / opts->ctx;
    if (opts->chunks && opts->chunks < work->n_chunks)
        work->n_chunks = opts->chunks;
    work->n_scores = work->n_chunks * eval_scored(opts->ctx);
    work->chunks = calloc(work->n_chunks, sizeof(*work->chunks));
    work->scores = calloc(work->n_scores, sizeof(*work->scores));
    if (!work->chunks || !work->scores)
        return error_set(err, ST_NOMEM, "out of memory for %zu scores: give fewer --chunks",
                         work->n_scores);
    for (size_t i = 0; i < work->n_chunks; i++)
        work->chunks[i] = (struct eval_text){work->ids + i * opts->ctx, opts->ctx, opts->ctx / 2};
    return ST_OK;
}

/* ---- the reference ---- */

static int check_same_vocab(const struct work *work, size_t n_ref, struct error *err)
{
    return eval_check_vocab(&work->opts->session, model_info(work->model.model)->n_vocab,
                            work->opts->reference, n_ref, err);
}

static void hash_ids(const struct work *work, size_t n_chunks, char hex[static SHA256_HEX])
{
    sha256_text(work->ids, n_chunks * work->opts->ctx * sizeof(*work->ids), hex);
}

/* Stored logits are of this text, cut into the same chunks of the same ids. */
static int check_stored(const struct work *work, struct error *err)
{
    const struct logits_head *head = &work->stored.head;
    const struct evaluate_opts *opts = work->opts;
    char ids[SHA256_HEX];

    if (head->ctx != opts->ctx)
        return error_set(err, ST_INVALID,
                         "--reference: %s stores chunks of %u tokens: give --ctx %u",
                         opts->reference, head->ctx, head->ctx);
    if (strcmp(head->text_sha256, work->text_sha256) != 0)
        return error_set(err, ST_INVALID,
                         "--reference: %s stores the logits of another text than %s",
                         opts->reference, opts->text);
    if (head->n_chunks < work->n_chunks || head->n_rows / eval_scored(opts->ctx) != head->n_chunks)
        return error_set(err, ST_INVALID,
                         "--reference: %s stores %llu chunks of %zu: give --chunks %llu, or store "
                         "more",
                         opts->reference, (unsigned long long)head->n_chunks, work->n_chunks,
                         (unsigned long long)head->n_chunks);
    if (work->n_ids / opts->ctx >= head->n_chunks) {
        hash_ids(work, (size_t)head->n_chunks, ids);
        if (strcmp(head->ids_sha256, ids) == 0)
            return check_same_vocab(work, (size_t)head->n_vocab, err);
    }
    return error_set(err, ST_INVALID,
                     "--reference: %s stores the logits of other tokens: its tokenizer is not that "
                     "of %s",
                     opts->reference, opts->session.model);
}

/* A directory has no bytes of its own: then the digest of the model in it. */
static int hash_source(struct work *work, const char *path, struct error *err)
{
    struct model_progress progress = told(work);
    int r = is_folder(path) ? model_digest(path, &progress, work->source_sha256, err)
                            : sha256_file(path, work->source_sha256, err);

    progress_end(&work->progress);
    return r;
}

static int open_reference(struct work *work, struct error *err)
{
    const struct evaluate_opts *opts = work->opts;
    struct session_flags in_fp32 = eval_reference_flags(&opts->session, opts->reference);
    const char *source = opts->reference ? opts->reference : opts->session.model;
    int r = ST_OK;

    if (opts->reference && logits_is_file(opts->reference)) {
        r = logits_read_open(&work->stored, opts->reference, err);
        if (r == ST_OK)
            memcpy(work->source_sha256, work->stored.head.model_sha256, SHA256_HEX);
        return r == ST_OK ? check_stored(work, err) : r;
    }
    if (opts->record || opts->save_reference)
        r = hash_source(work, source, err);
    if (r == ST_OK && opts->reference) {
        r = open_side(&work->reference, &in_fp32, opts->ctx, err);
        if (r == ST_OK)
            r = check_same_vocab(work, model_info(work->reference.model)->n_vocab, err);
    }
    return r;
}

static int open_save(struct work *work, struct error *err)
{
    struct logits_head head = {.ctx = work->opts->ctx,
                               .n_vocab = model_info(work->model.model)->n_vocab,
                               .n_chunks = work->n_chunks,
                               .n_rows = work->n_scores};

    if (!work->opts->save_reference)
        return ST_OK;
    memcpy(head.model_sha256, work->source_sha256, SHA256_HEX);
    memcpy(head.text_sha256, work->text_sha256, SHA256_HEX);
    hash_ids(work, work->n_chunks, head.ids_sha256);
    return logits_write_open(&work->save, work->opts->save_reference, &head, err);
}

/* ---- the run, and what is kept of it ---- */

static int run(struct work *work, struct error *err)
{
    const struct model *model = work->model.model;
    struct eval_job job = {
        .texts = work->chunks,
        .n_texts = work->n_chunks,
        .bos = model_add_bos(model) ? model_bos(model) : -1,
        .n_vocab = model_info(model)->n_vocab,
        .runner = work->model.runner,
        .reference = work->reference.runner,
        .stored = work->stored.map ? &work->stored : NULL,
        .save = work->opts->save_reference ? &work->save : NULL,
        .progress = &work->progress,
        .unit = "chunks",
    };
    int r = eval_run(&job, work->scores, err);

    return r == ST_OK && job.save ? outfile_commit(&work->save.out, err) : r;
}

/* One JSON object a line. */
static int write_positions(const struct work *work, struct error *err)
{
    const struct evaluate_opts *opts = work->opts;
    size_t per_chunk = eval_scored(opts->ctx);
    struct outfile out = {0};
    int r = opts->out ? outfile_open(&out, opts->out, err) : ST_NOTFOUND;

    if (r != ST_OK) {
        outfile_abort(&out);
        return opts->out ? r : ST_OK;
    }
    for (size_t i = 0; i < work->n_scores; i++) {
        const struct eval_score *s = &work->scores[i];
        size_t chunk = i / per_chunk, pos = opts->ctx / 2 + i % per_chunk + 1;
        fprintf(out.file, "{\"chunk\":%zu,\"position\":%zu,\"token\":%d,\"logprob\":%.9g", chunk,
                pos, work->ids[chunk * opts->ctx + pos], -s->nll);
        if (opts->reference)
            fprintf(out.file, ",\"reference_logprob\":%.9g,\"kld\":%.9g,\"same_top\":%s",
                    -s->ref_nll, s->kld, s->same_top ? "true" : "false");
        fputs("}\n", out.file);
    }
    return outfile_commit(&out, err);
}

static int record(struct work *work, const struct evaluate_result *result, struct error *err)
{
    const struct model_info *info = model_info(work->model.model);
    const struct runner_info *runner = runner_info(work->model.runner);
    const struct eval_summary *s = &result->summary;
    struct model_progress progress = told(work);
    /* A mean of rounding errors may come out a hair below zero; no divergence is. */
    struct quality q = {.ppl = s->ppl,
                        .ppl_se = s->ppl_se,
                        .ppl_ratio = s->ppl_ratio,
                        .kld_mean = s->kld_mean > 0 ? s->kld_mean : 0,
                        .kld_median = s->kld_median > 0 ? s->kld_median : 0,
                        .kld_p99 = s->kld_p99 > 0 ? s->kld_p99 : 0,
                        .kld_max = s->kld_max > 0 ? s->kld_max : 0,
                        .same_top = s->same_top,
                        .rms_dp = s->rms_dp,
                        .tokens = result->n,
                        .chunks = result->n_chunks,
                        .ctx = work->opts->ctx};

    if (!work->opts->record)
        return ST_OK;
    snprintf(q.precision, sizeof(q.precision), "%s", SESSION_PRECISIONS[info->precision]);
    snprintf(q.kv, sizeof(q.kv), "%s", SESSION_KVS[runner->kv]);
    snprintf(q.scheme, sizeof(q.scheme), "%s", info->scheme);
    snprintf(q.version, sizeof(q.version), "%s", OCTET_VERSION);
    memcpy(q.text_sha256, work->text_sha256, SHA256_HEX);
    memcpy(q.source_sha256, work->source_sha256, SHA256_HEX);
    memcpy(q.digest, work->digest, SHA256_HEX);
    int r = model_record(work->opts->session.model, &q, &progress, err);
    progress_end(&work->progress);
    return r;
}

int evaluate(const struct evaluate_opts *opts, struct evaluate_result *ret_result,
             struct error *err)
{
    struct work work = {.opts = opts};
    struct evaluate_result result = {0};
    double *sorted = NULL;
    int r;

    progress_init(&work.progress);
    if ((r = read_text(&work, err)) || (r = open_model(&work, err)) ||
        (r = make_chunks(&work, err)) || (r = open_reference(&work, err)) ||
        (r = open_save(&work, err)) || (r = run(&work, err)))
        goto out;
    result.n = work.n_scores;
    result.n_chunks = work.n_chunks;
    sorted = calloc(result.n, sizeof(*sorted));
    if (!sorted) {
        r = error_set(err, ST_NOMEM, "out of memory");
        goto out;
    }
    eval_summarize(work.scores, result.n, sorted, &result.summary);
    r = write_positions(&work, err);
    if (r == ST_OK)
        r = record(&work, &result, err);
    if (r == ST_OK)
        *ret_result = result;
out:
    outfile_abort(&work.save.out);
    logits_read_close(&work.stored);
    session_done(&work.reference);
    session_done(&work.model);
    free(work.chunks);
    free(work.scores);
    free(work.ids);
    free(work.text);
    free(sorted);
    return r;
}

/* ---- saying it ---- */

static json_t *reference_json(const struct eval_summary *s)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "ppl", s->ref_ppl, "ppl_ratio",
                     s->ppl_ratio, "kld_mean", s->kld_mean, "kld_median", s->kld_median, "kld_p99",
                     s->kld_p99, "kld_max", s->kld_max, "same_top", s->same_top, "rms_dp",
                     s->rms_dp);
}

json_t *evaluate_json(const struct evaluate_opts *opts, const struct evaluate_result *result)
{
    const struct eval_summary *s = &result->summary;

    return json_pack("{s:I, s:I, s:I, s:f, s:f, s:s, s:b, s:o}", "tokens", (json_int_t)result->n,
                     "chunks", (json_int_t)result->n_chunks, "ctx", (json_int_t)opts->ctx, "ppl",
                     s->ppl, "ppl_se", s->ppl_se, "precision",
                     SESSION_PRECISIONS[opts->session.precision], "recorded", opts->record,
                     "reference", opts->reference ? reference_json(s) : json_null());
}

void evaluate_print(const struct evaluate_opts *opts, const struct evaluate_result *result)
{
    const struct eval_summary *s = &result->summary;

    printf("perplexity     %.4f +- %.4f, %zu tokens scored in %zu chunks of %u\n", s->ppl,
           s->ppl_se, result->n, result->n_chunks, opts->ctx);
    if (!opts->reference)
        return;
    printf("reference      %.4f, ratio %.5f (%+.2f %%)\n", s->ref_ppl, s->ppl_ratio,
           (s->ppl_ratio - 1) * 100);
    printf("KL divergence  mean %.6f, median %.6f, 99 %% %.6f, most %.6f\n", s->kld_mean,
           s->kld_median, s->kld_p99, s->kld_max);
    printf("same top token %.2f %%\n", s->same_top * 100);
    printf("RMS change of the right token's probability %.3f %%\n", s->rms_dp * 100);
    if (opts->record)
        printf("recorded in %s\n", opts->session.model);
}
