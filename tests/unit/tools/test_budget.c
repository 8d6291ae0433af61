/* The knapsack against all choices there are. */
#include "tools/budget.h"

#include <math.h>
#include <stdbool.h>

#include "config/status.h"
#include "unit/suite.h"

enum { UNITS = 6, OPTIONS = 4, CHOICES = 4096 /* OPTIONS ^ UNITS */ };

static struct budget_option table[UNITS * OPTIONS];
static uint64_t state;

static uint64_t draw(uint64_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (state >> 33) % below;
}

/* Bytes in multiples of `of`. Options neither ascend nor all make sense. */
static void fill(uint64_t seed, uint64_t of)
{
    state = seed;
    for (size_t i = 0; i < UNITS * OPTIONS; i++)
        table[i] = (struct budget_option){of * (1 + draw(1000)), (double)draw(1000000) * 1e-9};
}

static struct budget_option sum_of(size_t choice)
{
    struct budget_option sum = {0};

    for (size_t u = 0; u < UNITS; u++, choice /= OPTIONS) {
        sum.bytes += table[u * OPTIONS + choice % OPTIONS].bytes;
        sum.loss += table[u * OPTIONS + choice % OPTIONS].loss;
    }
    return sum;
}

/* The best of all choices: least loss of those within bytes, fewest bytes of those within a loss. */
static double brute_loss(uint64_t most)
{
    double best = INFINITY;

    for (size_t c = 0; c < CHOICES; c++)
        if (sum_of(c).bytes <= most)
            best = fmin(best, sum_of(c).loss);
    return best;
}

static uint64_t brute_bytes(double most)
{
    uint64_t best = UINT64_MAX;

    for (size_t c = 0; c < CHOICES; c++)
        if (sum_of(c).loss <= most && sum_of(c).bytes < best)
            best = sum_of(c).bytes;
    return best;
}

START_TEST(as_good_as_all_choices)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct budget *b;
        size_t choice[UNITS];
        fill(seed, seed % 2 ? 1 : 3456);
        ck_assert_int_eq(budget_open(table, UNITS, OPTIONS, &b), ST_OK);
        uint64_t least = brute_bytes(INFINITY);
        double lowest = brute_loss(UINT64_MAX);
        ck_assert_uint_eq(budget_least(b).bytes, least);
        ck_assert_double_eq_tol(budget_least(b).loss, lowest, 1e-15);
        for (uint64_t i = 0; i < 10; i++) {
            uint64_t most = least + i * least / 4;
            ck_assert_int_eq(budget_by_bytes(b, most, choice), ST_OK);
            ck_assert_uint_le(budget_sum(b, choice).bytes, most);
            ck_assert_double_eq_tol(budget_sum(b, choice).loss, brute_loss(most), 1e-15);
            double loss = lowest * (1.0 + 0.3 * (double)i) + 1e-14;
            ck_assert_int_eq(budget_by_loss(b, loss, choice), ST_OK);
            ck_assert_double_le(budget_sum(b, choice).loss, loss + 1e-15);
            ck_assert_uint_eq(budget_sum(b, choice).bytes, brute_bytes(loss));
        }
        budget_free(b);
    }
}
END_TEST

START_TEST(bounds_out_of_reach)
{
    struct budget *b;
    size_t choice[UNITS];

    fill(7, 1);
    ck_assert_int_eq(budget_open(table, UNITS, OPTIONS, &b), ST_OK);
    ck_assert_int_eq(budget_by_bytes(b, budget_least(b).bytes - 1, choice), ST_NOTFOUND);
    ck_assert_int_eq(budget_by_loss(b, budget_least(b).loss * 0.99, choice), ST_NOTFOUND);
    ck_assert_int_eq(budget_by_loss(b, NAN, choice), ST_NOTFOUND);
    budget_free(b);
}
END_TEST

/* Bytes without a common step: the bound holds, and what is lost is what a step a unit could buy. */
START_TEST(bytes_beyond_the_table)
{
    struct budget *b;
    size_t choice[UNITS];

    fill(3, UINT64_C(1000000007));
    for (size_t i = 0; i < UNITS * OPTIONS; i++)
        table[i].bytes += draw(1000);
    ck_assert_int_eq(budget_open(table, UNITS, OPTIONS, &b), ST_OK);
    uint64_t least = brute_bytes(INFINITY), step = 6 * UINT64_C(1000000007000) / BUDGET_STEPS + 1;
    for (uint64_t i = 1; i < 10; i++) {
        uint64_t most = least + i * least / 4;
        ck_assert_int_eq(budget_by_bytes(b, most, choice), ST_OK);
        ck_assert_uint_le(budget_sum(b, choice).bytes, most);
        ck_assert_double_le(budget_sum(b, choice).loss, brute_loss(most - UNITS * step));
    }
    budget_free(b);
}
END_TEST

START_TEST(one_option_each)
{
    struct budget *b;
    size_t choice[UNITS];

    fill(1, 1);
    ck_assert_int_eq(budget_open(table, UNITS, 1, &b), ST_OK);
    ck_assert_int_eq(budget_by_bytes(b, budget_least(b).bytes, choice), ST_OK);
    for (size_t u = 0; u < UNITS; u++)
        ck_assert_uint_eq(choice[u], 0);
    budget_free(b);
}
END_TEST

RUN_SUITE("budget", as_good_as_all_choices, bounds_out_of_reach, bytes_beyond_the_table,
          one_option_each)
