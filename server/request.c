#include "server/request.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "config/limits.h"
#include "config/log.h"
#include "model/model.h"
#include "server/clock.h"

#define TEXT_MAX ((size_t)64 << 20) /* of one answer: a token has tens of bytes, a context 2^20 */

static uint64_t random_u64(void)
{
    uint64_t value;

    /* Blocks only before the kernel's pool is first filled; 8 bytes are never cut short. */
    if (getrandom(&value, sizeof(value), 0) != (ssize_t)sizeof(value))
        abort();
    return value;
}

struct request *request_new(uint64_t now_us)
{
    struct request *request = calloc(1, sizeof(*request));

    if (!request)
        return NULL;
    request->owner = OWNER_LOOP;
    request->stage = STAGE_RECEIVE;
    request->stages_seen = 1u << STAGE_RECEIVE;
    request->entered_us = request->created_us = now_us;
    request->created_unix = (int64_t)time(NULL);
    snprintf(request->id, sizeof(request->id), "gen-%016llx", (unsigned long long)random_u64());
    request->seed = random_u64() >> 11; /* below 2^53: JavaScript reads it back */
    buf_init(&request->text, TEXT_MAX);
    draft_init(&request->draft);
    atomic_init(&request->cancelled, false);
    request->admitted_event = (struct event){.kind = EVENT_ADMITTED, .request = request};
    request->home_event = (struct event){.kind = EVENT_HOME, .request = request};
    return request;
}

void request_free(struct request *request)
{
    if (!request)
        return;
    assert(request->owner == OWNER_LOOP && !request->sampler && !request->detok);
    completion_req_done(&request->ask);
    free(request->ids);
    draft_done(&request->draft);
    buf_done(&request->text);
    free(request);
}

void request_hand(struct request *request, enum owner from, enum owner to)
{
    assert(request->owner == from);
    request->owner = to;
}

void request_move(struct request *request, enum stage to, uint64_t now_us)
{
    assert(stage_may_follow(request->stage, to));
    request->stage_us[request->stage] += now_us - request->entered_us;
    request->entered_us = now_us;
    request->stage = to;
    request->stages_seen |= 1u << to;
}

void request_finish(struct request *request, enum finish_reason reason)
{
    if (request->outcome != OUTCOME_OPEN)
        return;
    request->outcome = OUTCOME_FINISHED;
    request->finish = reason;
}

void request_cancel(struct request *request)
{
    if (request->outcome == OUTCOME_OPEN)
        request->outcome = OUTCOME_CANCELLED;
}

void request_failed(struct request *request)
{
    if (request->outcome == OUTCOME_OPEN)
        request->outcome = OUTCOME_FAILED;
}

void request_fail(struct request *request, enum api_code code, const char *fmt, ...)
{
    char message[sizeof(request->error.message)];
    va_list args;

    if (request->outcome != OUTCOME_OPEN)
        return;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    api_error_set(&request->error, code, NULL, "%s", message);
    request_failed(request);
}

void request_set_trace(struct request *request, const char *header)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t len = header ? strlen(header) : 0;

    if (len > 0 && len <= TRACE_MAX && strspn(header, allowed) == len)
        memcpy(request->trace, header, len + 1);
    else
        snprintf(request->trace, sizeof(request->trace), "req-%016llx",
                 (unsigned long long)random_u64());
}

static double span_ms(uint64_t from_us, uint64_t to_us)
{
    return from_us && to_us > from_us ? (double)(to_us - from_us) / US_PER_MS : 0;
}

void request_result(const struct request *request, const char *model,
                    struct generate_result *ret_result)
{
    const struct request *r = request;

    *ret_result = (struct generate_result){
        .id = r->id,
        .created = r->created_unix,
        .model = model,
        .text = r->text.data ? r->text.data : "",
        .text_len = r->text.len,
        .seed = r->seed,
        .finish = r->finish,
        .stop_kind = r->stop_kind,
        .stop_string = r->stop_kind == STOP_STRING ? r->ask.stops[r->stop_index] : NULL,
        .stop_token = r->stop_token,
        .prompt_tokens = r->n_prompt,
        .completion_tokens = r->n_made,
        .cached_tokens = r->n_cached,
        .timings = {.queue_ms = span_ms(r->queued_us, r->admitted_us),
                    .prefill_ms = span_ms(r->admitted_us, r->first_us),
                    .decode_ms = span_ms(r->first_us, r->last_us),
                    .ttft_ms = span_ms(r->created_us, r->first_us),
                    .total_ms = span_ms(r->created_us, r->ended_us)},
    };
}

static void count(const struct request *request, struct metrics *metrics)
{
    for (unsigned i = 0; i < N_STAGES; i++)
        if ((request->stages_seen & 1u << i) && !stage_is_end((enum stage)i))
            metrics_stage(metrics, (enum stage)i, request->stage_us[i]);
    if (!request->accepted) {
        if (request->outcome == OUTCOME_FAILED)
            metrics_refused(metrics, request->error.code);
        return;
    }
    metrics_observe(metrics, LATENCY_REQUEST, request->entered_us - request->created_us);
    if (request->outcome == OUTCOME_FINISHED)
        metrics_finished(metrics, request->finish);
    else if (request->outcome == OUTCOME_FAILED)
        metrics_failed(metrics, request->error.code);
    else
        metrics_add(metrics, COUNT_CANCELLED, 1);
}

static const char *const stage_keys[N_STAGES] = {
    [STAGE_RECEIVE] = "receive_ms", [STAGE_ROUTE] = "route_ms",       [STAGE_PARSE] = "parse_ms",
    [STAGE_QUEUE] = "queue_ms",     [STAGE_TOKENIZE] = "tokenize_ms", [STAGE_ADMIT] = "admit_ms",
    [STAGE_BATCH] = "batch_ms",     [STAGE_FORWARD] = "forward_ms",   [STAGE_SAMPLE] = "sample_ms",
    [STAGE_DETOK] = "detok_ms",     [STAGE_STREAM] = "stream_ms",
};

static void write_log(const struct request *request, enum stage last, int http_status)
{
    const struct request *r = request;
    struct log_field fields[20 + N_STAGES];
    size_t n = 0;

    fields[n++] = log_str("request_id", r->trace);
    fields[n++] = log_str("method", r->method);
    fields[n++] = log_str("path", r->path);
    fields[n++] = log_int("status", http_status);
    fields[n++] = log_str("stage", stage_name(r->stage));
    if (r->stage != STAGE_DONE)
        fields[n++] = log_str("after", stage_name(last));
    if (r->outcome == OUTCOME_FAILED)
        fields[n++] = log_str("error", api_code_name(r->error.code));
    if (r->accepted) {
        fields[n++] = log_str("id", r->id);
        fields[n++] = log_bool("streamed", r->ask.stream);
        fields[n++] = log_uint("prompt_tokens", r->n_prompt);
        fields[n++] = log_uint("cached_tokens", r->n_cached);
        fields[n++] = log_uint("completion_tokens", r->n_made);
        if (r->n_drafted > 0) {
            fields[n++] = log_uint("draft_tokens", r->n_drafted);
            fields[n++] = log_uint("accepted_tokens", r->n_accepted);
        }
        if (r->outcome == OUTCOME_FINISHED)
            fields[n++] = log_str("finish_reason", finish_reason_name(r->finish));
        fields[n++] = log_real("ttft_ms", span_ms(r->created_us, r->first_us));
    }
    fields[n++] = log_real("total_ms", span_ms(r->created_us, r->entered_us));
    for (unsigned i = 0; i < N_STAGES; i++)
        if (stage_keys[i] && (r->stages_seen & 1u << i))
            fields[n++] = log_real(stage_keys[i], (double)r->stage_us[i] / US_PER_MS);
    fields[n] = log_end();
    assert(n < sizeof(fields) / sizeof(fields[0]));
    log_write(r->outcome == OUTCOME_FAILED && http_status >= 500 ? LOG_WARN : LOG_INFO, "request",
              fields);
}

void request_close(struct request *request, int http_status, bool quiet, struct metrics *metrics)
{
    static const enum stage ends[] = {[OUTCOME_FINISHED] = STAGE_DONE,
                                      [OUTCOME_FAILED] = STAGE_FAILED,
                                      [OUTCOME_CANCELLED] = STAGE_CANCELLED};
    enum stage last = request->stage;

    assert(request->owner == OWNER_LOOP && request->outcome != OUTCOME_OPEN);
    request_move(request, ends[request->outcome], clock_us());
    count(request, metrics);
    if (!quiet)
        write_log(request, last, http_status);
}
