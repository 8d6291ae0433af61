#include "unit/server/fake_store.h"
#include "unit/suite.h"

START_TEST(test_prompt_in_chunks_then_one_row_a_step)
{
    struct user item = {0};

    open_with(2, 10, 16);
    add(&item, 25);
    const uint32_t rows[] = {10, 10, 5, 1, 1};
    uint32_t pos = 0;
    for (unsigned i = 0; i < 5; i++) {
        const struct sched_plan *plan = step();
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
    struct user decodes = {0}, prompt = {0};

    open_with(2, 8, 16);
    add(&decodes, 3);
    carry_out(step());
    add(&prompt, 30);
    const struct sched_plan *plan = step();
    ck_assert_uint_eq(slice_of(plan, &decodes.item)->n, 1);
    ck_assert_uint_eq(slice_of(plan, &prompt.item)->n, 7);
    teardown();
}
END_TEST

START_TEST(test_a_short_prompt_passes_a_long_one_which_keeps_half)
{
    struct user oldest = {0}, shorter = {0}, shortest = {0};

    open_with(3, 20, 64);
    add(&oldest, 100);
    add(&shorter, 9);
    add(&shortest, 4);
    const struct sched_plan *plan = step();
    ck_assert_uint_eq(slice_of(plan, &oldest.item)->n, 10);
    ck_assert_uint_eq(slice_of(plan, &shortest.item)->n, 4);
    ck_assert_uint_eq(slice_of(plan, &shorter.item)->n, 6);
    carry_out(plan);
    plan = step();
    ck_assert_uint_eq(slice_of(plan, &shortest.item)->n, 1); /* it decodes */
    ck_assert_uint_eq(slice_of(plan, &shorter.item)->n, 3);
    ck_assert_uint_eq(slice_of(plan, &oldest.item)->n, 16); /* and what the others leave */
    teardown();
}
END_TEST

START_TEST(test_admission_is_in_order)
{
    struct user running = {0}, big = {0}, small = {0};

    open_with(3, 100, 8);
    add(&running, 8);
    carry_out(step());
    add(&big, 28); /* 7 pages: not while the other runs */
    add(&small, 1);
    const struct sched_plan *plan = step();
    ck_assert_uint_eq(sched.running.n, 1);
    ck_assert_int_eq(small.item.place, SCHED_WAITING); /* it would fit, but is not first */
    carry_out(plan);
    drop(&running);
    plan = step();
    ck_assert_ptr_eq(plan->slices[0].item, &big.item);
    teardown();
}
END_TEST

START_TEST(test_the_youngest_is_preempted_and_recomputed)
{
    struct user old = {0}, young = {0};

    open_with(2, 100, 5); /* 20 positions */
    add(&old, 8);
    add(&young, 7);
    const struct sched_plan *plan = step();
    ck_assert_uint_eq(sched.running.n, 2);
    for (unsigned i = 0; i < 5; i++) { /* old: 9 .. needs 3 pages; young: 8, 9 needs a third */
        carry_out(plan);
        plan = step();
        if (store.n_preempted)
            break;
    }
    ck_assert_uint_eq(store.n_preempted, 1);
    ck_assert_int_eq(young.item.place, SCHED_WAITING);
    ck_assert_uint_eq(young.item.n_done, 0);
    ck_assert_uint_gt(young.item.n_tokens, 7); /* what it made is part of the prompt now */
    ck_assert_ptr_eq(sched.waiting.head, &young.item);
    uint32_t n_tokens = young.item.n_tokens;
    drop(&old);
    plan = step();
    ck_assert_ptr_eq(plan->slices[0].item, &young.item);
    ck_assert_uint_eq(plan->slices[0].first, 0);
    ck_assert_uint_eq(plan->slices[0].n, n_tokens);
    teardown();
}
END_TEST

START_TEST(test_what_is_stored_already_is_not_computed_again)
{
    struct user first = {0}, second = {0};

    open_with(2, 100, 8);
    store.shares = true;
    add(&first, 18);
    carry_out(step()); /* 4 whole pages and 2 positions */
    add(&second, 18);
    const struct sched_plan *plan = step();
    ck_assert_uint_eq(slice_of(plan, &second.item)->first, 16);
    ck_assert_uint_eq(slice_of(plan, &second.item)->n, 2);
    ck_assert_uint_eq(store_free(NULL), 2); /* 4 shared, and one each of their own */
    carry_out(plan);
    drop(&first);
    drop(&second);
    ck_assert_uint_eq(store_free(NULL), 8);
    teardown();
}
END_TEST

START_TEST(test_a_prompt_that_is_stored_but_for_its_last_token_decodes)
{
    struct user first = {0}, second = {0};

    open_with(2, 4, 8);
    store.shares = true;
    add(&first, 4);
    carry_out(step());
    add(&second, 5);
    sched_admit(&sched);
    ck_assert_uint_eq(sched_decoding(&sched), 2);
    const struct sched_plan *plan = sched_plan(&sched, 0);
    ck_assert_uint_eq(plan->n_rows, 2);
    ck_assert(slice_of(plan, &second.item)->logits);
    teardown();
}
END_TEST

START_TEST(test_prompts_get_what_they_are_allowed)
{
    struct user decodes = {0}, prompt = {0};

    open_with(2, 100, 16);
    add(&decodes, 3);
    carry_out(step());
    add(&prompt, 30);
    const uint32_t allowed[] = {0, 7, 1, 22};
    for (unsigned i = 0; i < 4; i++) {
        sched_admit(&sched);
        ck_assert_uint_eq(sched_decoding(&sched), 1);
        const struct sched_plan *plan = sched_plan(&sched, allowed[i]);
        ck_assert_uint_eq(plan->n_rows, 1 + allowed[i]);
        carry_out(plan);
    }
    ck_assert_uint_eq(prompt.item.n_tokens, 31);
    teardown();
}
END_TEST

START_TEST(test_guesses_take_rows_and_pages_that_are_spare)
{
    struct user a = {0}, b = {0};

    open_with(2, 8, 4);
    add(&a, 3);
    carry_out(step());
    a.item.n_draft = 9;
    sched_admit(&sched);
    const struct sched_plan *plan = sched_plan(&sched, 1);
    ck_assert_uint_eq(plan->n_rows, 8); /* rows are the bound */
    ck_assert_uint_eq(plan->n_draft, 7);
    ck_assert_uint_eq(plan->slices[0].n_draft, 7);
    ck_assert(plan->slices[0].logits);
    sched_commit(&sched);
    ck_assert_uint_eq(a.item.n_done, 4);
    sched_grow(&sched, &a.item, 3); /* two of them were right */
    ck_assert_uint_eq(a.item.n_done, 6);
    ck_assert_uint_eq(a.item.n_tokens, 7);

    add(&b, 4); /* one page of four is left: no page is spare now */
    carry_out(step());
    a.item.n_draft = 5;
    sched_admit(&sched);
    plan = sched_plan(&sched, 1);
    ck_assert_uint_eq(plan->n_draft, 0);
    ck_assert_uint_eq(a.item.n_draft, 0); /* a wish is for one step */
    teardown();
}
END_TEST

START_TEST(test_guesses_wait_while_a_prompt_does)
{
    struct user a = {0}, b = {0};

    open_with(2, 8, 16);
    add(&a, 3);
    carry_out(step());
    add(&b, 30);
    a.item.n_draft = 5;
    const struct sched_plan *plan = step();
    ck_assert_uint_eq(plan->n_draft, 0);
    ck_assert_uint_eq(slice_of(plan, &b.item)->n, 7);
    teardown();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_prompt_in_chunks_then_one_row_a_step,
                                  test_decoding_rows_come_before_prompts,
                                  test_a_short_prompt_passes_a_long_one_which_keeps_half,
                                  test_admission_is_in_order,
                                  test_the_youngest_is_preempted_and_recomputed,
                                  test_what_is_stored_already_is_not_computed_again,
                                  test_a_prompt_that_is_stored_but_for_its_last_token_decodes,
                                  test_prompts_get_what_they_are_allowed,
                                  test_guesses_take_rows_and_pages_that_are_spare,
                                  test_guesses_wait_while_a_prompt_does,
                                  NULL};

    return suite_run("scheduler", tests, 60);
}
