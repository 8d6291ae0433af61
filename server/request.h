/* request.h - the traveller: one HTTP request on its way through the stages of stage.h.
 *
 * Owner:   one thread at a time, named in `owner`; queues hand it over. The loop, which made it and
 *          frees it, meanwhile keeps the pointer for two things only: `cancelled`, and the fields
 *          that never change after QUEUE (id, trace, ask).
 * Memory:  request_new() .. request_free(); everything inside is its own.
 * Errors:  how it ended is in `outcome`, and the sentence in `error`.
 * Threads: as said under Owner; a move or a hand-over by somebody else is a bug and asserts. */
#ifndef OCTET_SERVER_REQUEST_H
#define OCTET_SERVER_REQUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/buf.h"
#include "api/error.h"
#include "api/parse.h"
#include "api/render.h"
#include "server/draft.h"
#include "server/metrics.h"
#include "server/queue.h"
#include "server/scheduler.h"
#include "server/stage.h"

struct detok;
struct request;
struct sampler;

enum owner { OWNER_LOOP, OWNER_WORKER, OWNER_ENGINE };

enum outcome { OUTCOME_OPEN, OUTCOME_FINISHED, OUTCOME_FAILED, OUTCOME_CANCELLED };

/* What the engine tells the loop. */
enum event_kind {
    EVENT_LOADED,   /* the model is there, or is not (engine.h) */
    EVENT_ADMITTED, /* it has a place in the batch */
    EVENT_TEXT,     /* text that may be shown; allocated with the event, the loop frees both */
    EVENT_HOME,     /* the request is the loop's again */
};

struct event {
    struct mail mail; /* first, so that the one is the other */
    enum event_kind kind;
    struct request *request;
    const char *text;
    size_t len;
};

#define TRACE_MAX 128u /* bytes of an X-Request-Id */

struct request {
    /* the way */
    enum owner owner;
    enum stage stage;
    uint64_t entered_us, stage_us[N_STAGES]; /* when it came here; time spent in each */
    unsigned stages_seen;                    /* bit per stage */
    uint64_t created_us, queued_us, admitted_us, first_us, last_us, ended_us; /* 0: not yet */
    int64_t created_unix;

    /* who */
    char id[24];                /* "gen-" and 16 hex digits: ours, the answer's id */
    char trace[TRACE_MAX + 1];  /* X-Request-Id: echoed and logged, never a key */
    char method[12], path[160]; /* for the log, cut */

    /* what is asked */
    struct completion_req ask;
    uint32_t timeout_ms;  /* the one that counts; 0: none */
    uint64_t deadline_us; /* 0: none */
    uint64_t seed;
    uint64_t tenant; /* whose cached prefixes it shares; one for all until API keys exist */

    /* text as ids: the prompt, then what was made, then guesses; room for max_tokens made */
    int32_t *ids;
    uint32_t n_prompt, n_made, max_tokens;
    uint32_t n_cached; /* of the prompt: were stored when it began to run */

    /* the engine's */
    struct sched_item item;
    uint32_t seq;
    bool has_seq;
    struct sampler *sampler;
    struct detok *detok;
    struct draft draft;
    uint32_t n_drafted, n_accepted; /* guesses that were run, and right ones among them */
    struct buf text; /* the whole answer; of a stream only the rest that goes into its last piece */

    /* the end */
    bool accepted; /* it held a place */
    enum outcome outcome;
    enum finish_reason finish;
    enum stop_kind stop_kind;
    size_t stop_index;
    int32_t stop_token;
    struct api_error error;

    /* Set by the loop at any time, read by whoever owns it. Relaxed: it carries no other data. */
    atomic_bool cancelled;

    void *exchange;                          /* the loop's: where the answer goes (exchange.h) */
    struct event admitted_event, home_event; /* embedded, so that going home can't fail */
};

/* In RECEIVE, owned by the loop. NULL: no memory. */
struct request *request_new(uint64_t now_us);
void request_free(struct request *request);

void request_hand(struct request *request, enum owner from, enum owner to);
void request_move(struct request *request, enum stage to, uint64_t now_us);

/* Only the first outcome counts. */
void request_finish(struct request *request, enum finish_reason reason);
void request_cancel(struct request *request);
/* Takes the message that api_error_set() would; or fill request->error and call request_failed().
 */
void request_fail(struct request *request, enum api_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void request_failed(struct request *request);

/* X-Request-Id of the client if it is ^[A-Za-z0-9._-]{1,128}$, else one of our own. */
void request_set_trace(struct request *request, const char *header);

/* The answer; texts are borrowed from the request. */
void request_result(const struct request *request, const char *model,
                    struct generate_result *ret_result);

/* Last stage: moves to DONE, FAILED or CANCELLED, counts it and, unless quiet, writes its log line.
 * http_status: what was sent; 0: nothing was. */
void request_close(struct request *request, int http_status, bool quiet, struct metrics *metrics);

#endif
