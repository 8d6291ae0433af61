#include "server/engine.h"

#include <assert.h>
#include <stdlib.h>

#include "config/cpus.h"
#include "server/clock.h"

struct engine {
    struct engine_opts opts;
    pthread_t thread;
    struct queue inbox, outbox;
    /* Set by the loop, read by the thread once a step; relaxed, since queue_poke() orders them. */
    atomic_bool stop, cut;

    struct event loaded_event;
    int loaded; /* status of loading; written before loaded_event is put, constant afterwards */
    struct error loaded_err;
    struct model *model;
    struct batch batch;
};

/* Does the model's record promise what the settings ask for? */
static int check_quality(struct engine *engine)
{
    const struct model_info *info = model_info(engine->model);
    if (!engine->opts.require)
        return ST_OK;
    struct quality_run run = {.path = engine->opts.model.path,
                              .scheme = info->scheme,
                              .precision = engine_precision(engine),
                              .kv = engine_kv(engine),
                              .quality = info->quality,
                              .changed = info->quality_stale};

    return quality_require(engine->opts.require, &run, &engine->loaded_err);
}

static int load(struct engine *engine)
{
    struct batch_opts opts = engine->opts.batch;
    struct model_opts model = engine->opts.model;
    int r;

    model.check_quality = engine->opts.require && quality_asked(engine->opts.require);
    r = model_open(&model, &engine->model, &engine->loaded_err);

    if (r != ST_OK)
        return r;
    if (opts.runner.kv_bytes == 0) {
        uint64_t left = memory_available(NULL);
        opts.runner.kv_bytes = left == UINT64_MAX ? 0 : left / 2;
    }
    r = batch_open(&engine->batch, engine->model, &opts, engine->opts.metrics, &engine->outbox,
                   &engine->loaded_err);
    return r == ST_OK ? check_quality(engine) : r;
}

/* Those whose client left, whose time is up, or all of them when the drain is over. */
static void sweep_list(struct engine *engine, const struct sched_list *list, uint64_t now_us)
{
    bool cut = atomic_load_explicit(&engine->cut, memory_order_relaxed);
    struct sched_item *next;

    for (struct sched_item *item = list->head; item; item = next) {
        struct request *request = batch_request(item);

        next = item->next;
        if (atomic_load_explicit(&request->cancelled, memory_order_relaxed))
            request_cancel(request);
        else if (cut || (request->deadline_us && now_us >= request->deadline_us))
            batch_overdue(request, cut);
        if (request->outcome != OUTCOME_OPEN)
            batch_leave(&engine->batch, request, now_us);
    }
}

static void take_in(struct engine *engine, struct mail *mail)
{
    for (struct mail *next; mail; mail = next) {
        struct event *event = (struct event *)mail;

        next = mail->next;
        assert(event->request->owner == OWNER_ENGINE);
        batch_join(&engine->batch, event->request);
    }
}

static void *engine_main(void *arg)
{
    struct engine *engine = arg;

    engine->loaded = load(engine);
    engine->loaded_event = (struct event){.kind = EVENT_LOADED};
    queue_put(&engine->outbox, &engine->loaded_event.mail);
    if (engine->loaded != ST_OK)
        return NULL;

    for (;;) {
        bool idle = batch_is_empty(&engine->batch);

        /* Looked at before sleeping: a poke during a step has already been used up. */
        if (idle && atomic_load_explicit(&engine->stop, memory_order_relaxed))
            return NULL;
        take_in(engine, idle ? queue_wait(&engine->inbox) : queue_take(&engine->inbox));
        uint64_t now_us = clock_us();
        sweep_list(engine, &engine->batch.sched.running, now_us);
        sweep_list(engine, &engine->batch.sched.waiting, now_us);
        if (!batch_is_empty(&engine->batch))
            batch_step(&engine->batch);
    }
}

int engine_start(const struct engine_opts *opts, struct engine **ret_engine, struct error *err)
{
    struct engine *engine = calloc(1, sizeof(*engine));

    if (!engine)
        return error_set(err, ST_NOMEM, "no memory for the engine");
    engine->opts = *opts;
    engine->loaded = ST_INTERNAL;
    if (queue_init(&engine->inbox, NULL, NULL) != ST_OK)
        goto no_inbox;
    if (queue_init(&engine->outbox, opts->wake, opts->wake_arg) != ST_OK)
        goto no_outbox;
    if (pthread_create(&engine->thread, NULL, engine_main, engine) != 0)
        goto no_thread;
    *ret_engine = engine;
    return ST_OK;

no_thread:
    queue_done(&engine->outbox);
no_outbox:
    queue_done(&engine->inbox);
no_inbox:
    free(engine);
    return error_set(err, ST_NOMEM, "the engine's thread can't be started");
}

void engine_stop(struct engine *engine)
{
    if (!engine)
        return;
    atomic_store_explicit(&engine->stop, true, memory_order_relaxed);
    queue_poke(&engine->inbox);
    pthread_join(engine->thread, NULL);
}

void engine_free(struct engine *engine)
{
    if (!engine)
        return;
    batch_done(&engine->batch);
    model_free(engine->model);
    queue_done(&engine->outbox);
    queue_done(&engine->inbox);
    free(engine);
}

struct queue *engine_outbox(struct engine *engine)
{
    return &engine->outbox;
}

int engine_loaded(const struct engine *engine, struct error *ret_err)
{
    *ret_err = engine->loaded_err;
    return engine->loaded;
}

const struct model *engine_model(const struct engine *engine)
{
    return engine->model;
}

const struct runner_info *engine_info(const struct engine *engine)
{
    return runner_info(engine->batch.runner);
}

const char *engine_precision(const struct engine *engine)
{
    return model_info(engine->model)->precision == MODEL_FP32 ? "fp32" : "int8";
}

const char *engine_kv(const struct engine *engine)
{
    static const char *const names[] = {
        [MODEL_KV_INT8] = "int8", [MODEL_KV_F16] = "f16", [MODEL_KV_F32] = "f32"};

    return names[engine_info(engine)->kv];
}

void engine_submit(struct engine *engine, struct request *request)
{
    /* The home event doubles as the ticket in: a request is in one queue at a time. */
    request_hand(request, OWNER_LOOP, OWNER_ENGINE);
    queue_put(&engine->inbox, &request->home_event.mail);
}

void engine_cut(struct engine *engine)
{
    atomic_store_explicit(&engine->cut, true, memory_order_relaxed);
    queue_poke(&engine->inbox);
}
