#include "server/http.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <microhttpd.h>

#include "config/limits.h"
#include "config/log.h"
#include "server/clock.h"
#include "server/conn.h"
#include "server/exchange.h"
#include "server/filter.h"
#include "server/routes.h"

#define BACKLOG 1024u
#define CONNECTION_MEMORY ((size_t)32 << 10) /* headers beyond it are 431, a longer URI 414 */

static enum MHD_Result take_header(void *arg, enum MHD_ValueKind kind, const char *name,
                                   size_t name_len, const char *value, size_t value_len)
{
    (void)kind;
    filter_header(arg, name, name_len, value, value_len);
    return MHD_YES;
}

static const char *header(struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

static bool is_encoded(const char *encoding)
{
    return encoding && strcasecmp(encoding, "identity") != 0;
}

/* What the headers alone decide; false: refused, request->error says why. */
static bool check_route(struct exchange *x, const char *method, const char *path,
                        const struct filter *filter)
{
    struct api_error *err = &x->request->error;
    const struct route *known;

    x->route = route_find(method, path, &known);
    if (!x->route && !known) {
        api_error_route(err, method, path);
    } else if (!x->route) {
        api_error_method(err, method, path, known->allow);
        x->answer.allow = known->allow;
    } else if (strcmp(method, "POST") == 0 && !parse_is_json(header(x, "Content-Type"))) {
        api_error_media(err, header(x, "Content-Type"));
    } else if (strcmp(method, "POST") == 0 && is_encoded(header(x, "Content-Encoding"))) {
        api_error_encoding(err, header(x, "Content-Encoding"));
    } else if (filter->length > LIMIT_BODY_BYTES) {
        api_error_body_too_large(err, LIMIT_BODY_BYTES);
    } else {
        return true;
    }
    request_failed(x->request);
    return false;
}

/* First call: only the headers are there. */
static enum MHD_Result begin(struct server *server, struct MHD_Connection *connection,
                             const char *const line[3], void **context)
{
    const char *method = line[0], *path = line[1], *version = line[2];
    struct conn *conn =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    struct exchange *x = conn ? exchange_new(server, conn, connection) : NULL;
    struct filter filter = {0};

    if (!x)
        return MHD_NO;
    *context = x;
    conn_begin(conn, x);
    metrics_add(&server->metrics, COUNT_HTTP_REQUESTS, 1);
    request_set_trace(x->request, header(x, "X-Request-Id"));
    snprintf(x->request->method, sizeof(x->request->method), "%s", method);
    snprintf(x->request->path, sizeof(x->request->path), "%s", path);

    MHD_get_connection_values_n(connection, MHD_HEADER_KIND, take_header, &filter);
    if (filter_verdict(&filter, version, &x->request->error) != ST_OK) {
        /* Answering now makes libmicrohttpd close and drop whatever follows: it is not to be
         * parsed. */
        request_failed(x->request);
        x->dispatched = true;
        exchange_refused(x);
        return exchange_deliver(x);
    }
    if (check_route(x, method, path, &filter))
        return MHD_YES;
    request_move(x->request, STAGE_ROUTE, clock_us());
    x->dispatched = true;
    exchange_refused(x);
    if (!filter_has_body(&filter))
        return MHD_YES; /* answered at the next call, and the connection stays */
    if (header(x, "Expect"))
        return exchange_deliver(x); /* instead of 100 */
    conn_refuse_raw(conn, x);
    return MHD_YES;
}

static enum MHD_Result take_body(struct exchange *x, const char *bytes, size_t len)
{
    if (x->raw)
        return x->conn->state == CONN_CLOSING ? MHD_NO : MHD_YES;
    if (x->dispatched)
        return MHD_YES; /* refused already, answered when the body ends */
    if (buf_put(&x->body, bytes, len) == ST_OK)
        return MHD_YES;
    if (x->body.status == ST_TOOLONG) {
        api_error_body_too_large(&x->request->error, LIMIT_BODY_BYTES);
        request_failed(x->request);
        exchange_refused(x);
    } else {
        exchange_refuse(x, API_INTERNAL, "no memory for the body.");
    }
    x->dispatched = true;
    conn_refuse_raw(x->conn, x);
    return MHD_YES;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **context)
{
    struct exchange *x = *context;

    if (!x)
        return begin(arg, connection, (const char *const[]){method, path, version}, context);
    if (*upload_size > 0) {
        size_t len = *upload_size;
        *upload_size = 0;
        return take_body(x, upload, len);
    }
    if (x->raw)
        return MHD_NO; /* answered long ago, and all was read */
    if (!x->dispatched) {
        x->dispatched = true;
        conn_received(x->conn);
        request_move(x->request, STAGE_ROUTE, clock_us());
        x->route->handle(x);
    }
    return exchange_deliver(x);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode why)
{
    struct exchange *x = *context;

    (void)arg;
    (void)connection;
    if (!x)
        return;
    *context = NULL;
    conn_end(x->conn);
    /* A stream that broke off is over for its reader too. */
    if (x->answer.kind == ANSWER_STREAM && x->home && x->request->outcome == OUTCOME_FAILED)
        conn_shut(x->conn);
    exchange_completed(x, why == MHD_REQUEST_TERMINATED_COMPLETED_OK);
}

static void on_mhd_log(void *arg, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));
static void on_mhd_log(void *arg, const char *fmt, va_list args)
{
    char text[512];

    (void)arg;
    vsnprintf(text, sizeof(text), fmt, args);
    text[strcspn(text, "\n")] = '\0';
    log_event(LOG_DEBUG, "libmicrohttpd", log_str("text", text));
}

int http_start(struct server *server, int listen_fd, struct error *err)
{
    const struct http_limits *limits = &server->limits;
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_LISTEN_SOCKET, listen_fd, NULL},
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)on_mhd_log, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, NULL},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)conn_notify, server},
        {MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)((limits->idle_ms + 999) / 1000), NULL},
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)limits->max_connections, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)CONNECTION_MEMORY, NULL},
        {MHD_OPTION_LISTEN_BACKLOG_SIZE, (intptr_t)BACKLOG, NULL},
        /* 1 makes 0.9.75 send its status line twice; filter.c checks what it would. */
        {MHD_OPTION_STRICT_FOR_CLIENT, 0, NULL},
        {MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, NULL},
        {MHD_OPTION_END, 0, NULL},
    };

    server->http.daemon =
        MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL,
                         NULL, on_request, server, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    if (!server->http.daemon)
        return error_set(err, ST_IO, "the HTTP server can't start");
    return ST_OK;
}

void http_stop(struct server *server)
{
    if (!server->http.daemon)
        return;
    for (struct exchange *x = server->http.exchanges; x; x = x->next)
        exchange_abandon(x);
    MHD_run(server->http.daemon);
    MHD_stop_daemon(server->http.daemon);
    server->http.daemon = NULL;
}
