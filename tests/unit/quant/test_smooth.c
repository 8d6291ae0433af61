/* SmoothQuant's scales: the paper's formula, and the search for its exponent. */
#include "model/quant/smooth.h"

#include <math.h>

#include "unit/suite.h"

enum { K = 64 };

static float size_x[K], size_w[K], s[K];

/* What rounding makes of one scale for each side, by the channels' sizes: the largest of one side is
 * its step, and weighs as all of the other. */
static double one_scale(void *arg, const float *scales)
{
    double most_x = 0.0, most_w = 0.0, all_x = 0.0, all_w = 0.0;

    (void)arg;
    for (size_t j = 0; j < K; j++) {
        const double x = (double)size_x[j] / (double)scales[j],
                     w = (double)size_w[j] * (double)scales[j];
        most_x = fmax(most_x, x);
        most_w = fmax(most_w, w);
        all_x += x * x;
        all_w += w * w;
    }
    return most_x * most_x * all_w + most_w * most_w * all_x;
}

static const struct smooth m = {K, size_x, size_w, one_scale, NULL};

/* Channels of one size on both sides, but for an outlier of the input. */
static void fill(float outlier)
{
    for (size_t j = 0; j < K; j++) {
        size_x[j] = j == 5 ? outlier : 1.0f;
        size_w[j] = 1.0f;
    }
}

START_TEST(the_formula)
{
    const double one = pow(16.0, -0.5 / K) * pow(4.0, 0.5 / K); /* the geometric mean is 1 */

    fill(16.0f);
    size_w[5] = 4.0f;
    smooth_scales(&m, 0.5f, s);
    ck_assert_double_eq_tol((double)s[6], one, 1e-5);
    ck_assert_float_eq_tol(s[5] / s[6], 2.0f, 1e-5f);
    smooth_scales(&m, 1.0f, s);
    ck_assert_float_eq_tol(s[5] / s[6], 16.0f, 1e-4f);
    smooth_scales(&m, 0.0f, s);
    ck_assert_float_eq_tol(s[5] / s[6], 0.25f, 1e-5f);
}
END_TEST

START_TEST(empty_channels_stay)
{
    fill(16.0f);
    size_x[3] = 0.0f;
    size_w[4] = 0.0f;
    ck_assert(smooth_search(&m, s) >= 0.0f);
    ck_assert_float_eq(s[3], 1.0f);
    ck_assert_float_eq(s[4], 1.0f);
    for (size_t j = 0; j < K; j++)
        size_x[j] = 0.0f;
    smooth_scales(&m, 0.5f, s);
    for (size_t j = 0; j < K; j++)
        ck_assert_float_eq(s[j], 1.0f);
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
    ck_assert(one_scale(NULL, s) < 0.1 * one_scale(NULL, ones));
    fill(1.0f); /* nothing to gain */
    ck_assert_float_eq(smooth_search(&m, s), -1.0f);
    for (size_t j = 0; j < K; j++)
        ck_assert_float_eq(s[j], 1.0f);
}
END_TEST

RUN_SUITE("smooth", the_formula, empty_channels_stay, an_outlier_is_shared)
