#include "server/exchange.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/sse.h"
#include "config/limits.h"
#include "server/clock.h"
#include "server/conn.h"
#include "server/life.h"
#include "server/routes.h"

#define ANSWER_MAX ((size_t)512 << 20) /* a whole answer's JSON: 64 MiB of text, escaped */
#define STREAM_BLOCK 8192u             /* bytes that libmicrohttpd asks the reader for */
#define LOADING_RETRY_MS 2000u
#define DRAINING_RETRY_MS 5000u
#define STATUS_CLIENT_LEFT 499 /* for the log only, as nginx writes it */

struct exchange *exchange_new(struct server *server, struct conn *conn,
                              struct MHD_Connection *connection)
{
    struct exchange *x = calloc(1, sizeof(*x));
    uint64_t now_us = clock_us();

    if (!x)
        return NULL;
    x->request = request_new(now_us);
    if (!x->request) {
        free(x);
        return NULL;
    }
    x->server = server;
    x->conn = conn;
    x->connection = connection;
    x->home = true;
    x->body_began_us = now_us;
    x->request->exchange = x;
    buf_init(&x->body, LIMIT_BODY_BYTES);
    buf_init(&x->answer.body, ANSWER_MAX);
    stream_init(&x->stream, server->limits.stream_bytes, now_us);
    x->next = server->http.exchanges;
    if (x->next)
        x->next->prev = x;
    server->http.exchanges = x;
    server->http.n_exchanges++;
    return x;
}

static void release(struct exchange *x)
{
    struct server *server = x->server;
    struct request *request = x->request;

    if (!x->completed || !x->home)
        return;
    if (request->outcome == OUTCOME_OPEN)
        request_cancel(request);
    request_close(request, x->sent_status ? x->sent_status : STATUS_CLIENT_LEFT,
                  x->route && x->route->quiet && request->outcome == OUTCOME_FINISHED,
                  &server->metrics);
    if (x->next)
        x->next->prev = x->prev;
    if (x->prev)
        x->prev->next = x->next;
    else
        server->http.exchanges = x->next;
    server->http.n_exchanges--;
    request_free(request);
    buf_done(&x->body);
    buf_done(&x->answer.body);
    stream_done(&x->stream);
    free(x);
    life_check(server);
}

/* ---- answers ---- */

void exchange_answer(struct exchange *x, int status, const char *content_type)
{
    assert(x->answer.kind == ANSWER_NONE);
    x->answer.kind = ANSWER_WHOLE;
    x->answer.status = status;
    x->answer.content_type = content_type;
    exchange_wake(x);
}

void exchange_refused(struct exchange *x)
{
    const struct api_error *err = &x->request->error;

    assert(x->request->outcome == OUTCOME_FAILED);
    if (err->code == API_LOADING)
        x->answer.retry_ms = LOADING_RETRY_MS;
    else if (err->code == API_DRAINING)
        x->answer.retry_ms = DRAINING_RETRY_MS;
    buf_reset(&x->answer.body);
    api_error_render(err, &x->answer.body);
    exchange_answer(x, err->http_status, API_ERROR_CONTENT_TYPE);
}

void exchange_refuse(struct exchange *x, enum api_code code, const char *fmt, ...)
{
    char message[sizeof(x->request->error.message)];
    va_list args;

    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    request_fail(x->request, code, "%s", message);
    exchange_refused(x);
}

void exchange_stream(struct exchange *x)
{
    if (x->answer.kind != ANSWER_NONE)
        return;
    x->answer.kind = ANSWER_STREAM;
    x->answer.status = 200;
    x->answer.content_type = SSE_CONTENT_TYPE;
    exchange_wake(x);
}

void exchange_suspend(struct exchange *x)
{
    assert(!x->suspended);
    x->suspended = true;
    MHD_suspend_connection(x->connection);
}

void exchange_wake(struct exchange *x)
{
    if (!x->suspended || x->completed)
        return;
    x->suspended = false;
    MHD_resume_connection(x->connection);
    loop_kick(&x->server->loop);
}

/* libmicrohttpd asks for the next bytes. Returning 0 without suspending would make it spin. */
static ssize_t read_stream(void *arg, uint64_t pos, char *out, size_t max)
{
    struct exchange *x = arg;

    (void)pos;
    if (x->gone)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    size_t n = stream_read(&x->stream, out, max);
    if (n > 0)
        return (ssize_t)n;
    if (x->stream.ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    exchange_suspend(x);
    return 0;
}

static void add_headers(struct exchange *x, struct MHD_Response *response)
{
    const struct answer *answer = &x->answer;
    char number[24];

    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->content_type);
    MHD_add_response_header(response, "X-Request-Id", x->request->trace);
    if (answer->kind == ANSWER_STREAM) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache, no-transform");
        MHD_add_response_header(response, "X-Accel-Buffering", "no");
    }
    if (answer->allow)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, answer->allow);
    if (answer->retry_ms) {
        snprintf(number, sizeof(number), "%u", (answer->retry_ms + 999) / 1000);
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, number);
        snprintf(number, sizeof(number), "%u", answer->retry_ms);
        MHD_add_response_header(response, "Retry-After-Ms", number);
    }
    if (life_is_ending(x->server))
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
}

static struct MHD_Response *make_response(struct exchange *x)
{
    if (x->answer.kind == ANSWER_STREAM)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, x,
                                                 NULL);
    size_t len = 0;
    char *body = buf_take(&x->answer.body, &len);
    if (!body)
        return NULL; /* out of memory: the connection ends */
    struct MHD_Response *response =
        MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
    if (!response)
        free(body);
    return response;
}

enum MHD_Result exchange_deliver(struct exchange *x)
{
    enum MHD_Result r;
    struct MHD_Response *response;

    if (x->gone)
        return MHD_NO;
    if (x->answer.kind == ANSWER_NONE) {
        exchange_suspend(x);
        return MHD_YES;
    }
    response = make_response(x);
    if (!response)
        return MHD_NO;
    add_headers(x, response);
    r = MHD_queue_response(x->connection, (unsigned)x->answer.status, response);
    MHD_destroy_response(response);
    if (r == MHD_YES)
        x->sent_status = x->answer.status;
    return r;
}

/* ---- away and home ---- */

void exchange_lend(struct exchange *x)
{
    assert(x->home);
    x->home = false;
    if (x->conn->gone)
        exchange_abandon(x); /* it sent a request and left at once */
}

void exchange_home(struct exchange *x)
{
    assert(!x->home);
    x->home = true;
    release(x);
}

void exchange_abandon(struct exchange *x)
{
    x->gone = true;
    if (!x->home)
        atomic_store_explicit(&x->request->cancelled, true, memory_order_relaxed);
    exchange_wake(x);
}

void exchange_completed(struct exchange *x, bool in_full)
{
    struct request *request = x->request;

    x->completed = true;
    x->connection = NULL;
    x->conn = NULL;
    if (!in_full && !x->raw) {
        metrics_add(&x->server->metrics, COUNT_DISCONNECTS, 1);
        if (!x->home)
            atomic_store_explicit(&request->cancelled, true, memory_order_relaxed);
        else if (request->outcome == OUTCOME_FINISHED)
            request->outcome = OUTCOME_CANCELLED; /* made, but not taken */
    }
    release(x);
}
