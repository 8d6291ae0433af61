#include <check.h>
#include <string.h>

#include "server/stage.h"
#include "unit/suite.h"

START_TEST(test_names_are_unique_words)
{
    for (unsigned i = 0; i < N_STAGES; i++) {
        const char *name = stage_name((enum stage)i);
        ck_assert_uint_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz"), strlen(name));
        ck_assert_uint_gt(strlen(name), 0);
        for (unsigned k = 0; k < i; k++)
            ck_assert_str_ne(name, stage_name((enum stage)k));
    }
}
END_TEST

START_TEST(test_the_path_of_design_can_be_walked)
{
    for (unsigned i = STAGE_RECEIVE; i < STAGE_DONE; i++)
        ck_assert(stage_may_follow((enum stage)i, (enum stage)(i + 1)));
}
END_TEST

START_TEST(test_ends_are_reached_from_everywhere_and_left_never)
{
    for (unsigned i = 0; i < N_STAGES; i++) {
        bool end = stage_is_end((enum stage)i);
        ck_assert_int_eq(end, i >= STAGE_DONE);
        ck_assert_int_eq(stage_may_follow((enum stage)i, STAGE_FAILED), !end);
        ck_assert_int_eq(stage_may_follow((enum stage)i, STAGE_CANCELLED), !end);
        for (unsigned k = 0; end && k < N_STAGES; k++)
            ck_assert(!stage_may_follow((enum stage)i, (enum stage)k));
    }
}
END_TEST

START_TEST(test_no_stage_is_skipped)
{
    ck_assert(!stage_may_follow(STAGE_PARSE, STAGE_TOKENIZE)); /* a place before any tokenizing */
    ck_assert(!stage_may_follow(STAGE_QUEUE, STAGE_ADMIT));
    ck_assert(!stage_may_follow(STAGE_ADMIT, STAGE_FORWARD));
    ck_assert(!stage_may_follow(STAGE_FORWARD, STAGE_DETOK));
    ck_assert(!stage_may_follow(STAGE_SAMPLE, STAGE_DONE));
    ck_assert(!stage_may_follow(STAGE_BATCH, STAGE_BATCH));
    ck_assert(stage_may_follow(STAGE_BATCH, STAGE_ADMIT));  /* preempted */
    ck_assert(stage_may_follow(STAGE_STREAM, STAGE_BATCH)); /* the next token */
    ck_assert(stage_may_follow(STAGE_ROUTE, STAGE_DONE));   /* GET */
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        test_names_are_unique_words, test_the_path_of_design_can_be_walked,
        test_ends_are_reached_from_everywhere_and_left_never, test_no_stage_is_skipped, NULL};

    return suite_run("stage", tests, 10);
}
