#include "server/batch.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "server/clock.h"
#include "server/pages.h"
#include "server/speculate.h"

_Static_assert(LIMIT_DRAFT == MODEL_MAX_DRAFT, "config can't include model.h");

void batch_done(struct batch *batch)
{
    sched_done(&batch->sched);
    free(batch->rows);
    free(batch->jobs);
    free(batch->job_request);
    free(batch->offers);
    runner_free(batch->runner);
    *batch = (struct batch){0};
}

bool batch_is_empty(const struct batch *batch)
{
    return batch->sched.running.n + batch->sched.waiting.n == 0;
}

struct request *batch_request(struct sched_item *item)
{
    return (struct request *)((char *)item - offsetof(struct request, item));
}

static void set_gauges(struct batch *batch)
{
    const struct sched *sched = &batch->sched;

    metrics_set(batch->metrics, GAUGE_RUNNING, sched->running.n);
    pages_show(batch);
}

void batch_join(struct batch *batch, struct request *request)
{
    sched_add(&batch->sched, &request->item, request->n_prompt);
}

void batch_leave(struct batch *batch, struct request *request, uint64_t now_us)
{
    assert(request->outcome != OUTCOME_OPEN);
    sched_remove(&batch->sched, &request->item);
    pages_give_back(batch, request);
    sampler_free(request->sampler);
    detok_free(request->detok);
    request->sampler = NULL;
    request->detok = NULL;
    request->ended_us = now_us;
    if (request->outcome == OUTCOME_FINISHED && request->stage != STAGE_STREAM)
        request_move(request, STAGE_STREAM, now_us);
    set_gauges(batch);
    request_hand(request, OWNER_ENGINE, OWNER_LOOP);
    queue_put(batch->outbox, &request->home_event.mail);
}

/* What was held back as half a character or half a stop string goes out after all. */
static void flush_text(struct request *request)
{
    const char *text;
    size_t len;

    if (detok_finish(request->detok, &text, &len) != ST_OK ||
        buf_put(&request->text, text, len) != ST_OK)
        request_fail(request, API_INTERNAL, "no memory for the answer's text.");
}

void batch_overdue(struct request *request, bool closing)
{
    if (request->n_made > 0) {
        flush_text(request);
        request_finish(request, FINISH_DEADLINE);
    } else if (closing) {
        request_fail(request, API_DRAINING, "the server is closing; try another one.");
    } else {
        api_error_deadline(&request->error, request->timeout_ms);
        request_failed(request);
    }
}

/* First time: make what draws and shows its tokens. */
static int open_tools(struct batch *batch, struct request *request)
{
    const struct completion_req *ask = &request->ask;
    struct sampler_opts opts = {.temperature = (float)ask->temperature,
                                .top_k = (uint32_t)ask->top_k,
                                .top_p = (float)ask->top_p,
                                .min_p = (float)ask->min_p,
                                .repetition_penalty = (float)ask->repetition_penalty,
                                .seed = request->seed,
                                .ban_end = ask->ignore_eos};
    int r = sampler_open(batch->model, &opts, &request->sampler);

    for (uint32_t i = 0; r == ST_OK && i < request->n_prompt; i++)
        r = sampler_accept(request->sampler, request->ids[i]);
    if (r == ST_OK)
        r = detok_open(batch->model, (const char *const *)ask->stops, ask->n_stops,
                       &request->detok);
    return r;
}

/* It runs from now on, first `cached` positions are there already. */
static void enter(struct batch *batch, struct request *request, uint32_t cached)
{
    int r = request->sampler ? ST_OK : open_tools(batch, request);

    if (r != ST_OK)
        request_fail(request, API_INTERNAL, "the request could not start: %s.", status_name(r));
    request_move(request, STAGE_BATCH, batch->began_us);
    if (request->admitted_us)
        return; /* it was preempted and is back */
    request->admitted_us = batch->began_us;
    request->n_cached = cached;
    metrics_add(batch->metrics, COUNT_PROMPT_TOKENS, request->n_prompt);
    if (batch->prefix_cache) {
        metrics_add(batch->metrics, COUNT_PREFIX_QUERIES, request->n_prompt);
        metrics_add(batch->metrics, COUNT_PREFIX_HITS, cached);
    }
    queue_put(batch->outbox, &request->admitted_event.mail);
}

/* ---- what the schedule asks for ---- */

static uint32_t on_pages_free(void *arg)
{
    return runner_pages_free(((struct batch *)arg)->runner);
}

static bool on_admit(void *arg, struct sched_item *item, uint32_t spare, uint32_t *ret_done)
{
    struct request *request = batch_request(item);

    if (!pages_take(arg, request, spare, ret_done))
        return false;
    enter(arg, request, *ret_done);
    return true;
}

static bool on_reserve(void *arg, struct sched_item *item, uint32_t n_tokens)
{
    return pages_reserve(arg, batch_request(item), n_tokens);
}

static void on_preempt(void *arg, struct sched_item *item)
{
    struct batch *batch = arg;
    struct request *request = batch_request(item);

    pages_give_back(batch, request);
    if (request->stage != STAGE_BATCH)
        request_move(request, STAGE_BATCH, batch->began_us); /* it was about to be in this step */
    request_move(request, STAGE_ADMIT, batch->began_us);
    metrics_add(batch->metrics, COUNT_PREEMPTIONS, 1);
}

/* ---- open ---- */

int batch_open(struct batch *batch, const struct model *model, const struct batch_opts *opts,
               struct metrics *metrics, struct queue *outbox, struct error *err)
{
    *batch = (struct batch){.model = model,
                            .metrics = metrics,
                            .outbox = outbox,
                            .prefix_cache = opts->prefix_cache,
                            .draft_max = opts->draft_max};
    struct runner_opts runner_opts = opts->runner;

    assert(opts->draft_max <= MODEL_MAX_DRAFT);
    if (runner_opts.max_logits == 0 && opts->draft_max >= opts->runner.max_seqs)
        runner_opts.max_logits = opts->draft_max + 1; /* few sequences, but all their guesses */
    pace_init(&batch->pace, opts->itl_target_ms);
    int r = runner_open(model, &runner_opts, &batch->runner, err);
    if (r != ST_OK)
        return r;

    const struct runner_info *info = runner_info(batch->runner);
    struct sched_limits limits = {.max_seqs = info->max_seqs, .max_rows = info->max_rows};
    struct sched_store store = {.arg = batch,
                                .pages_free = on_pages_free,
                                .admit = on_admit,
                                .reserve = on_reserve,
                                .preempt = on_preempt};
    batch->rows = calloc(info->max_rows, sizeof(*batch->rows));
    batch->jobs = calloc(info->max_seqs, sizeof(*batch->jobs));
    batch->job_request = calloc(info->max_seqs, sizeof(*batch->job_request));
    batch->offers = calloc(info->max_seqs, sizeof(*batch->offers));
    if (!batch->rows || !batch->jobs || !batch->job_request || !batch->offers ||
        sched_open(&batch->sched, &limits, &store) != ST_OK)
        return error_set(err, ST_NOMEM, "no memory for a batch of %u rows", info->max_rows);
    metrics_set(metrics, GAUGE_KV_PAGES, info->n_pages);
    return ST_OK;
}

/* ---- a step ---- */

/* The rows of one slice, none if its request has failed. */
static void put_rows(struct batch *batch, const struct sched_slice *slice, size_t *n_rows)
{
    struct request *request = batch_request(slice->item);

    if (request->outcome != OUTCOME_OPEN)
        return;
    if (request->stage != STAGE_BATCH)
        request_move(request, STAGE_BATCH, batch->began_us);
    uint32_t last = slice->n - 1 - slice->n_draft; /* known token; guesses follow */
    for (uint32_t i = 0; i < slice->n; i++) {
        uint32_t pos = slice->first + i;
        batch->rows[(*n_rows)++] = (struct batch_row){.token = request->ids[pos],
                                                      .seq = request->seq,
                                                      .pos = pos,
                                                      .logits = slice->logits && i >= last};
    }
    request_move(request, STAGE_FORWARD, batch->began_us);
}

/* After the network ran: those with logits get a sampling job, the others have chunks to come. */
static void make_jobs(struct batch *batch, const struct sched_plan *plan, uint64_t now_us)
{
    size_t row = 0;

    batch->n_jobs = 0;
    for (uint32_t i = 0; i < plan->n_slices; i++) {
        const struct sched_slice *slice = &plan->slices[i];
        struct request *request = batch_request(slice->item);

        if (request->outcome != OUTCOME_OPEN)
            continue;
        row += slice->n;
        if (!slice->logits) {
            request_move(request, STAGE_BATCH, now_us);
            continue;
        }
        request_move(request, STAGE_SAMPLE, now_us);
        batch->job_request[batch->n_jobs] = request;
        batch->jobs[batch->n_jobs++] =
            (struct sample_job){.sampler = request->sampler,
                                .logits = runner_logits(batch->runner, row - 1 - slice->n_draft),
                                .draft = request->ids + slice->item->n_tokens,
                                .n_draft = slice->n_draft};
    }
}

/* To the client at once if it streams, else to the whole answer. */
static void emit(struct batch *batch, struct request *request, const char *text, size_t len)
{
    struct event *event;

    if (len == 0)
        return;
    if (!request->ask.stream) {
        if (buf_put(&request->text, text, len) != ST_OK)
            request_fail(request, API_INTERNAL, "no memory for the answer's text.");
        return;
    }
    event = malloc(sizeof(*event) + len);
    if (!event) {
        request_fail(request, API_INTERNAL, "no memory for a piece of the answer.");
        return;
    }
    char *copy = (char *)(event + 1);
    memcpy(copy, text, len);
    *event = (struct event){.kind = EVENT_TEXT, .request = request, .text = copy, .len = len};
    queue_put(batch->outbox, &event->mail);
}

/* One token more: count it, show it, see whether it was the last. */
static void token_drawn(struct batch *batch, struct request *request, int32_t id)
{
    const char *text;
    size_t len;
    int stop;

    request->ids[request->n_prompt + request->n_made++] = id;
    metrics_add(batch->metrics, COUNT_GENERATION_TOKENS, 1);

    if (model_is_end(batch->model, id)) {
        request->stop_kind = STOP_TOKEN;
        request->stop_token = id;
        flush_text(request);
        request_finish(request, FINISH_STOP);
        return;
    }
    if (detok_push(request->detok, id, &text, &len, &stop) != ST_OK) {
        request_fail(request, API_INTERNAL, "no memory for the answer's text.");
        return;
    }
    emit(batch, request, text, len);
    if (stop >= 0) {
        request->stop_kind = STOP_STRING;
        request->stop_index = (size_t)stop;
        request_finish(request, FINISH_STOP);
    } else if (request->n_made == request->max_tokens) {
        flush_text(request);
        request_finish(request, FINISH_LENGTH);
    }
}

/* Tokens that came together share the time since the last ones; with the first, it is none. */
static void observe_tokens(struct batch *batch, struct request *request, uint32_t n,
                           uint64_t now_us)
{
    bool first = request->first_us == 0;

    if (n == 0)
        return;
    if (first) {
        request->first_us = request->last_us = now_us;
        metrics_observe(batch->metrics, LATENCY_FIRST_TOKEN, now_us - request->created_us);
    }
    for (uint32_t i = first; i < n; i++)
        metrics_observe(batch->metrics, LATENCY_INTER_TOKEN, (now_us - request->last_us) / n);
    request->last_us = now_us;
}

/* The tokens of a job, as far as its request goes: one of them may be its end. */
static void finish_job(struct batch *batch, struct request *request, const struct sample_job *job)
{
    uint32_t n_before = request->n_made;
    uint64_t now_us = clock_us();

    request_move(request, STAGE_DETOK, now_us);
    speculate_saw(batch, request, job);
    for (uint32_t i = 0; i < job->n_ids && request->outcome == OUTCOME_OPEN; i++)
        token_drawn(batch, request, job->id[i]);
    if (job->status != ST_OK)
        request_fail(request, API_INTERNAL, "no token could be drawn: %s.",
                     status_name(job->status));
    request_move(request, STAGE_STREAM, clock_us());
    observe_tokens(batch, request, request->n_made - n_before, now_us);
    if (request->n_made > n_before)
        sched_grow(&batch->sched, &request->item, request->n_made - n_before);
}

static void finish_jobs(struct batch *batch)
{
    for (uint32_t i = 0; i < batch->n_jobs; i++)
        finish_job(batch, batch->job_request[i], &batch->jobs[i]);
}

/* What the step stored may be found by others; requests that ended in it go home. */
static void end_step(struct batch *batch, const struct sched_plan *plan)
{
    uint64_t now_us = clock_us();

    for (uint32_t i = 0; i < plan->n_slices; i++) {
        struct request *request = batch_request(plan->slices[i].item);
        if (request->outcome == OUTCOME_OPEN)
            pages_publish(batch, request, plan->slices[i].first);
        else
            batch_leave(batch, request, now_us);
    }
}

/* The network over the rows. */
static void run(struct batch *batch, const struct sched_plan *plan, size_t n_rows)
{
    int r = n_rows > 0 ? runner_step(batch->runner, batch->rows, n_rows) : ST_OK;

    for (uint32_t i = 0; r != ST_OK && i < plan->n_slices; i++)
        request_fail(batch_request(plan->slices[i].item), API_INTERNAL, "the step failed: %s.",
                     status_name(r));
    if (r == ST_OK)
        sched_commit(&batch->sched);
}

void batch_step(struct batch *batch)
{
    size_t n_rows = 0;

    batch->began_us = clock_us();
    sched_admit(&batch->sched);
    set_gauges(batch);
    uint32_t n_decoding = sched_decoding(&batch->sched);
    speculate(batch, n_decoding);
    const struct sched_plan *plan =
        sched_plan(&batch->sched, pace_prompt_rows(&batch->pace, n_decoding, UINT32_MAX));
    for (uint32_t i = 0; i < plan->n_slices; i++)
        put_rows(batch, &plan->slices[i], &n_rows);
    run(batch, plan, n_rows);
    make_jobs(batch, plan, clock_us());
    if (batch->n_jobs > 0)
        runner_sample(batch->runner, batch->jobs, batch->n_jobs);
    finish_jobs(batch);
    struct pace_step step = {.n_decoding = n_decoding,
                             .n_draft = plan->n_draft,
                             .n_prompt = plan->n_rows - n_decoding - plan->n_draft};
    end_step(batch, plan);
    metrics_add(batch->metrics, COUNT_STEPS, 1);
    metrics_add(batch->metrics, COUNT_STEP_ROWS, n_rows);
    uint64_t us = clock_us() - batch->began_us;
    metrics_observe(batch->metrics, LATENCY_STEP, us);
    if (n_rows == step.n_decoding + step.n_draft + step.n_prompt)
        pace_saw(&batch->pace, &step, (double)us);
}
