#include "server/life.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "config/cpus.h"
#include "config/log.h"
#include "server/clock.h"

int life_start(struct server *server, struct error *err)
{
    const struct settings *settings = server->settings;
    struct cpus cpus;

    cpus_read(NULL, 0, &cpus);
    progress_init(&server->progress);
    struct engine_opts opts = {
        .model = {.path = settings->model,
                  .precision = (enum model_precision)settings->precision,
                  .progress = {.fn = progress_update, .arg = &server->progress}},
        .batch = {.runner = {.n_ctx = settings->ctx,
                             .max_seqs = settings->max_batch,
                             .kv_bytes = settings->kv_cache,
                             .prefix_bytes = settings->prefix_cache,
                             .kv = (enum model_kv)settings->kv,
                             .threads = settings->threads ? settings->threads : cpus.threads},
                  .prefix_cache = settings->prefix_cache > 0,
                  .itl_target_ms = settings->itl_target_ms,
                  .draft_max = settings->draft_max},
        .require = &settings->require,
        .metrics = &server->metrics,
        .wake = loop_wake,
        .wake_arg = &server->loop,
    };
    server->life = LIFE_LOADING;
    server->life_timer.data = server;
    uv_timer_init(&server->loop.uv, &server->life_timer);
    return engine_start(&opts, &server->engine, err);
}

/* The longest sequence is shorter than asked for, or than the model's: say why. */
static void warn_context(const struct server *server, uint32_t ctx, uint32_t trained)
{
    uint32_t wanted = server->settings->ctx ? server->settings->ctx : trained;

    if (ctx >= wanted)
        return;
    log_event(
        LOG_WARN, "context",
        log_str("text", ctx == trained
                            ? "--ctx is more than the model was made for: its own is used"
                            : "the key/value pages hold no longer sequence: raise --kv-cache"),
        log_uint("wanted", wanted), log_uint("ctx", ctx));
}

static void say_ready(const struct server *server)
{
    const struct model_info *model = model_info(engine_model(server->engine));
    const struct runner_info *runner = engine_info(server->engine);

    warn_context(server, runner->n_ctx, model->n_ctx_train);
    log_event(LOG_INFO, "ready", log_str("model", server->name), log_str("scheme", model->scheme),
              log_str("kernels", model->kernels), log_uint("ctx", runner->n_ctx),
              log_uint("max_batch", runner->max_seqs), log_uint("threads", runner->threads),
              log_uint("weight_bytes", model->weight_bytes),
              log_uint("kv_bytes_max", runner->page_bytes * runner->n_pages));
}

void life_loaded(struct server *server)
{
    struct error err;

    progress_end(&server->progress);
    if (engine_loaded(server->engine, &err) != ST_OK) {
        fprintf(stderr, "octetd: %s\n", err.text);
        server->exit_status = EXIT_FAILURE;
        loop_stop(&server->loop);
        return;
    }
    const char *alias = server->settings->alias;
    server->name = alias ? alias : model_info(engine_model(server->engine))->name;
    server->loaded_unix = (int64_t)time(NULL);
    server->life = LIFE_READY;
    gate_init(&server->gate, engine_info(server->engine)->max_seqs, server->settings->max_queue);
    metrics_set(&server->metrics, GAUGE_READY, 1);
    say_ready(server);
}

/* ---- the end ---- */

static void flush_is_over(uv_timer_t *timer)
{
    struct server *server = timer->data;

    loop_stop(&server->loop);
}

static void drain_is_over(uv_timer_t *timer)
{
    struct server *server = timer->data;

    log_event(LOG_WARN, "drain_timeout", log_uint("requests", server->gate.inside));
    engine_cut(server->engine);
    uv_timer_start(timer, flush_is_over, server->limits.flush_ms, 0);
}

static void delay_is_over(uv_timer_t *timer)
{
    struct server *server = timer->data;

    server->life = LIFE_CLOSING;
    metrics_set(&server->metrics, GAUGE_READY, 0);
    uv_timer_start(timer, drain_is_over, server->settings->drain_timeout_ms, 0);
    life_check(server);
}

void life_signal(void *arg, int signum)
{
    struct server *server = arg;

    log_event(LOG_INFO, "signal", log_str("name", signum == SIGTERM ? "SIGTERM" : "SIGINT"),
              log_str("life", life_name(server)));
    if (life_is_ending(server))
        _exit(128 + signum);
    if (server->life == LIFE_LOADING)
        _exit(EXIT_SUCCESS); /* loading can't be interrupted, and nothing else has begun */
    server->life = LIFE_DRAINING;
    uv_timer_start(&server->life_timer, delay_is_over, server->settings->drain_delay_ms, 0);
}

void life_check(struct server *server)
{
    if (server->life == LIFE_CLOSING && server->http.n_exchanges == 0)
        loop_stop(&server->loop);
}

bool life_is_ending(const struct server *server)
{
    return server->life == LIFE_DRAINING || server->life == LIFE_CLOSING;
}

const char *life_name(const struct server *server)
{
    switch (server->life) {
    case LIFE_LOADING:
        return "loading";
    case LIFE_READY:
        return "ready";
    default:
        return "draining";
    }
}
