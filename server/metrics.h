/* metrics.h - what GET /metrics shows, in Prometheus text format 0.0.4.
 *
 * Owner:   the server; one struct, filled by every thread.
 * Memory:  plain struct, nothing allocated.
 * Errors:  rendering fails only as struct buf does.
 * Threads: any. Counters are relaxed atomics: they order nothing, they are only added up. A page
 *          read while requests run may therefore be a few counts apart with itself. */
#ifndef OCTET_SERVER_METRICS_H
#define OCTET_SERVER_METRICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "api/buf.h"
#include "api/error.h"
#include "api/render.h"
#include "config/quality.h"
#include "server/stage.h"

#define HISTOGRAM_MAX 24u /* buckets, +Inf not counted */

struct histogram {
    atomic_uint_fast64_t count[HISTOGRAM_MAX + 1]; /* of each bucket alone; the last is +Inf */
    atomic_uint_fast64_t sum_us;
};

/* Adding one? Also its row in metrics.c. */
enum counter {
    COUNT_ACCEPTED,
    COUNT_CANCELLED,
    COUNT_DISCONNECTS,
    COUNT_SLOW_CLIENTS,
    COUNT_PROMPT_TOKENS,
    COUNT_GENERATION_TOKENS,
    COUNT_PREEMPTIONS,
    COUNT_PREFIX_QUERIES,
    COUNT_PREFIX_HITS,
    COUNT_PREFIX_EVICTED,
    COUNT_DRAFT_TOKENS,
    COUNT_ACCEPTED_TOKENS,
    COUNT_STEPS,
    COUNT_STEP_ROWS,
    COUNT_HTTP_REQUESTS,
    COUNT_HTTP_TIMEOUTS,
    N_COUNTERS
};

enum gauge {
    GAUGE_READY,
    GAUGE_WAITING,
    GAUGE_RUNNING,
    GAUGE_KV_PAGES_USED,
    GAUGE_KV_PAGES,
    GAUGE_PREFIX_PAGES,
    GAUGE_CONNECTIONS,
    N_GAUGES
};

enum latency {
    LATENCY_FIRST_TOKEN,
    LATENCY_INTER_TOKEN,
    LATENCY_REQUEST,
    LATENCY_STEP,
    LATENCY_LOOP,
    N_LATENCIES
};

#define N_FINISH 3

struct metrics {
    atomic_uint_fast64_t counters[N_COUNTERS];
    atomic_uint_fast64_t gauges[N_GAUGES];
    struct histogram latencies[N_LATENCIES];
    struct histogram stages[N_STAGES];
    atomic_uint_fast64_t finished[N_FINISH];   /* by enum finish_reason */
    atomic_uint_fast64_t failed[API_N_CODES];  /* after they were accepted */
    atomic_uint_fast64_t refused[API_N_CODES]; /* before */
};

struct metrics_build {
    const char *kernels, *precision, *kv, *model; /* NULL: not known yet */
    const struct quality *quality;                /* the model's record; NULL: none */
};

void metrics_add(struct metrics *metrics, enum counter counter, uint64_t n);
void metrics_set(struct metrics *metrics, enum gauge gauge, uint64_t value);
void metrics_observe(struct metrics *metrics, enum latency latency, uint64_t us);
void metrics_stage(struct metrics *metrics, enum stage stage, uint64_t us);
void metrics_finished(struct metrics *metrics, enum finish_reason reason);
void metrics_failed(struct metrics *metrics, enum api_code code);
void metrics_refused(struct metrics *metrics, enum api_code code);

int metrics_render(const struct metrics *metrics, const struct metrics_build *build,
                   struct buf *out);

#endif
