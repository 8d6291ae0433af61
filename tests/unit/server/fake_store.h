/* fake_store.h - a schedule over pages that are only counted: what its tests share.
 *
 * Owner:   the test that includes it; everything is static.
 * Memory:  users are the test's; open_with() .. teardown().
 * Errors:  a promise broken by the schedule ends the test.
 * Threads: none. */
#ifndef OCTET_TESTS_FAKE_STORE_H
#define OCTET_TESTS_FAKE_STORE_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "config/status.h"
#include "server/scheduler.h"

#define PAGE 4u
#define N_TEXTS 3u
#define MAX_PAGES 64u

/* An item as the tests add it; all items of one text have the same tokens at the same positions. */
struct user {
    struct sched_item item;
    unsigned text;
    uint32_t n_shared, n_own; /* pages: its first ones shared, then its own */
    uint32_t limit;           /* tokens at which it ends */
    bool inside;
    uint32_t progress; /* most tokens it ever knew: must not shrink */
};

/* Pages as the runner keeps them: those of a text that are complete may be found by others, and are
 * as good as free once nobody uses them. */
static struct {
    uint32_t n_pages, n_blank, n_idle, n_preempted, n_admitted;
    bool shares;
    struct {
        bool there;
        uint32_t users;
    } shared[N_TEXTS][MAX_PAGES];
} store;

static struct sched sched;

static inline struct user *user_of(struct sched_item *item)
{
    return (struct user *)item; /* its first member */
}

static inline uint32_t pages_for(uint32_t n_tokens)
{
    return (n_tokens + PAGE - 1) / PAGE;
}

static inline uint32_t store_free(void *arg)
{
    (void)arg;
    return store.n_blank + store.n_idle;
}

static inline void take_page(void)
{
    if (store.n_blank > 0) {
        store.n_blank--;
        return;
    }
    for (unsigned t = 0; t < N_TEXTS; t++)
        for (unsigned i = MAX_PAGES; i-- > 0;)
            if (store.shared[t][i].there && store.shared[t][i].users == 0) {
                store.shared[t][i].there = false;
                store.n_idle--;
                return;
            }
    ck_abort_msg("no page is free");
}

static inline void give_back(struct user *user)
{
    for (uint32_t i = 0; i < user->n_shared; i++)
        store.n_idle += --store.shared[user->text][i].users == 0;
    store.n_blank += user->n_own;
    user->n_shared = user->n_own = 0;
}

static inline bool store_reserve(void *arg, struct sched_item *item, uint32_t n_tokens)
{
    struct user *user = user_of(item);
    uint32_t need = pages_for(n_tokens), have = user->n_shared + user->n_own;

    (void)arg;
    ck_assert(item->place != SCHED_OUT);
    if (need <= have)
        return true;
    if (need - have > store_free(NULL))
        return false;
    for (uint32_t i = have; i < need; i++)
        take_page();
    user->n_own += need - have;
    return true;
}

static inline bool store_admit(void *arg, struct sched_item *item, uint32_t spare,
                               uint32_t *ret_done)
{
    struct user *user = user_of(item);

    (void)arg;
    ck_assert(item->place == SCHED_WAITING && user->n_own + user->n_shared == 0);
    while (store.shares && (user->n_shared + 1) * PAGE < item->n_tokens &&
           store.shared[user->text][user->n_shared].there)
        store.n_idle -= store.shared[user->text][user->n_shared++].users++ == 0;
    if (pages_for(item->n_tokens) - user->n_shared + spare > store_free(NULL)) {
        give_back(user);
        return false;
    }
    ck_assert(store_reserve(NULL, item, item->n_tokens));
    *ret_done = user->n_shared * PAGE;
    store.n_admitted++;
    return true;
}

static inline void store_preempt(void *arg, struct sched_item *item)
{
    (void)arg;
    give_back(user_of(item));
    store.n_preempted++;
}

/* What is complete may be found from now on, unless somebody else's is there already. */
static inline void publish(struct user *user)
{
    while (store.shares && (user->n_shared + 1) * PAGE <= user->item.n_done &&
           !store.shared[user->text][user->n_shared].there) {
        store.shared[user->text][user->n_shared].there = true;
        store.shared[user->text][user->n_shared++].users = 1;
        user->n_own--;
    }
}

static inline void open_with(uint32_t max_seqs, uint32_t max_rows, uint32_t n_pages)
{
    struct sched_limits limits = {.max_seqs = max_seqs, .max_rows = max_rows};
    struct sched_store calls = {.pages_free = store_free,
                                .admit = store_admit,
                                .reserve = store_reserve,
                                .preempt = store_preempt};

    memset(&store, 0, sizeof(store));
    store.n_pages = store.n_blank = n_pages;
    ck_assert_int_eq(sched_open(&sched, &limits, &calls), ST_OK);
}

static inline void teardown(void)
{
    sched_done(&sched);
}

static inline void add(struct user *user, uint32_t n_tokens)
{
    *user = (struct user){.text = user->text, .limit = UINT32_MAX};
    sched_add(&sched, &user->item, n_tokens);
}

static inline void drop(struct user *user)
{
    sched_remove(&sched, &user->item);
    give_back(user);
}

static inline const struct sched_plan *step(void)
{
    sched_admit(&sched);
    return sched_plan(&sched, UINT32_MAX);
}

/* What the engine does with a plan: store the rows, draw tokens where there are logits. */
static inline void carry_out(const struct sched_plan *plan)
{
    sched_commit(&sched);
    for (uint32_t i = 0; i < plan->n_slices; i++) {
        const struct sched_slice *slice = &plan->slices[i];
        struct user *user = user_of(slice->item);
        uint32_t right = slice->n_draft ? (uint32_t)rand() % (slice->n_draft + 1) : 0;

        if (slice->logits && user->limit - slice->item->n_tokens <= right)
            right = user->limit - slice->item->n_tokens - 1;
        if (slice->logits)
            sched_grow(&sched, slice->item, 1 + right);
        publish(user);
    }
}

static inline const struct sched_slice *slice_of(const struct sched_plan *plan,
                                                 const struct sched_item *item)
{
    for (uint32_t i = 0; i < plan->n_slices; i++)
        if (plan->slices[i].item == item)
            return &plan->slices[i];
    return NULL;
}

#endif
