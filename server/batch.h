/* batch.h - the requests inside the engine and one step of them: BATCH, FORWARD, SAMPLE, DETOK.
 *
 * Owner:   the engine thread.
 * Memory:  batch_open() .. batch_done(); rows and jobs are sized once.
 * Errors:  a request that fails goes home with its sentence; the others go on.
 * Threads: the engine's only; text and requests leave through the outbox. */
#ifndef OCTET_SERVER_BATCH_H
#define OCTET_SERVER_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "model/model.h"
#include "server/draft.h"
#include "server/metrics.h"
#include "server/pace.h"
#include "server/queue.h"
#include "server/request.h"
#include "server/scheduler.h"

struct batch_opts {
    struct runner_opts runner; /* kv_bytes is a bound */
    bool prefix_cache;         /* prompts that begin like earlier ones start where they differ */
    uint32_t itl_target_ms;    /* a step with rows of prompts in it; 0: as pace.h says */
    uint32_t draft_max; /* guesses for a request in a step, at most MODEL_MAX_DRAFT; 0: none */
};

struct batch {
    const struct model *model;
    struct runner *runner;
    bool prefix_cache;
    uint32_t draft_max;
    struct sched sched;
    struct pace pace;
    struct metrics *metrics;
    struct queue *outbox;
    struct batch_row *rows;       /* max_rows */
    struct sample_job *jobs;      /* max_seqs */
    struct request **job_request; /* whose job it is */
    uint32_t n_jobs;
    struct draft_offer *offers; /* max_seqs */
    uint32_t n_declined;        /* offers that did not seem to pay */
    uint64_t began_us;          /* the step that is going on */
    uint64_t n_evicted;         /* pages, as the metrics know them */
};

int batch_open(struct batch *batch, const struct model *model, const struct batch_opts *opts,
               struct metrics *metrics, struct queue *outbox, struct error *err);
void batch_done(struct batch *batch); /* a zeroed struct is fine */

bool batch_is_empty(const struct batch *batch);
struct request *batch_request(struct sched_item *item);

/* It waits now, in ADMIT. */
void batch_join(struct batch *batch, struct request *request);
/* Its outcome is known: send it home. */
void batch_leave(struct batch *batch, struct request *request, uint64_t now_us);
/* Its time is up: with a token it finishes, without one it fails (503 if the server closes, else
 * 504). */
void batch_overdue(struct request *request, bool closing);

/* One step: something must be inside. */
void batch_step(struct batch *batch);

#endif
