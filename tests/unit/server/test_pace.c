/* The pace over machines of all kinds: steps under the target, prompts that get on. */
#include <check.h>
#include <stdlib.h>

#include "server/pace.h"
#include "unit/suite.h"

/* A machine: microseconds of a step. */
struct machine {
    double fixed, per_row, per_prompt_row;
    double flat;  /* so many rows cost nothing */
    double noise; /* up to so many times more, */
    unsigned odd; /* and one step in so many takes ten times as long; 0: none */
};

static double once(const struct machine *m, uint32_t n, uint32_t p)
{
    double rows = n > m->flat ? n - m->flat : 0;

    return m->fixed + m->per_row * rows + m->per_prompt_row * p;
}

static double step(const struct machine *m, uint32_t n, uint32_t p)
{
    double us = once(m, n, p) * (1 + m->noise * rand() / RAND_MAX);

    return m->odd && (unsigned)rand() % m->odd == 0 ? 10 * us : us;
}

static void run(struct pace *pace, const struct machine *m, uint32_t n, uint32_t p, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        pace_saw(pace, &(struct pace_step){.n_decoding = n, .n_prompt = p}, step(m, n, p));
}

START_TEST(test_plain_steps_are_learned)
{
    const struct machine m = {.fixed = 5000, .per_row = 600, .flat = 4};
    struct pace pace;

    pace_init(&pace, 0);
    ck_assert(pace_plain_us(&pace, 1) == 0);
    run(&pace, &m, 4, 0, 1);
    ck_assert_double_eq_tol(pace_plain_us(&pace, 4), 5000, 1);
    ck_assert_double_eq_tol(pace_plain_us(&pace, 16), 5000, 1); /* flat beyond what was seen */
    ck_assert_double_eq_tol(pace_plain_us(&pace, 1), 5000, 1);
    for (uint32_t i = 0; i < 30 * 1024; i++)
        run(&pace, &m, 1 + i * 389 % 1024, 0, 1); /* in no order */
    for (uint32_t n = 1; n <= 1024; n++)
        ck_assert_double_eq_tol(pace_plain_us(&pace, n) / once(&m, n, 0), 1, 0.1);
    ck_assert_double_eq_tol(pace_plain_us(&pace, 5000), once(&m, 1024, 0), 60000);
}
END_TEST

START_TEST(test_odd_steps_count_little)
{
    const struct machine m = {.fixed = 5000, .noise = 0.1, .odd = 20};
    struct pace pace;

    srand(3);
    pace_init(&pace, 0);
    double most = 0;
    for (unsigned i = 0; i < 2000; i++) {
        run(&pace, &m, 1, 0, 1);
        if (pace_plain_us(&pace, 1) > most)
            most = pace_plain_us(&pace, 1);
    }
    ck_assert_double_lt(most, 5000 * 2);
    pace_init(&pace, 0);
    pace_saw(&pace, &(struct pace_step){.n_decoding = 1}, 1e6); /* the first one, cold */
    run(&pace, &m, 1, 0, 4);
    ck_assert_double_lt(pace_plain_us(&pace, 1), 6000);
}
END_TEST

START_TEST(test_it_follows_a_machine_that_changes)
{
    struct machine m = {.fixed = 5000};
    struct pace pace;

    pace_init(&pace, 0);
    run(&pace, &m, 2, 0, 100);
    m.fixed = 20000;
    run(&pace, &m, 2, 0, 60);
    ck_assert_double_eq_tol(pace_plain_us(&pace, 2), 20000, 1500);
    m.fixed = 2000;
    run(&pace, &m, 2, 0, 100);
    ck_assert_double_eq_tol(pace_plain_us(&pace, 2), 2000, 200);
}
END_TEST

START_TEST(test_alone_a_prompt_gets_everything)
{
    struct pace pace;

    pace_init(&pace, 1);
    ck_assert_uint_eq(pace_prompt_rows(&pace, 0, 288), 288);
    ck_assert(!pace_wants_plain(&pace, 0));
}
END_TEST

START_TEST(test_what_is_not_known_is_measured_first)
{
    const struct machine m = {.fixed = 5000, .per_row = 500, .per_prompt_row = 300};
    struct pace pace;

    pace_init(&pace, 0);
    run(&pace, &m, 0, 256, 3);
    ck_assert_uint_eq(pace_prompt_rows(&pace, 4, 100), 0);
    run(&pace, &m, 4, 0, 1);
    ck_assert_uint_gt(pace_prompt_rows(&pace, 4, 100), 0);
    ck_assert_uint_eq(pace_prompt_rows(&pace, 12, 100), 0); /* at other numbers it is not known */
    ck_assert_uint_le(pace_prompt_rows(&pace, 4, 3), 3);
}
END_TEST

/* n sequences decode while a prompt of so many tokens is computed; returns how many of its steps
 * took longer than 1.1 x limit. *ret_steps counts all of its steps. */
static unsigned prefill(struct pace *pace, const struct machine *m, uint32_t n, uint32_t prompt,
                        double limit, unsigned *ret_steps)
{
    unsigned over = 0, n_plain = 0, steps = 0;

    for (; prompt > 0; steps++) {
        uint32_t p = pace_prompt_rows(pace, n, prompt < 288 ? prompt : 288);
        double us = step(m, n, p);

        ck_assert_uint_le(p, prompt);
        ck_assert(p == prompt || p == 0 || p >= PACE_LEAST);
        n_plain += p == 0;
        ck_assert_uint_le(n_plain, 1 + steps / PACE_LOOK);
        over += us > 1.1 * limit;
        pace_saw(pace, &(struct pace_step){.n_decoding = n, .n_prompt = p}, us);
        prompt -= p;
    }
    *ret_steps = steps;
    return over;
}

static double between(double low, double high)
{
    return low + (high - low) * rand() / RAND_MAX;
}

START_TEST(test_whatever_the_costs_prompts_complete_and_steps_keep_the_target)
{
    unsigned feasible = 0;

    for (unsigned seed = 0; seed < 1000; seed++) {
        srand(seed);
        const struct machine m = {.fixed = between(100, 20000),
                                  .per_row = between(10, 1500),
                                  .per_prompt_row = between(5, 1500),
                                  .flat = rand() % 2 ? 0 : 8,
                                  .noise = 0.05};
        uint32_t n = 1 + (uint32_t)rand() % 64, target_ms = rand() % 2 ? (uint32_t)rand() % 100 : 0;
        double limit = target_ms ? target_ms * 1e3 : 2 * once(&m, n, 0);
        unsigned steps, over;
        struct pace pace;

        pace_init(&pace, target_ms);
        run(&pace, &m, 0, 288, (unsigned)rand() % 3);
        run(&pace, &m, n, 0, (unsigned)rand() % 10);
        prefill(&pace, &m, n, 100, limit, &steps); /* to learn */
        over = prefill(&pace, &m, n, 1000, limit, &steps);
        if (once(&m, n, PACE_LEAST) * 1.1 > limit)
            continue; /* whatever it does */
        feasible++;
        ck_assert_msg(over == 0, "seed %u: %u of %u steps were late", seed, over, steps);
        /* Nor is it timid: the mean step with a prompt makes use of half of what it may. */
        double room = (limit / 1.11 - once(&m, n, 0)) / m.per_prompt_row;
        if (!target_ms)
            ck_assert_msg(steps <= 3 + 2.5 * 1000 / (room < 288 ? room : 288) + steps / PACE_LOOK,
                          "seed %u: %u steps where %.0f rows fit one", seed, steps, room);
    }
    ck_assert_uint_gt(feasible, 300);
}
END_TEST

START_TEST(test_under_constant_load_it_still_looks_at_plain_steps)
{
    struct machine m = {.fixed = 5000, .per_row = 500, .per_prompt_row = 300};
    struct pace pace;
    unsigned steps;

    pace_init(&pace, 0);
    run(&pace, &m, 16, 0, 10);
    m.fixed = 15000; /* contexts have grown */
    prefill(&pace, &m, 16, 200000, 1e9, &steps);
    ck_assert_double_eq_tol(pace_plain_us(&pace, 16), once(&m, 16, 0), 1500);
}
END_TEST

START_TEST(test_guesses_are_rows_that_decode)
{
    struct pace pace;

    pace_init(&pace, 0);
    for (unsigned i = 0; i < PACE_LOOK; i++) {
        ck_assert(i == 0 || !pace_wants_plain(&pace, 8));
        pace_saw(&pace, &(struct pace_step){.n_decoding = 1, .n_draft = 7}, 8000);
    }
    ck_assert_double_eq_tol(pace_plain_us(&pace, 8), 8000, 1);
    ck_assert(pace_wants_plain(&pace, 8)); /* it is time */
    ck_assert(pace_wants_plain(&pace, 1)); /* not seen yet */
    pace_saw(&pace, &(struct pace_step){.n_decoding = 1}, 5000);
    ck_assert(!pace_wants_plain(&pace, 1));
    pace_saw(&pace, &(struct pace_step){0}, 5000); /* nothing ran: nothing is learned */
    pace_saw(&pace, &(struct pace_step){.n_decoding = 1}, 0);
    ck_assert_double_eq_tol(pace_plain_us(&pace, 1), 5000, 1);
}
END_TEST

RUN_SUITE("pace", test_plain_steps_are_learned, test_odd_steps_count_little,
          test_it_follows_a_machine_that_changes, test_alone_a_prompt_gets_everything,
          test_what_is_not_known_is_measured_first,
          test_whatever_the_costs_prompts_complete_and_steps_keep_the_target,
          test_under_constant_load_it_still_looks_at_plain_steps, test_guesses_are_rows_that_decode)
