/* stage.h - the path of a request, as a type. Log lines and latency histograms use these names.
 *
 * Owner:   nobody; plain values.
 * Memory:  constants only.
 * Errors:  none; a move that the path does not have is a broken promise and asserts (request.c).
 * Threads: no shared state.
 *
 *   RECEIVE -> ROUTE -> PARSE -> QUEUE -> TOKENIZE -> ADMIT -> BATCH -> FORWARD -> SAMPLE -> DETOK
 *                 \                                     ^        | ^       |                   |
 *                  \                                    +--------+ +-------+  (chunk)          v
 *                   +--> DONE <----------------------- preempted    ^------------------- STREAM ->
 * DONE
 *
 * FAILED and CANCELLED can follow any stage that is not an end. */
#ifndef OCTET_SERVER_STAGE_H
#define OCTET_SERVER_STAGE_H

#include <stdbool.h>

/* Adding one? Also the table in stage.c, design and ARCHITECTURE.md. */
enum stage {
    STAGE_RECEIVE,  /* loop:   bytes arrive (http.c) */
    STAGE_ROUTE,    /* loop:   method + path -> handler (routes.c) */
    STAGE_PARSE,    /* loop:   bytes -> struct completion_req (api/) */
    STAGE_QUEUE,    /* loop:   has a place, waits for a worker (gate.c, generate.c) */
    STAGE_TOKENIZE, /* worker: text -> ids (prompt.c) */
    STAGE_ADMIT,    /* engine: waits for a place in the batch and for pages (scheduler.c) */
    STAGE_BATCH,    /* engine: rows of the next step (scheduler.c) */
    STAGE_FORWARD,  /* engine and pool: the network (engine.c) */
    STAGE_SAMPLE,   /* engine and pool: logits -> id */
    STAGE_DETOK,    /* engine: id -> text that may be shown */
    STAGE_STREAM,   /* engine -> loop -> socket (queue.c, stream.c) */
    STAGE_DONE,     /* loop: counted, logged, freed (request.c) */
    STAGE_FAILED,
    STAGE_CANCELLED,
    N_STAGES
};

const char *stage_name(enum stage stage); /* "receive", "route", … */
bool stage_is_end(enum stage stage);
bool stage_may_follow(enum stage from, enum stage to);

#endif
