/* The arithmetic of `octet eval` against numpy in float64 (eval_stats_numbers.py). */
#include <math.h>
#include <stdlib.h>

#include "tools/eval_stats.h"
#include "unit/tools/eval_stats_numbers.h"
#include "unit/suite.h"

#define TOLERANCE 2e-6 /* of a log probability: floats carry the terms of its sums */

static uint32_t lcg_state;

/* The same rows as in eval_stats_numbers.py. */
static void make_row(float low, float high, float *row)
{
    for (size_t i = 0; i < VOCAB; i++) {
        lcg_state = lcg_state * 1664525u + 1013904223u;
        row[i] = low + (float)(lcg_state >> 8) * 0x1p-24f * (high - low);
    }
}

static void make_scores(struct eval_score *scores)
{
    static float ref[VOCAB], logits[VOCAB];

    lcg_state = 1;
    for (size_t row = 0; row < ROWS; row++) {
        make_row(-12, 12, ref);
        make_row(-1, 1, logits);
        for (size_t i = 0; i < VOCAB; i++)
            logits[i] = ref[i] + logits[i] * 0.125f;
        eval_score_row(logits, ref, VOCAB, (int32_t)(row * 271 % VOCAB), &scores[row]);
    }
}

START_TEST(rows_equal_numpy)
{
    struct eval_score got[ROWS];

    make_scores(got);
    for (size_t i = 0; i < ROWS; i++) {
        ck_assert_double_eq_tol(got[i].nll, EXPECTED[i].nll, TOLERANCE);
        ck_assert_double_eq_tol(got[i].ref_nll, EXPECTED[i].ref_nll, TOLERANCE);
        ck_assert_double_eq_tol(got[i].kld, EXPECTED[i].kld, TOLERANCE);
        ck_assert_double_eq_tol(got[i].dp, EXPECTED[i].dp, TOLERANCE);
        ck_assert(got[i].same_top == EXPECTED[i].same_top);
    }
}
END_TEST

START_TEST(summary_equals_numpy)
{
    struct eval_summary got;
    double work[ROWS];

    eval_summarize(EXPECTED, ROWS, work, &got);
    ck_assert_double_eq_tol(got.ppl, SUMMARY.ppl, 1e-9 * SUMMARY.ppl);
    ck_assert_double_eq_tol(got.ref_ppl, SUMMARY.ref_ppl, 1e-9 * SUMMARY.ref_ppl);
    ck_assert_double_eq_tol(got.ppl_ratio, SUMMARY.ppl_ratio, 1e-12);
    ck_assert_double_eq_tol(got.kld_mean, SUMMARY.kld_mean, 1e-12);
    ck_assert_double_eq_tol(got.kld_median, SUMMARY.kld_median, 1e-12);
    ck_assert_double_eq_tol(got.kld_p99, SUMMARY.kld_p99, 1e-12);
    ck_assert_double_eq_tol(got.kld_max, SUMMARY.kld_max, 1e-12);
    ck_assert_double_eq_tol(got.same_top, SUMMARY.same_top, 1e-12);
    ck_assert_double_eq_tol(got.rms_dp, SUMMARY.rms_dp, 1e-12);
    ck_assert_double_eq_tol(got.ppl_se, SUMMARY.ppl_se, 1e-9 * SUMMARY.ppl_se);
}
END_TEST

START_TEST(median_of_an_even_count_is_between)
{
    struct eval_score scores[4] = {{.kld = 4}, {.kld = 1}, {.kld = 2}, {.kld = 8}};
    struct eval_summary got;
    double work[4];

    eval_summarize(scores, 4, work, &got);
    ck_assert_double_eq(got.kld_median, 3);
    ck_assert_double_eq_tol(got.kld_p99, 4 + 0.97 * 4, 1e-12); /* 0.99 * 3 = 2.97 */
    ck_assert_double_eq(got.kld_max, 8);
}
END_TEST

START_TEST(one_score_has_no_error)
{
    struct eval_score score = {.nll = 2};
    struct eval_summary got;
    double work;

    eval_summarize(&score, 1, &work, &got);
    ck_assert_double_eq_tol(got.ppl, exp(2.0), 1e-12);
    ck_assert_double_eq(got.ppl_se, 0);
}
END_TEST

START_TEST(equal_rows_diverge_by_nothing)
{
    static float row[VOCAB];
    struct eval_score got;

    lcg_state = 7;
    make_row(-30, 30, row);
    eval_score_row(row, row, VOCAB, 5, &got);
    ck_assert_double_eq(got.kld, 0);
    ck_assert_double_eq(got.dp, 0);
    ck_assert(got.same_top);
}
END_TEST

/* A shift of all logits changes no probability, a flat row is log n, a certain one is 0. */
START_TEST(extremes)
{
    static float flat[VOCAB], sure[VOCAB];
    struct eval_score got;

    for (size_t i = 0; i < VOCAB; i++) {
        flat[i] = 1e6f;
        sure[i] = -1e6f;
    }
    sure[VOCAB - 1] = 1e6f;
    eval_score_row(flat, sure, VOCAB, 0, &got);
    ck_assert_double_eq_tol(got.nll, log(VOCAB), TOLERANCE);
    ck_assert_double_eq_tol(got.ref_nll, 2e6, 1e-3);
    ck_assert_double_eq_tol(got.kld, log(VOCAB), TOLERANCE);
    ck_assert(!got.same_top);
    eval_score_row(sure, NULL, VOCAB, VOCAB - 1, &got);
    ck_assert_double_eq_tol(got.nll, 0, TOLERANCE);
}
END_TEST

/* Vocabularies shorter than a vector, and of each length after. */
START_TEST(every_length)
{
    float row[40];

    for (size_t n = 1; n <= 40; n++) {
        struct eval_score got;
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            row[i] = (float)(i * 7 % 11);
        for (size_t i = 0; i < n; i++)
            sum += exp((double)row[i]);
        eval_score_row(row, row, n, (int32_t)n - 1, &got);
        ck_assert_double_eq_tol(got.nll, log(sum) - (double)row[n - 1], TOLERANCE);
    }
}
END_TEST

START_TEST(a_nan_shows)
{
    static float row[VOCAB];
    struct eval_score got;

    for (size_t at = 0; at < VOCAB; at += 167) {
        for (size_t i = 0; i < VOCAB; i++)
            row[i] = (float)i;
        row[at] = NAN;
        eval_score_row(row, NULL, VOCAB, 3, &got);
        ck_assert(!isfinite(got.nll));
    }
    for (size_t i = 0; i < VOCAB; i++)
        row[i] = NAN;
    eval_score_row(row, NULL, VOCAB, 3, &got);
    ck_assert(!isfinite(got.nll));
}
END_TEST

RUN_SUITE("eval_stats", rows_equal_numpy, summary_equals_numpy, median_of_an_even_count_is_between,
          one_score_has_no_error, equal_rows_diverge_by_nothing, extremes, every_length,
          a_nan_shows)
