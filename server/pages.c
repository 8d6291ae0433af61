#include "server/pages.h"

#include <assert.h>

#include "server/batch.h"

static void no_memory(struct request *request)
{
    request_fail(request, API_INTERNAL, "no memory for the keys and values of the request.");
}

bool pages_take(struct batch *batch, struct request *request, uint32_t spare, uint32_t *ret_done)
{
    struct runner *runner = batch->runner;
    uint32_t n_tokens = request->item.n_tokens, done = 0;

    if (runner_seq_new(runner, &request->seq) != ST_OK) {
        no_memory(request); /* the schedule counts sequences: it is not for want of one */
        *ret_done = 0;
        return true;
    }
    request->has_seq = true;
    if (batch->prefix_cache)
        done = runner_seq_attach(runner, request->seq, request->tenant, request->ids, n_tokens);

    uint32_t more = runner_pages_for(runner, n_tokens) - runner_seq_pages(runner, request->seq);
    if ((uint64_t)more + spare > runner_pages_free(runner)) {
        runner_seq_free(runner, request->seq);
        request->has_seq = false;
        return false;
    }
    *ret_done = done;
    bool room = pages_reserve(batch, request, n_tokens);
    assert(room);
    return room;
}

bool pages_reserve(struct batch *batch, struct request *request, uint32_t n_tokens)
{
    if (request->outcome != OUTCOME_OPEN)
        return true; /* it leaves after this step and gets no rows */
    int r = runner_seq_reserve(batch->runner, request->seq, n_tokens);
    assert(r == ST_OK || r == ST_FULL || r == ST_NOMEM);
    if (r == ST_NOMEM)
        no_memory(request);
    return r != ST_FULL;
}

void pages_publish(struct batch *batch, struct request *request, uint32_t from)
{
    uint32_t page = runner_info(batch->runner)->page_tokens, n_done = request->item.n_done;

    if (batch->prefix_cache && n_done / page > from / page)
        runner_seq_publish(batch->runner, request->seq, request->tenant, request->ids, n_done,
                           false);
}

/* A request that failed for a reason of its own may have left anything in its pages. */
static bool is_sound(const struct request *request)
{
    return request->outcome != OUTCOME_FAILED || request->error.code != API_INTERNAL;
}

void pages_give_back(struct batch *batch, struct request *request)
{
    if (!request->has_seq)
        return;
    if (batch->prefix_cache && request->item.n_done > 0 && is_sound(request))
        runner_seq_publish(batch->runner, request->seq, request->tenant, request->ids,
                           request->item.n_done, true);
    runner_seq_free(batch->runner, request->seq);
    request->has_seq = false;
}

void pages_show(struct batch *batch)
{
    const struct runner_info *info = runner_info(batch->runner);
    struct runner_prefix_stats stats = runner_prefix_stats(batch->runner);

    metrics_set(batch->metrics, GAUGE_KV_PAGES_USED,
                info->n_pages - runner_pages_free(batch->runner));
    metrics_set(batch->metrics, GAUGE_PREFIX_PAGES, stats.cached_pages);
    metrics_add(batch->metrics, COUNT_PREFIX_EVICTED, stats.evicted_pages - batch->n_evicted);
    batch->n_evicted = stats.evicted_pages;
}
