#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/parse.h"
#include "config/log.h"
#include "model/model.h"
#include "server/clock.h"
#include "server/conn.h"
#include "server/generate.h"
#include "server/http.h"
#include "server/life.h"
#include "server/listen.h"
#include "server/process.h"
#include "server/server.h"

#define SPARE_FDS 64u /* the model, epoll, pipes, logs */
#define EXIT_USAGE 2

struct http_limits http_limits_default(void)
{
    return (struct http_limits){
        .header_ms = 10000,
        .body_ms = 30000,
        .body_rate = 8192,
        .idle_ms = 75000,
        .linger_ms = 2000,
        .ping_ms = 15000,
        .tick_ms = 500,
        .flush_ms = 2000,
        .max_connections = 16384,
        .stream_bytes = (size_t)256 << 10,
    };
}

/* What the engine sent since the last turn. */
static void on_wake(void *arg)
{
    struct server *server = arg;
    struct mail *next;

    for (struct mail *mail = queue_take(engine_outbox(server->engine)); mail; mail = next) {
        struct event *event = (struct event *)mail;

        next = mail->next; /* the event is gone once it is handled */
        if (event->kind == EVENT_LOADED)
            life_loaded(server);
        else
            generate_event(event);
    }
}

static void on_tick(void *arg)
{
    struct server *server = arg;
    uint64_t now_us = clock_us();

    conn_sweep(server, now_us);
    generate_tick(server, now_us);
    /* The last tick comes after the last connection: at its limit libmicrohttpd stops listening,
     * and listens again in the first run after somebody left. */
    if (server->http.n_conns == 0)
        loop_tick(&server->loop, 0);
}

static int start(struct server *server, struct error *err)
{
    const struct settings *settings = server->settings;
    struct loop_calls calls = {
        .wake = on_wake, .tick = on_tick, .signal = life_signal, .arg = server};
    uint64_t fds = process_raise_fd_limit();
    int fd = -1;
    int r = listen_open(settings->host, settings->port, &fd, &server->port, err);

    if (r != ST_OK)
        return r;
    if (server->limits.max_connections + SPARE_FDS > fds)
        server->limits.max_connections =
            fds > 2 * SPARE_FDS ? (uint32_t)fds - SPARE_FDS : SPARE_FDS;
    r = loop_open(&server->loop, &calls, &server->metrics, err);
    if (r == ST_OK)
        r = http_start(server, fd, err);
    if (r != ST_OK) {
        close(fd);
        return r;
    }
    r = loop_drive(&server->loop, server->http.daemon, err);
    if (r == ST_OK)
        r = life_start(server, err);
    if (r == ST_OK)
        log_event(LOG_INFO, "listening", log_str("host", settings->host),
                  log_uint("port", server->port), log_str("version", OCTET_VERSION));
    return r;
}

static int serve(const struct settings *settings, const struct http_limits *limits)
{
    static struct server server; /* handles inside must not move */
    struct error err = {0};

    server.settings = settings;
    server.limits = *limits;
    int r = start(&server, &err);
    if (r == ST_OK) {
        loop_run(&server.loop);
    } else {
        fprintf(stderr, "octetd: %s\n", err.text);
        server.exit_status = EXIT_FAILURE;
    }
    /* Whoever is still inside is cancelled here and comes home; the loop is the last to go, since
     * the engine wakes it and workers come back to it. */
    http_stop(&server);
    engine_stop(server.engine);
    if (server.engine)
        on_wake(&server);
    loop_close(&server.loop);
    engine_free(server.engine);
    return server.exit_status;
}

static void warn_all(const char *warnings)
{
    while (*warnings) {
        char line[512];
        int len = 0;

        while (warnings[len] && warnings[len] != '\n' && len < (int)sizeof(line) - 1)
            len++;
        snprintf(line, sizeof(line), "%.*s", len, warnings);
        log_event(LOG_WARN, "settings", log_str("text", line));
        warnings += len;
        warnings += *warnings == '\n';
    }
}

int server_main(int argc, char **argv, const struct http_limits *limits)
{
    extern char **environ;
    struct settings settings = {0};
    enum flags_action action = FLAGS_RUN;
    struct error err = {0};

    if (settings_load(argc, argv, environ, &settings, &action, &err) != ST_OK ||
        (action == FLAGS_RUN && model_check_cpu(&err) != ST_OK)) {
        fprintf(stderr, "octetd: %s\n", err.text);
        return EXIT_USAGE;
    }
    if (action == FLAGS_HELP) {
        flags_help(settings_table(), stdout);
        return EXIT_SUCCESS;
    }
    if (action == FLAGS_VERSION) {
        flags_version("octetd", stdout);
        return EXIT_SUCCESS;
    }
    warn_all(settings.warnings);
    signal(SIGPIPE, SIG_IGN);
    /* Tokenizing steals time from the engine: two at once are enough. */
    setenv("UV_THREADPOOL_SIZE", "2", 0);
    parse_init();
    int status = serve(&settings, limits);
    settings_done(&settings);
    return status;
}
