/* SmoothQuant's scales: the paper's formula, and the search for its exponent. */
#include "model/quant/smooth.h"

#include <math.h>

#include "unit/suite.h"

enum { K = 64 };

static float max_x[K], energy_x[K], max_w[K], energy_w[K], s[K];
static const struct smooth m = {K, max_x, energy_x, max_w, energy_w};

/* Channels of one size on both sides, but for an outlier of the input. */
static void fill(float outlier)
{
    for (size_t j = 0; j < K; j++) {
        max_x[j] = j == 5 ? outlier : 1.0f;
        max_w[j] = 1.0f;
        energy_x[j] = max_x[j] * max_x[j] / 9.0f;
        energy_w[j] = 50.0f;
    }
}

START_TEST(the_formula)
{
    fill(16.0f);
    max_w[5] = 4.0f;
    smooth_scales(&m, 0.5f, s);
    ck_assert_float_eq_tol(s[5], 2.0f, 1e-6f);
    ck_assert_float_eq(s[6], 1.0f);
    smooth_scales(&m, 1.0f, s);
    ck_assert_float_eq_tol(s[5], 16.0f, 1e-5f);
    smooth_scales(&m, 0.0f, s);
    ck_assert_float_eq_tol(s[5], 0.25f, 1e-6f);
}
END_TEST

START_TEST(empty_channels_stay)
{
    fill(16.0f);
    max_x[3] = energy_x[3] = 0.0f;
    max_w[4] = energy_w[4] = 0.0f;
    ck_assert(smooth_search(&m, s) >= 0.0f);
    ck_assert_float_eq(s[3], 1.0f);
    ck_assert_float_eq(s[4], 1.0f);
}
END_TEST

START_TEST(an_outlier_is_shared)
{
    float ones[K];

    for (size_t j = 0; j < K; j++)
        ones[j] = 1.0f;
    fill(100.0f);
    float a = smooth_search(&m, s);
    ck_assert(a > 0.2f && a < 1.0f); /* neither side alone */
    ck_assert(smooth_error(&m, s) < 0.1 * smooth_error(&m, ones));
    fill(1.0f); /* nothing to gain */
    ck_assert_float_eq(smooth_search(&m, s), -1.0f);
    for (size_t j = 0; j < K; j++)
        ck_assert_float_eq(s[j], 1.0f);
}
END_TEST

RUN_SUITE("smooth", the_formula, empty_channels_stay, an_outlier_is_shared)
