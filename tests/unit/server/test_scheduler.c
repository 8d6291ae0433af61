#include <check.h>
#include <stdlib.h>

#include "config/status.h"
#include "server/scheduler.h"
#include "unit/suite.h"

static struct sched sched;

static void open_with(uint32_t max_seqs, uint32_t max_rows, uint32_t n_pages)
{
    struct sched_limits limits = {
        .max_seqs = max_seqs, .max_rows = max_rows, .page_tokens = 4, .n_pages = n_pages};

    ck_assert_int_eq(sched_open(&sched, &limits), ST_OK);
}

static void teardown(void)
{
    sched_done(&sched);
}

/* What the engine does with a plan: store the rows, draw a token where there are logits. */
static void carry_out(const struct sched_plan *plan)
{
    sched_commit(&sched);
    for (uint32_t i = 0; i < plan->n_slices; i++)
        if (plan->slices[i].logits)
            sched_grow(&sched, plan->slices[i].item);
}

static const struct sched_slice *slice_of(const struct sched_plan *plan,
                                          const struct sched_item *item)
{
    for (uint32_t i = 0; i < plan->n_slices; i++)
        if (plan->slices[i].item == item)
            return &plan->slices[i];
    return NULL;
}

START_TEST(test_prompt_in_chunks_then_one_row_a_step)
{
    struct sched_item item;

    open_with(2, 10, 16);
    sched_add(&sched, &item, 25);
    const uint32_t rows[] = {10, 10, 5, 1, 1};
    uint32_t pos = 0;
    for (unsigned i = 0; i < 5; i++) {
        const struct sched_plan *plan = sched_step(&sched);
        ck_assert_uint_eq(plan->n_slices, 1);
        ck_assert_uint_eq(plan->n_rows, rows[i]);
        ck_assert_uint_eq(plan->slices[0].first, pos);
        ck_assert_int_eq(plan->slices[0].logits, i >= 2);
        pos += rows[i];
        carry_out(plan);
    }
    teardown();
}
END_TEST

START_TEST(test_decoding_rows_come_before_prompts)
{
    struct sched_item decodes, prompt;

    open_with(2, 8, 16);
    sched_add(&sched, &decodes, 3);
    carry_out(sched_step(&sched));
    sched_add(&sched, &prompt, 30);
    const struct sched_plan *plan = sched_step(&sched);
    ck_assert_uint_eq(slice_of(plan, &decodes)->n, 1);
    ck_assert_uint_eq(slice_of(plan, &prompt)->n, 7);
    teardown();
}
END_TEST

START_TEST(test_a_short_prompt_passes_a_long_one_which_keeps_half)
{
    struct sched_item oldest, shorter, shortest;

    open_with(3, 20, 64);
    sched_add(&sched, &oldest, 100);
    sched_add(&sched, &shorter, 9);
    sched_add(&sched, &shortest, 4);
    const struct sched_plan *plan = sched_step(&sched);
    ck_assert_uint_eq(slice_of(plan, &oldest)->n, 10);
    ck_assert_uint_eq(slice_of(plan, &shortest)->n, 4);
    ck_assert_uint_eq(slice_of(plan, &shorter)->n, 6);
    carry_out(plan);
    plan = sched_step(&sched);
    ck_assert_uint_eq(slice_of(plan, &shortest)->n, 1); /* it decodes */
    ck_assert_uint_eq(slice_of(plan, &shorter)->n, 3);
    ck_assert_uint_eq(slice_of(plan, &oldest)->n, 16); /* and what the others leave */
    teardown();
}
END_TEST

START_TEST(test_admission_is_in_order)
{
    struct sched_item running, big, small;

    open_with(3, 100, 8);
    sched_add(&sched, &running, 8);
    carry_out(sched_step(&sched));
    sched_add(&sched, &big, 28); /* 7 pages: not while the other runs */
    sched_add(&sched, &small, 1);
    const struct sched_plan *plan = sched_step(&sched);
    ck_assert_uint_eq(plan->n_admitted, 0);
    ck_assert_int_eq(small.place, SCHED_WAITING); /* it would fit, but is not first */
    carry_out(plan);
    sched_remove(&sched, &running);
    plan = sched_step(&sched);
    ck_assert_ptr_eq(plan->admitted[0], &big);
    teardown();
}
END_TEST

START_TEST(test_the_youngest_is_preempted_and_recomputed)
{
    struct sched_item old, young;

    open_with(2, 100, 5); /* 20 positions */
    sched_add(&sched, &old, 8);
    sched_add(&sched, &young, 7);
    const struct sched_plan *plan = sched_step(&sched);
    ck_assert_uint_eq(plan->n_admitted, 2);
    for (unsigned i = 0; i < 5; i++) { /* old: 9 .. needs 3 pages; young: 8, 9 needs a third */
        carry_out(plan);
        plan = sched_step(&sched);
        if (plan->n_preempted)
            break;
    }
    ck_assert_uint_eq(plan->n_preempted, 1);
    ck_assert_ptr_eq(plan->preempted[0], &young);
    ck_assert_uint_eq(young.n_done, 0);
    ck_assert_uint_gt(young.n_tokens, 7); /* what it made is part of the prompt now */
    ck_assert_ptr_eq(sched.waiting.head, &young);
    uint32_t n_tokens = young.n_tokens;
    sched_remove(&sched, &old);
    plan = sched_step(&sched);
    ck_assert_ptr_eq(plan->slices[0].item, &young);
    ck_assert_uint_eq(plan->slices[0].first, 0);
    ck_assert_uint_eq(plan->slices[0].n, n_tokens);
    teardown();
}
END_TEST

/* ---- random operations against what must always hold ---- */

#define N_ITEMS 24u
/* ck_assert() allocates each time it is right; here it is asked millions of times. */
#define must(what) ((what) ? (void)0 : ck_abort_msg("step %u: %s", n_steps, #what))

static unsigned n_steps;

struct model_item {
    struct sched_item item;
    uint32_t limit; /* tokens at which it ends */
    bool inside;
    uint32_t progress; /* most tokens it ever knew: must not shrink */
};

static struct model_item items[N_ITEMS];

static void check_lists(void)
{
    uint64_t last = 0;
    uint32_t n = 0, pages = 0;
    const struct sched_list *lists[] = {&sched.running, &sched.waiting};

    /* Every running one is older than every waiting one, each list oldest first. */
    for (unsigned l = 0; l < 2; l++) {
        uint32_t in_list = 0;
        for (const struct sched_item *item = lists[l]->head; item; item = item->next) {
            must(n == 0 || item->order > last);
            must(item->next == NULL || item->next->prev == item);
            must(item->place == (l == 0 ? SCHED_RUNNING : SCHED_WAITING));
            last = item->order;
            pages += item->n_pages;
            n++;
            in_list++;
        }
        must(in_list == lists[l]->n);
    }
    must(pages + sched.pages_free == sched.limits.n_pages);
    for (unsigned i = 0; i < N_ITEMS; i++)
        n -= items[i].inside;
    must(n == 0);
}

static void check_plan(const struct sched_plan *plan, const struct sched_item *oldest)
{
    uint32_t rows = 0;

    must(plan->n_rows > 0); /* something always gets on */
    must(sched.running.n <= sched.limits.max_seqs);
    if (oldest) { /* it was running: it still is, and has rows */
        must(oldest->place == SCHED_RUNNING);
        must(slice_of(plan, oldest) != NULL);
    }
    for (uint32_t i = 0; i < plan->n_slices; i++) {
        const struct sched_slice *slice = &plan->slices[i];
        const struct sched_item *item = slice->item;

        must(slice->n > 0);
        must(slice->first == item->n_done);
        must(slice->first + slice->n <= item->n_tokens);
        must(slice->logits == (slice->first + slice->n == item->n_tokens));
        must(item->n_pages * sched.limits.page_tokens >= item->n_tokens);
        rows += slice->n;
    }
    must(rows == plan->n_rows);
    must(rows <= sched.limits.max_rows);
    /* No decoding sequence waits for a prompt. */
    for (const struct sched_item *item = sched.running.head; item; item = item->next)
        if (item->n_tokens - item->n_done == 1)
            must(slice_of(plan, item) != NULL);
}

static void end_some(unsigned chance)
{
    for (unsigned i = 0; i < N_ITEMS; i++) {
        struct model_item *it = &items[i];
        if (!it->inside)
            continue;
        must(it->item.n_tokens >= it->progress);
        it->progress = it->item.n_tokens;
        if (it->item.n_tokens >= it->limit || rand() % 100 < (int)chance) {
            sched_remove(&sched, &it->item);
            it->inside = false;
        }
    }
}

static void add_some(uint32_t max_tokens)
{
    for (unsigned i = 0; i < N_ITEMS; i++) {
        struct model_item *it = &items[i];
        if (it->inside || rand() % 4)
            continue;
        uint32_t prompt = 1 + (uint32_t)rand() % (max_tokens - 1);
        it->inside = true;
        it->limit = prompt + 1 + (uint32_t)rand() % (max_tokens - prompt);
        it->progress = prompt;
        sched_add(&sched, &it->item, prompt);
    }
}

static void random_run(unsigned seed)
{
    srand(seed);
    uint32_t n_pages = 2 + (uint32_t)rand() % 40, max_seqs = 1 + (uint32_t)rand() % 8;
    open_with(max_seqs, max_seqs + (uint32_t)rand() % 40, n_pages);
    for (unsigned i = 0; i < N_ITEMS; i++)
        items[i] = (struct model_item){0};

    for (unsigned step = 0; step < 400; step++) {
        add_some(n_pages * 4);
        end_some(2);
        n_steps++;
        check_lists();
        if (sched.running.n + sched.waiting.n == 0)
            continue;
        const struct sched_item *oldest = sched.running.head;
        const struct sched_plan *plan = sched_step(&sched);
        check_plan(plan, oldest);
        check_lists();
        carry_out(plan);
        end_some(0);
    }
    /* Nobody new comes: everybody ends. */
    for (unsigned step = 0; sched.running.n + sched.waiting.n > 0; step++) {
        must(step < 100000);
        carry_out(sched_step(&sched));
        end_some(0);
    }
    must(sched.pages_free == n_pages);
    teardown();
}

START_TEST(test_random_operations_keep_the_promises)
{
    for (unsigned seed = 1; seed <= 100; seed++)
        random_run(seed);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_prompt_in_chunks_then_one_row_a_step,
                                  test_decoding_rows_come_before_prompts,
                                  test_a_short_prompt_passes_a_long_one_which_keeps_half,
                                  test_admission_is_in_order,
                                  test_the_youngest_is_preempted_and_recomputed,
                                  test_random_operations_keep_the_promises,
                                  NULL};

    return suite_run("scheduler", tests, 60);
}
