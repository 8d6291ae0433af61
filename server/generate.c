#include "server/generate.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

#include "server/clock.h"
#include "server/conn.h"
#include "server/exchange.h"
#include "server/life.h"
#include "server/prompt.h"

static void show_waiting(struct server *server)
{
    metrics_set(&server->metrics, GAUGE_WAITING, server->gate.waiting);
}

/* ---- the request is home again ---- */

static void fail_stream(struct exchange *x)
{
    stream_error(&x->stream, &x->request->error);
    exchange_wake(x);
}

static void finish(struct exchange *x)
{
    struct generate_result result;
    int r;

    request_result(x->request, x->server->name, &result);
    if (x->request->ask.stream) {
        r = stream_last(&x->stream, &result);
        exchange_stream(x);
        exchange_wake(x);
    } else {
        r = render_generate(&x->answer.body, &result);
        if (r == ST_OK)
            exchange_answer(x, 200, "application/json");
    }
    if (r == ST_OK)
        return;
    /* Out of memory for the answer itself: half of it must not pass for the whole. */
    exchange_abandon(x);
}

static void come_home(struct exchange *x)
{
    struct request *request = x->request;

    gate_leave(&x->server->gate, x->admitted, clock_us());
    show_waiting(x->server);
    if (!x->completed && !x->gone) {
        if (request->outcome == OUTCOME_FINISHED)
            finish(x);
        else if (request->outcome == OUTCOME_FAILED && x->answer.kind == ANSWER_STREAM)
            fail_stream(x);
        else if (request->outcome == OUTCOME_FAILED)
            exchange_refused(x);
    } else if (request->outcome == OUTCOME_FINISHED) {
        request->outcome = OUTCOME_CANCELLED; /* nobody is there to take it */
    }
    exchange_home(x);
}

/* ---- TOKENIZE, on a worker ---- */

static void tokenize(uv_work_t *work)
{
    struct exchange *x = work->data;
    struct request *request = x->request;

    request_hand(request, OWNER_LOOP, OWNER_WORKER);
    request_move(request, STAGE_TOKENIZE, clock_us());
    if (atomic_load_explicit(&request->cancelled, memory_order_relaxed))
        request_cancel(request);
    else
        prompt_prepare(request, engine_model(x->server->engine),
                       engine_info(x->server->engine)->n_ctx);
    request_hand(request, OWNER_WORKER, OWNER_LOOP);
}

static void after_tokenize(uv_work_t *work, int status)
{
    struct exchange *x = work->data;

    assert(status == 0); /* nobody cancels it */
    if (atomic_load_explicit(&x->request->cancelled, memory_order_relaxed))
        request_cancel(x->request); /* meanwhile */
    if (x->request->outcome != OUTCOME_OPEN) {
        come_home(x);
        return;
    }
    request_move(x->request, STAGE_ADMIT, clock_us());
    engine_submit(x->server->engine, x->request);
}

/* ---- PARSE and QUEUE ---- */

static void set_deadline(struct exchange *x, uint64_t now_us)
{
    const struct settings *settings = x->server->settings;
    struct request *request = x->request;
    uint32_t ms = (uint32_t)request->ask.timeout_ms;

    if (ms == 0)
        ms = settings->timeout_ms;
    if (settings->max_timeout_ms && (ms == 0 || ms > settings->max_timeout_ms))
        ms = settings->max_timeout_ms;
    request->timeout_ms = ms;
    request->deadline_us = ms ? now_us + (uint64_t)ms * US_PER_MS : 0;
}

static void enqueue(struct exchange *x)
{
    struct server *server = x->server;
    struct request *request = x->request;
    uint64_t now_us = clock_us();

    if (!gate_enter(&server->gate, now_us)) {
        x->answer.retry_ms = gate_retry_ms(&server->gate, now_us);
        api_error_queue_full(&request->error, server->settings->max_queue,
                             (x->answer.retry_ms + 999) / 1000);
        request_failed(request);
        exchange_refused(x);
        return;
    }
    show_waiting(server);
    metrics_add(&server->metrics, COUNT_ACCEPTED, 1);
    request->accepted = true;
    request->queued_us = now_us;
    if (request->ask.has_seed)
        request->seed = request->ask.seed;
    set_deadline(x, now_us);
    request_move(request, STAGE_QUEUE, now_us);
    x->stream.last_us = now_us;
    x->work.data = x;
    exchange_lend(x);
    uv_queue_work(&server->loop.uv, &x->work, tokenize, after_tokenize);
}

void generate_handle(struct exchange *x)
{
    struct server *server = x->server;
    struct request *request = x->request;

    request_move(request, STAGE_PARSE, clock_us());
    if (server->life == LIFE_LOADING) {
        exchange_refuse(x, API_LOADING, "the model is still loading; try again soon.");
        return;
    }
    if (server->life == LIFE_CLOSING) {
        exchange_refuse(x, API_DRAINING, "the server is closing; try another one.");
        return;
    }
    int r = parse_generate(x->body.data ? x->body.data : "", x->body.len, &request->ask,
                           &request->error);
    buf_done(&x->body);
    if (r == ST_OK)
        r = prompt_check(request, engine_model(server->engine), server->name,
                         engine_info(server->engine)->n_ctx);
    if (r == ST_OK) {
        enqueue(x);
        return;
    }
    request_failed(request);
    exchange_refused(x);
}

/* ---- events ---- */

static void text_came(struct exchange *x, const struct event *event)
{
    if (x->gone || x->completed)
        return;
    int r = stream_piece(&x->stream, x->request->id, event->text, event->len, clock_us());
    exchange_stream(x);
    exchange_wake(x);
    if (r == ST_OK)
        return;
    /* The client does not read: it must neither hold memory nor a place in the batch. */
    metrics_add(&x->server->metrics, COUNT_SLOW_CLIENTS, 1);
    exchange_abandon(x);
    conn_cut(x->conn);
}

void generate_event(struct event *event)
{
    struct exchange *x = event->request->exchange;

    switch (event->kind) {
    case EVENT_ADMITTED:
        x->admitted = true;
        gate_admitted(&x->server->gate, clock_us());
        show_waiting(x->server);
        break;
    case EVENT_TEXT:
        text_came(x, event);
        free(event);
        break;
    case EVENT_HOME:
        come_home(x);
        break;
    case EVENT_LOADED:
        assert(!"EVENT_LOADED is life.c's");
    }
}

/* Before the first token the status is still open, so a stream begins with a ping only if it can't
 * be wanted for a deadline any more: there is none, or the prompt is already being computed. */
static bool wants_ping(const struct exchange *x, uint64_t now_us)
{
    uint64_t limit_us = (uint64_t)x->server->limits.ping_ms * US_PER_MS;

    if (x->home || x->gone || x->completed || now_us < x->stream.last_us + limit_us)
        return false;
    /* ask and deadline do not change while the request is away. */
    return x->request->ask.stream &&
           (x->answer.kind == ANSWER_STREAM || x->admitted || x->request->deadline_us == 0);
}

void generate_tick(struct server *server, uint64_t now_us)
{
    for (struct exchange *x = server->http.exchanges; x; x = x->next) {
        if (!wants_ping(x, now_us))
            continue;
        stream_ping(&x->stream, now_us);
        exchange_stream(x);
        exchange_wake(x);
    }
}
