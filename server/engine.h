/* engine.h - the one thread that computes: it owns the model's runner, the pages and the schedule,
 * and is worker 0 of the runner's pool.
 *
 * Owner:   the loop starts and stops it; what goes on inside is the engine thread's.
 * Memory:  engine_start() .. engine_free(). Requests are lent to it and come home through the
 *          outbox.
 * Errors:  loading that fails is an event with a sentence; a step that fails ends its requests
 *          with 500, never the process.
 * Threads: engine_submit(), engine_cut() and taking from the outbox: the loop. Idle, the thread
 *          sleeps on its inbox's condition: zero CPU. */
#ifndef OCTET_SERVER_ENGINE_H
#define OCTET_SERVER_ENGINE_H

#include <stdint.h>

#include "config/status.h"
#include "model/model.h"
#include "server/batch.h"
#include "server/metrics.h"
#include "server/queue.h"
#include "server/request.h"

struct engine;

struct engine_opts {
    struct model_opts model;
    struct batch_opts batch; /* kv_bytes 0: half of the memory left after the weights, at most what
                                n_ctx x max_seqs needs */
    const struct quality_bounds
        *require; /* of the model's record, or loading fails; NULL: nothing */
    struct metrics *metrics;
    void (*wake)(void *arg); /* called when something was put into the empty outbox */
    void *wake_arg;
};

/* Starts the thread, which loads the model and then serves. EVENT_LOADED tells how that went. */
int engine_start(const struct engine_opts *opts, struct engine **ret_engine, struct error *err);
/* Ends the thread, once every request inside has come home: cancel them first. */
void engine_stop(struct engine *engine);
void engine_free(struct engine *engine); /* after engine_stop() and a last look into the outbox */

struct queue *engine_outbox(struct engine *engine);

/* After EVENT_LOADED: its status, and what may be read by any thread if that is ST_OK. */
int engine_loaded(const struct engine *engine, struct error *ret_err);
const struct model *engine_model(const struct engine *engine);
const struct runner_info *engine_info(const struct engine *engine);
const char *engine_precision(const struct engine *engine); /* "int8", "fp32" */
const char *engine_kv(const struct engine *engine);        /* "int8", "f16", "f32" */

void engine_submit(struct engine *engine, struct request *request);

/* The drain's time is up: those that have a token end with finish_reason "deadline", others with
 * 503. */
void engine_cut(struct engine *engine);

#endif
