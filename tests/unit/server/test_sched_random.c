/* The schedule under random operations, against what must always hold. */
#include "unit/server/fake_store.h"
#include "unit/suite.h"

#define N_ITEMS 24u
/* ck_assert() allocates each time it is right; here it is asked millions of times. */
#define must(what) ((what) ? (void)0 : ck_abort_msg("step %u: %s", n_steps, #what))

static unsigned n_steps;
static struct user users[N_ITEMS];

static void check_lists(void)
{
    uint64_t last = 0;
    uint32_t n = 0;
    const struct sched_list *lists[] = {&sched.running, &sched.waiting};

    /* Every running one is older than every waiting one, each list oldest first. */
    for (unsigned l = 0; l < 2; l++) {
        uint32_t in_list = 0;
        for (const struct sched_item *item = lists[l]->head; item; item = item->next) {
            must(n == 0 || item->order > last);
            must(item->next == NULL || item->next->prev == item);
            must(item->place == (l == 0 ? SCHED_RUNNING : SCHED_WAITING));
            last = item->order;
            n++;
            in_list++;
        }
        must(in_list == lists[l]->n);
    }
    for (unsigned i = 0; i < N_ITEMS; i++)
        n -= users[i].inside;
    must(n == 0);
}

/* Every page is blank, somebody's, or to be found; whoever waits holds none. */
static void check_pages(void)
{
    uint32_t n = store.n_blank;

    for (unsigned i = 0; i < N_ITEMS; i++) {
        n += users[i].n_own;
        must(users[i].item.place == SCHED_RUNNING || users[i].n_own + users[i].n_shared == 0);
    }
    for (unsigned t = 0; t < N_TEXTS; t++)
        for (unsigned i = 0; i < MAX_PAGES; i++)
            n += store.shared[t][i].there;
    must(n == store.n_pages);
}

static void check_slice(const struct sched_slice *slice)
{
    const struct sched_item *item = slice->item;
    const struct user *user = user_of(slice->item);
    uint32_t end = slice->first + slice->n;

    must(slice->n > slice->n_draft);
    must(slice->first == item->n_done);
    must(end - slice->n_draft <= item->n_tokens);
    must(slice->n_draft == 0 || slice->n == 1 + slice->n_draft);
    must(slice->logits == (end - slice->n_draft == item->n_tokens));
    must((user->n_own + user->n_shared) * PAGE >= end);
    must((user->n_own + user->n_shared) * PAGE >= item->n_tokens);
}

static void check_plan(const struct sched_plan *plan, const struct sched_item *oldest,
                       uint32_t prompt_rows)
{
    uint32_t rows = 0, drafts = 0, for_prompts = 0;

    must(plan->n_rows > 0); /* something always gets on */
    must(sched.running.n <= sched.limits.max_seqs);
    if (oldest) { /* it was running: it still is, and has rows */
        must(oldest->place == SCHED_RUNNING);
        must(prompt_rows == 0 || slice_of(plan, oldest) != NULL);
    }
    for (uint32_t i = 0; i < plan->n_slices; i++) {
        const struct sched_slice *slice = &plan->slices[i];
        check_slice(slice);
        rows += slice->n;
        drafts += slice->n_draft;
        if (slice->item->n_tokens - slice->first > 1)
            for_prompts += slice->n;
    }
    must(rows == plan->n_rows && drafts == plan->n_draft);
    must(rows <= sched.limits.max_rows);
    must(for_prompts <= prompt_rows);
    /* No decoding sequence waits for a prompt. */
    for (const struct sched_item *item = sched.running.head; item; item = item->next)
        if (item->n_tokens - item->n_done == 1)
            must(slice_of(plan, item) != NULL);
}

static void end_some(unsigned chance)
{
    for (unsigned i = 0; i < N_ITEMS; i++) {
        struct user *user = &users[i];
        if (!user->inside)
            continue;
        must(user->item.n_tokens >= user->progress && user->item.n_tokens <= user->limit);
        user->progress = user->item.n_tokens;
        if (user->item.n_tokens == user->limit || rand() % 100 < (int)chance) {
            drop(user);
            user->inside = false;
        }
    }
}

static void add_some(uint32_t max_tokens)
{
    for (unsigned i = 0; i < N_ITEMS; i++) {
        struct user *user = &users[i];
        if (user->inside || rand() % 4)
            continue;
        uint32_t prompt = 1 + (uint32_t)rand() % (max_tokens - 1);
        *user = (struct user){.text = (unsigned)rand() % N_TEXTS,
                              .inside = true,
                              .limit = prompt + 1 + (uint32_t)rand() % (max_tokens - prompt),
                              .progress = prompt};
        sched_add(&sched, &user->item, prompt);
    }
}

/* One step of whoever is inside; guesses and the rows for prompts are anything allowed. */
static void random_step(void)
{
    const struct sched_item *oldest = sched.running.head;

    sched_admit(&sched);
    check_lists();
    check_pages();
    for (struct sched_item *item = sched.running.head; item; item = item->next) {
        uint32_t room = user_of(item)->limit - item->n_tokens; /* the last one is never stored */
        if (rand() % 2 && room > 1)
            item->n_draft = (uint32_t)rand() % (room < PAGE ? room : PAGE);
    }
    uint32_t prompt_rows = (uint32_t)rand() % 30;
    if (prompt_rows == 0 && sched_decoding(&sched) == 0)
        prompt_rows = 1;
    const struct sched_plan *plan = sched_plan(&sched, prompt_rows);
    check_plan(plan, oldest, prompt_rows);
    carry_out(plan);
    check_pages();
    end_some(0);
}

static void random_run(unsigned seed)
{
    srand(seed);
    uint32_t n_pages = 2 + (uint32_t)rand() % 40, max_seqs = 1 + (uint32_t)rand() % 8;
    open_with(max_seqs, max_seqs + (uint32_t)rand() % 40, n_pages);
    store.shares = seed % 4 != 0;
    memset(users, 0, sizeof(users));

    for (unsigned i = 0; i < 400; i++) {
        add_some(n_pages * PAGE);
        end_some(2);
        n_steps++;
        check_lists();
        if (sched.running.n + sched.waiting.n > 0)
            random_step();
    }
    /* Nobody new comes: everybody ends. */
    for (unsigned i = 0; sched.running.n + sched.waiting.n > 0; i++) {
        must(i < 100000);
        random_step();
    }
    must(store_free(NULL) == n_pages);
    teardown();
}

START_TEST(test_random_operations_keep_the_promises)
{
    uint32_t n_preempted = 0;

    for (unsigned seed = 1; seed <= 100; seed++) {
        random_run(seed);
        n_preempted += store.n_preempted;
    }
    ck_assert_uint_gt(n_preempted, 1000); /* they were under pressure */
}
END_TEST

RUN_SUITE("sched_random", test_random_operations_keep_the_promises)
