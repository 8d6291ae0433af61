#include "server/scheduler.h"

#include <assert.h>
#include <stdlib.h>

#include "config/status.h"

static void list_push_back(struct sched_list *list, struct sched_item *item)
{
    item->next = NULL;
    item->prev = list->tail;
    if (list->tail)
        list->tail->next = item;
    else
        list->head = item;
    list->tail = item;
    list->n++;
}

static void list_push_front(struct sched_list *list, struct sched_item *item)
{
    item->prev = NULL;
    item->next = list->head;
    if (list->head)
        list->head->prev = item;
    else
        list->tail = item;
    list->head = item;
    list->n++;
}

static void list_remove(struct sched_list *list, struct sched_item *item)
{
    if (item->prev)
        item->prev->next = item->next;
    else
        list->head = item->next;
    if (item->next)
        item->next->prev = item->prev;
    else
        list->tail = item->prev;
    item->prev = item->next = NULL;
    list->n--;
}

static uint32_t pages_for(const struct sched *sched, uint32_t n_tokens)
{
    return n_tokens / sched->limits.page_tokens + (n_tokens % sched->limits.page_tokens != 0);
}

static uint32_t pending(const struct sched_item *item)
{
    return item->n_tokens - item->n_done;
}

int sched_open(struct sched *sched, const struct sched_limits *limits)
{
    assert(limits->max_seqs > 0 && limits->max_rows >= limits->max_seqs);
    assert(limits->page_tokens > 0 && limits->n_pages > 0);
    *sched = (struct sched){.limits = *limits, .pages_free = limits->n_pages};
    sched->plan.preempted = calloc(limits->max_seqs, sizeof(*sched->plan.preempted));
    sched->plan.admitted = calloc(limits->max_seqs, sizeof(*sched->plan.admitted));
    sched->plan.slices = calloc(limits->max_seqs, sizeof(*sched->plan.slices));
    if (!sched->plan.preempted || !sched->plan.admitted || !sched->plan.slices) {
        sched_done(sched);
        return ST_NOMEM;
    }
    return ST_OK;
}

void sched_done(struct sched *sched)
{
    free(sched->plan.preempted);
    free(sched->plan.admitted);
    free(sched->plan.slices);
    *sched = (struct sched){0};
}

void sched_add(struct sched *sched, struct sched_item *item, uint32_t n_tokens)
{
    assert(n_tokens > 0 && pages_for(sched, n_tokens) <= sched->limits.n_pages);
    *item = (struct sched_item){
        .place = SCHED_WAITING, .order = sched->next_order++, .n_tokens = n_tokens};
    list_push_back(&sched->waiting, item);
}

void sched_remove(struct sched *sched, struct sched_item *item)
{
    assert(item->place != SCHED_OUT);
    list_remove(item->place == SCHED_WAITING ? &sched->waiting : &sched->running, item);
    sched->pages_free += item->n_pages;
    item->n_pages = 0;
    item->place = SCHED_OUT;
}

void sched_grow(struct sched *sched, struct sched_item *item)
{
    assert(item->place == SCHED_RUNNING && item->n_done == item->n_tokens);
    item->n_tokens++;
    assert(pages_for(sched, item->n_tokens) <= sched->limits.n_pages);
}

/* The youngest goes back to the front of the line: it is older than whoever waits there. */
static void preempt_youngest(struct sched *sched)
{
    struct sched_item *item = sched->running.tail;

    assert(item != sched->running.head); /* all pages together hold any one sequence */
    list_remove(&sched->running, item);
    list_push_front(&sched->waiting, item);
    sched->pages_free += item->n_pages;
    item->n_pages = 0;
    item->n_done = 0;
    item->place = SCHED_WAITING;
    sched->plan.preempted[sched->plan.n_preempted++] = item;
}

static void grow_running(struct sched *sched)
{
    struct sched_item *next;

    for (struct sched_item *item = sched->running.head; item; item = next) {
        uint32_t more = pages_for(sched, item->n_tokens) - item->n_pages;

        while (item->place == SCHED_RUNNING && more > sched->pages_free)
            preempt_youngest(sched);
        if (item->place != SCHED_RUNNING)
            break; /* it was the youngest itself: nobody comes after it */
        next = item->next;
        sched->pages_free -= more;
        item->n_pages += more;
    }
}

/* Strictly in order: a long prompt at the front is not overtaken until it starves. A page for each
 * running sequence is left, else the newcomer would be thrown out again within a few steps. */
static void admit_waiting(struct sched *sched)
{
    while (sched->waiting.head && sched->running.n < sched->limits.max_seqs) {
        struct sched_item *item = sched->waiting.head;
        uint32_t need = pages_for(sched, item->n_tokens);

        if ((uint64_t)need + sched->running.n > sched->pages_free)
            break;
        list_remove(&sched->waiting, item);
        list_push_back(&sched->running, item);
        sched->pages_free -= need;
        item->n_pages = need;
        item->place = SCHED_RUNNING;
        sched->plan.admitted[sched->plan.n_admitted++] = item;
    }
}

/* Rows of every running sequence: one for those that decode, then prompts share what is left. */
static uint32_t rows_for_decoding(struct sched *sched)
{
    uint32_t left = sched->limits.max_rows;
    struct sched_plan *plan = &sched->plan;

    for (struct sched_item *item = sched->running.head; item; item = item->next) {
        assert(pending(item) > 0);
        bool decodes = pending(item) == 1;
        plan->slices[plan->n_slices++] =
            (struct sched_slice){.item = item, .first = item->n_done, .n = decodes ? 1 : 0};
        left -= decodes ? 1 : 0;
    }
    return left;
}

static uint32_t give_rows(struct sched_slice *slice, uint32_t most)
{
    uint32_t want = pending(slice->item) - slice->n;
    uint32_t n = want < most ? want : most;

    slice->n += n;
    return n;
}

/* The slice without rows that needs the fewest to be complete, the older of two; NULL: none left.
 */
static struct sched_slice *shortest(struct sched_plan *plan)
{
    struct sched_slice *best = NULL;

    for (uint32_t i = 0; i < plan->n_slices; i++) {
        struct sched_slice *slice = &plan->slices[i];
        if (slice->n == 0 && (!best || pending(slice->item) < pending(best->item)))
            best = slice;
    }
    return best;
}

/* Half of the rows are the oldest prompt's, so that a long one gets on; the rest goes to the
 * shortest first, so that a short one does not wait behind it; what they leave is the oldest's. */
static void rows_for_prompts(struct sched *sched, uint32_t left)
{
    struct sched_plan *plan = &sched->plan;
    struct sched_slice *oldest = NULL, *slice;

    for (uint32_t i = 0; i < plan->n_slices && !oldest; i++)
        if (plan->slices[i].n == 0)
            oldest = &plan->slices[i];
    if (!oldest || left == 0)
        return;
    left -= give_rows(oldest, left / 2 + left % 2);
    while (left > 0 && (slice = shortest(plan)) != NULL)
        left -= give_rows(slice, left);
    give_rows(oldest, left);
}

const struct sched_plan *sched_step(struct sched *sched)
{
    struct sched_plan *plan = &sched->plan;
    uint32_t n = 0;

    plan->n_preempted = plan->n_admitted = plan->n_slices = plan->n_rows = 0;
    grow_running(sched);
    /* Whoever has just lost its pages must not take them back in the same step. */
    if (plan->n_preempted == 0)
        admit_waiting(sched);
    rows_for_prompts(sched, rows_for_decoding(sched));

    for (uint32_t i = 0; i < plan->n_slices; i++) {
        struct sched_slice slice = plan->slices[i];
        if (slice.n == 0)
            continue; /* no rows were left for it: next time */
        slice.logits = slice.first + slice.n == slice.item->n_tokens;
        plan->slices[n++] = slice;
        plan->n_rows += slice.n;
    }
    plan->n_slices = n;
    return plan;
}

void sched_commit(struct sched *sched)
{
    for (uint32_t i = 0; i < sched->plan.n_slices; i++)
        sched->plan.slices[i].item->n_done += sched->plan.slices[i].n;
}
