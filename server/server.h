/* server.h - what the parts of the loop share.
 *
 * Owner:   the loop thread, except metrics (any thread) and the model (constant once loaded).
 * Memory:  one struct on server_main()'s stack; parts free themselves.
 * Errors, threads: those of the parts. */
#ifndef OCTET_SERVER_SERVER_H
#define OCTET_SERVER_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "config/progress.h"
#include "config/settings.h"
#include "server/engine.h"
#include "server/gate.h"
#include "server/loop.h"
#include "server/metrics.h"

struct conn;
struct exchange;

/* Times and sizes of the HTTP side that are not settings; tests shorten them. */
struct http_limits {
    uint32_t header_ms;       /* from a request's first byte to the end of its headers */
    uint32_t body_ms;         /* then for its body, */
    uint32_t body_rate;       /* and a second more for so many bytes that came */
    uint32_t idle_ms;         /* a connection between requests */
    uint32_t linger_ms;       /* what a refused client still sends is read for so long */
    uint32_t ping_ms;         /* a stream is silent for at most so long */
    uint32_t tick_ms;         /* how often all of these are looked at */
    uint32_t flush_ms;        /* after the drain: time to write out what is ready */
    uint32_t max_connections; /* held against the descriptor limit too */
    size_t stream_bytes;      /* of a stream that its client has not read; more ends it */
};

enum life {
    LIFE_LOADING,
    LIFE_READY,
    LIFE_DRAINING, /* not ready, but new work is still taken (--drain-delay-ms) */
    LIFE_CLOSING,  /* new work is 503; what runs may finish (--drain-timeout-ms) */
};

struct http {
    struct MHD_Daemon *daemon;
    struct conn *conns; /* doubly linked */
    uint32_t n_conns;
    struct exchange *exchanges; /* doubly linked */
    uint32_t n_exchanges;
};

struct server {
    const struct settings *settings;
    struct http_limits limits;
    struct metrics metrics;
    struct loop loop;
    struct http http;
    struct engine *engine;
    struct gate gate;
    enum life life;
    uv_timer_t life_timer; /* the drain's clock */
    const char *name;      /* the model is served under it; NULL while loading */
    int64_t loaded_unix;
    struct progress progress; /* of loading: the engine thread's until EVENT_LOADED */
    uint32_t port;            /* the one bound */
    int exit_status;
};

struct http_limits http_limits_default(void);

/* octetd as a whole: returns the process's exit status. */
int server_main(int argc, char **argv, const struct http_limits *limits);

#endif
