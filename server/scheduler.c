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

static uint32_t pending(const struct sched_item *item)
{
    return item->n_tokens - item->n_done;
}

int sched_open(struct sched *sched, const struct sched_limits *limits,
               const struct sched_store *store)
{
    assert(limits->max_seqs > 0 && limits->max_rows >= limits->max_seqs);
    *sched = (struct sched){.limits = *limits, .store = *store};
    sched->plan.slices = calloc(limits->max_seqs, sizeof(*sched->plan.slices));
    return sched->plan.slices ? ST_OK : ST_NOMEM;
}

void sched_done(struct sched *sched)
{
    free(sched->plan.slices);
    *sched = (struct sched){0};
}

void sched_add(struct sched *sched, struct sched_item *item, uint32_t n_tokens)
{
    assert(n_tokens > 0);
    *item = (struct sched_item){
        .place = SCHED_WAITING, .order = sched->next_order++, .n_tokens = n_tokens};
    list_push_back(&sched->waiting, item);
}

void sched_remove(struct sched *sched, struct sched_item *item)
{
    assert(item->place != SCHED_OUT);
    if (item == sched->waiting.head)
        sched->refused = false;
    list_remove(item->place == SCHED_WAITING ? &sched->waiting : &sched->running, item);
    item->place = SCHED_OUT;
}

void sched_grow(struct sched *sched, struct sched_item *item, uint32_t n)
{
    (void)sched;
    assert(item->place == SCHED_RUNNING && item->n_done == item->n_tokens && n > 0);
    item->n_tokens += n;
    item->n_done += n - 1;
}

/* The youngest goes back to the front of the line: it is older than whoever waits there. */
static void preempt_youngest(struct sched *sched)
{
    struct sched_item *item = sched->running.tail;

    assert(item != sched->running.head); /* all pages together hold any one sequence */
    list_remove(&sched->running, item);
    list_push_front(&sched->waiting, item);
    sched->store.preempt(sched->store.arg, item);
    item->n_done = 0;
    item->place = SCHED_WAITING;
    sched->refused = false;
}

/* false: somebody was preempted. */
static bool grow_running(struct sched *sched)
{
    const struct sched_store *store = &sched->store;
    uint32_t n_before = sched->running.n;
    struct sched_item *next;

    for (struct sched_item *item = sched->running.head; item; item = next) {
        while (item->place == SCHED_RUNNING && !store->reserve(store->arg, item, item->n_tokens))
            preempt_youngest(sched);
        if (item->place != SCHED_RUNNING)
            break; /* it was the youngest itself: nobody comes after it */
        next = item->next;
    }
    return sched->running.n == n_before;
}

/* Strictly in order: a long prompt at the front is not overtaken until it starves. A page for each
 * running sequence is left, else the newcomer would be thrown out again within a few steps. One
 * that did not fit is not tried again, which would cost a search, before more pages are free. */
static void admit_waiting(struct sched *sched)
{
    const struct sched_store *store = &sched->store;
    struct sched_item *item;

    while ((item = sched->waiting.head) && sched->running.n < sched->limits.max_seqs) {
        uint32_t n_free = store->pages_free(store->arg);

        if (sched->refused && n_free <= sched->refused_free)
            break;
        sched->refused = !store->admit(store->arg, item, sched->running.n, &item->n_done);
        sched->refused_free = n_free;
        if (sched->refused)
            break;
        assert(item->n_done < item->n_tokens);
        list_remove(&sched->waiting, item);
        list_push_back(&sched->running, item);
        item->place = SCHED_RUNNING;
    }
}

void sched_admit(struct sched *sched)
{
    /* Whoever has just lost its pages must not take them back in the same step. */
    if (grow_running(sched))
        admit_waiting(sched);
}

uint32_t sched_decoding(const struct sched *sched)
{
    uint32_t n = 0;

    for (const struct sched_item *item = sched->running.head; item; item = item->next)
        n += pending(item) == 1;
    return n;
}

/* Guesses must not cost anybody a page: they get what is spare, or nothing. */
static uint32_t draft_rows(struct sched *sched, struct sched_item *item, uint32_t most)
{
    const struct sched_store *store = &sched->store;
    uint32_t n = item->n_draft < most ? item->n_draft : most;

    item->n_draft = 0;
    if (n == 0 || store->pages_free(store->arg) <= sched->running.n ||
        !store->reserve(store->arg, item, item->n_tokens + n))
        return 0;
    return n;
}

/* A slice for every running sequence: those that decode get their row, and rows for guesses while
 * no prompt waits for rows; prompts come later. Returns the rows that are left. */
static uint32_t rows_for_decoding(struct sched *sched)
{
    struct sched_plan *plan = &sched->plan;
    uint32_t n_decoding = sched_decoding(sched), left = sched->limits.max_rows - n_decoding;
    bool may_draft = n_decoding == sched->running.n;

    for (struct sched_item *item = sched->running.head; item; item = item->next) {
        struct sched_slice *slice = &plan->slices[plan->n_slices++];

        assert(pending(item) > 0);
        *slice = (struct sched_slice){.item = item, .first = item->n_done};
        if (pending(item) > 1)
            continue;
        slice->n_draft = draft_rows(sched, item, may_draft ? left : 0);
        slice->n = 1 + slice->n_draft;
        left -= slice->n_draft;
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

const struct sched_plan *sched_plan(struct sched *sched, uint32_t prompt_rows)
{
    struct sched_plan *plan = &sched->plan;
    uint32_t n = 0;

    plan->n_slices = plan->n_rows = plan->n_draft = 0;
    uint32_t left = rows_for_decoding(sched);
    rows_for_prompts(sched, prompt_rows < left ? prompt_rows : left);

    for (uint32_t i = 0; i < plan->n_slices; i++) {
        struct sched_slice slice = plan->slices[i];
        if (slice.n == 0)
            continue; /* no rows were left for it: next time */
        slice.logits = slice.first + slice.n - slice.n_draft == slice.item->n_tokens;
        plan->slices[n++] = slice;
        plan->n_rows += slice.n;
        plan->n_draft += slice.n_draft;
    }
    plan->n_slices = n;
    assert(plan->n_rows > 0 || sched->running.n == 0);
    return plan;
}

void sched_commit(struct sched *sched)
{
    for (uint32_t i = 0; i < sched->plan.n_slices; i++) {
        const struct sched_slice *slice = &sched->plan.slices[i];
        slice->item->n_done += slice->n - slice->n_draft;
    }
}
