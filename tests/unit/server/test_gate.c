#include <check.h>

#include "server/gate.h"
#include "unit/suite.h"

#define SECOND 1000000u

static struct gate gate;

START_TEST(test_running_and_waiting_places)
{
    gate_init(&gate, 2, 3);
    for (unsigned i = 0; i < 5; i++)
        ck_assert(gate_enter(&gate, 1));
    ck_assert(!gate_enter(&gate, 1));
    gate_admitted(&gate, 2); /* running still holds a place */
    ck_assert(!gate_enter(&gate, 3));
    gate_leave(&gate, true, 4);
    ck_assert(gate_enter(&gate, 5));
    ck_assert_uint_eq(gate.inside, 5);
    ck_assert_uint_eq(gate.waiting, 5);
}
END_TEST

START_TEST(test_no_queue_at_all)
{
    gate_init(&gate, 1, 0);
    ck_assert(gate_enter(&gate, 1));
    ck_assert(!gate_enter(&gate, 1));
}
END_TEST

START_TEST(test_retry_is_the_line_times_the_pace)
{
    uint64_t now = SECOND;

    gate_init(&gate, 1, 100);
    for (unsigned i = 0; i < 20; i++)
        ck_assert(gate_enter(&gate, now));
    for (unsigned i = 0; i < 10; i++) {
        now += SECOND / 2;
        gate_admitted(&gate, now);
        gate_leave(&gate, true, now);
    }
    ck_assert_uint_eq(gate_retry_ms(&gate, now), 5000); /* ten wait, half a second each */
}
END_TEST

START_TEST(test_retry_has_bounds)
{
    gate_init(&gate, 1, 1000);
    ck_assert_uint_eq(gate_retry_ms(&gate, 0), 1000);
    for (unsigned i = 0; i < 1000; i++)
        gate_enter(&gate, SECOND);
    gate_admitted(&gate, 2 * SECOND);
    ck_assert_uint_eq(gate_retry_ms(&gate, 2 * SECOND), 60000);
}
END_TEST

START_TEST(test_a_stalled_line_is_slower_than_its_history)
{
    gate_init(&gate, 1, 10);
    for (unsigned i = 0; i < 3; i++)
        gate_enter(&gate, SECOND);
    gate_admitted(&gate, SECOND + 1000);
    ck_assert_uint_eq(gate_retry_ms(&gate, SECOND + 2000), 1000);
    ck_assert_uint_eq(gate_retry_ms(&gate, SECOND + 1000 + 4 * SECOND), 8000);
}
END_TEST

START_TEST(test_an_idle_night_is_not_the_pace)
{
    gate_init(&gate, 1, 10);
    gate_enter(&gate, SECOND);
    gate_admitted(&gate, SECOND + 1000);
    gate_leave(&gate, true, 2 * SECOND);
    uint64_t morning = 30000ull * SECOND;
    for (unsigned i = 0; i < 8; i++)
        gate_enter(&gate, morning);
    gate_admitted(&gate, morning + 1000);
    ck_assert_uint_eq(gate_retry_ms(&gate, morning + 1000), 1000);
}
END_TEST

START_TEST(test_leaving_the_line_unadmitted_counts)
{
    gate_init(&gate, 1, 1);
    gate_enter(&gate, 1);
    gate_enter(&gate, 1);
    gate_leave(&gate, false, 2);
    ck_assert_uint_eq(gate.waiting, 1);
    ck_assert_uint_eq(gate.inside, 1);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_running_and_waiting_places,
                                  test_no_queue_at_all,
                                  test_retry_is_the_line_times_the_pace,
                                  test_retry_has_bounds,
                                  test_a_stalled_line_is_slower_than_its_history,
                                  test_an_idle_night_is_not_the_pace,
                                  test_leaving_the_line_unadmitted_counts,
                                  NULL};

    return suite_run("gate", tests, 10);
}
