#include "server/conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "api/buf.h"
#include "server/clock.h"
#include "server/exchange.h"
#include "server/tcp.h"

#define RAW_MAX 8192u

static void enter(struct conn *conn, enum conn_state state)
{
    conn->state = state;
    conn->since_us = clock_us();
}

/* Both FIN and RST. While a connection is suspended libmicrohttpd does not see them at all. */
static void on_disconnect(uv_poll_t *handle, int status, int events)
{
    struct conn *conn = handle->data;

    (void)status;
    (void)events;
    uv_poll_stop(handle);
    conn->gone = true;
    if (conn->exchange && !conn->exchange->home)
        exchange_abandon(conn->exchange);
}

static void start_watch(struct conn *conn)
{
    conn->watch.data = conn;
    if (uv_poll_init(&conn->server->loop.uv, &conn->watch, conn->fd) != 0)
        return; /* the loss is noticed at the next write: worse, but not wrong */
    conn->watching = true;
    uv_poll_start(&conn->watch, UV_DISCONNECT, on_disconnect);
}

static void on_watch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static struct conn *conn_new(struct server *server, int fd)
{
    struct conn *conn = calloc(1, sizeof(*conn));

    if (!conn)
        return NULL;
    conn->server = server;
    conn->fd = fd;
    start_watch(conn);
    enter(conn, CONN_IDLE);
    conn->next = server->http.conns;
    if (conn->next)
        conn->next->prev = conn;
    server->http.conns = conn;
    if (server->http.n_conns++ == 0)
        loop_tick(&server->loop, server->limits.tick_ms);
    return conn;
}

static void conn_free(struct server *server, struct conn *conn)
{
    if (conn->next)
        conn->next->prev = conn->prev;
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        server->http.conns = conn->next;
    server->http.n_conns--;
    /* libmicrohttpd closes the descriptor after this. */
    if (conn->watching)
        uv_close((uv_handle_t *)&conn->watch, on_watch_closed);
    else
        free(conn);
}

void conn_notify(void *arg, struct MHD_Connection *connection, void **context,
                 enum MHD_ConnectionNotificationCode what)
{
    struct server *server = arg;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *context = conn_new(server, info->connect_fd); /* NULL: http.c refuses its requests */
    } else if (*context) {
        conn_free(server, *context);
        *context = NULL;
    }
    metrics_set(&server->metrics, GAUGE_CONNECTIONS, server->http.n_conns);
}

void conn_begin(struct conn *conn, struct exchange *exchange)
{
    conn->exchange = exchange;
    conn_received(conn);
    enter(conn, CONN_BUSY);
}

void conn_received(struct conn *conn)
{
    conn->bytes_seen = tcp_bytes_received(conn->fd);
}

void conn_end(struct conn *conn)
{
    conn->exchange = NULL;
    if (conn->state == CONN_CLOSING)
        return;
    /* What came since the request was complete belongs to the next one. */
    enter(conn, tcp_bytes_received(conn->fd) == conn->bytes_seen ? CONN_IDLE : CONN_HEADERS);
}

void conn_shut(struct conn *conn)
{
    shutdown(conn->fd, SHUT_RD);
    enter(conn, CONN_CLOSING);
}

void conn_cut(struct conn *conn)
{
    shutdown(conn->fd, SHUT_RDWR);
    enter(conn, CONN_CLOSING);
}

/* The connection's send buffer is empty here: libmicrohttpd answers one request after the other. */
static void send_raw(int fd, int status, const char *headers, const struct buf *body)
{
    struct buf out;

    buf_init(&out, RAW_MAX);
    buf_printf(&out,
               "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n",
               status, http_reason(status), API_ERROR_CONTENT_TYPE, body->len);
    buf_printf(&out, "%s\r\n", headers);
    buf_put(&out, body->data, body->len);
    if (out.status == ST_OK && send(fd, out.data, out.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        /* It is being closed anyway. */
    }
    buf_done(&out);
}

void conn_refuse_raw(struct conn *conn, struct exchange *x)
{
    const char *allow = x->answer.allow;
    char headers[TRACE_MAX + 80];

    snprintf(headers, sizeof(headers), "X-Request-Id: %s\r\n%s%s%s", x->request->trace,
             allow ? "Allow: " : "", allow ? allow : "", allow ? "\r\n" : "");
    send_raw(conn->fd, x->answer.status, headers, &x->answer.body);
    x->raw = true;
    x->sent_status = x->answer.status;
    enter(conn, CONN_BUSY); /* from now on the lingering counts */
}

static void headers_too_slow(struct server *server, struct conn *conn)
{
    struct api_error err;
    struct buf body;

    api_error_set(&err, API_REQUEST_TIMEOUT, NULL, "the headers did not arrive within %u ms.",
                  server->limits.header_ms);
    buf_init(&body, RAW_MAX);
    if (api_error_render(&err, &body) == ST_OK)
        send_raw(conn->fd, err.http_status, "", &body);
    buf_done(&body);
    metrics_refused(&server->metrics, err.code);
    metrics_add(&server->metrics, COUNT_HTTP_TIMEOUTS, 1);
    conn_shut(conn);
}

static void body_too_slow(struct server *server, struct conn *conn)
{
    struct exchange *x = conn->exchange;

    metrics_add(&server->metrics, COUNT_HTTP_TIMEOUTS, 1);
    exchange_refuse(x, API_REQUEST_TIMEOUT,
                    "the body did not arrive in time: %zu bytes came; send it within %u ms and a "
                    "second more for every %u bytes.",
                    x->body.len, server->limits.body_ms, server->limits.body_rate);
    conn_refuse_raw(conn, x);
}

static void sweep_busy(struct server *server, struct conn *conn, uint64_t now_us)
{
    const struct http_limits *limits = &server->limits;
    struct exchange *x = conn->exchange;

    if (x->raw) {
        if (now_us - conn->since_us > (uint64_t)limits->linger_ms * US_PER_MS)
            conn_shut(conn);
        return;
    }
    uint64_t allowed_ms = limits->body_ms + (uint64_t)x->body.len * 1000 / limits->body_rate;
    if (!x->dispatched && now_us - x->body_began_us > allowed_ms * US_PER_MS)
        body_too_slow(server, conn);
}

void conn_sweep(struct server *server, uint64_t now_us)
{
    for (struct conn *conn = server->http.conns; conn; conn = conn->next) {
        switch (conn->state) {
        case CONN_IDLE: /* told from a slow header by what the kernel has received */
            if (tcp_bytes_received(conn->fd) != conn->bytes_seen)
                enter(conn, CONN_HEADERS);
            break;
        case CONN_HEADERS:
            if (now_us > conn->since_us &&
                now_us - conn->since_us > (uint64_t)server->limits.header_ms * US_PER_MS)
                headers_too_slow(server, conn);
            break;
        case CONN_BUSY:
            sweep_busy(server, conn, now_us);
            break;
        case CONN_CLOSING:
            break;
        }
        /* A FIN that came together with bytes which make no whole request goes unnoticed: 0.9.75
         * reads once and waits for an edge that never comes. Shutting down makes one. */
        if (conn->gone || conn->state == CONN_CLOSING)
            shutdown(conn->fd, SHUT_RD);
    }
}
