/* KL divergence of rows of logits against its definition in double precision. */
#include "model/quant/divergence.h"

#include <math.h>

#include "unit/suite.h"

enum { N = 1000 };

static float ref[N], x[N], p[N];

/* The definition: sum of p (log p - log q). Good to 1e-15 of the logarithms, so to 1e-13 here. */
static double by_definition(void)
{
    double sum_p = 0.0, sum_q = 0.0, kld = 0.0;

    for (size_t i = 0; i < N; i++) {
        sum_p += exp((double)ref[i]);
        sum_q += exp((double)x[i]);
    }
    for (size_t i = 0; i < N; i++)
        kld += exp((double)ref[i]) / sum_p *
               (((double)ref[i] - log(sum_p)) - ((double)x[i] - log(sum_q)));
    return kld;
}

/* Logits of a few likely and many unlikely tokens; x differs by up to `by`, and by a constant. */
static void fill(float by, float constant)
{
    for (size_t i = 0; i < N; i++) {
        ref[i] = 12.0f * sinf((float)(i * i)) * cosf((float)i);
        x[i] = ref[i] + by * sinf(3.0f * (float)i + 1.0f) + constant;
    }
}

START_TEST(small_and_large_differences)
{
    const struct kernels *kernels;

    for (size_t k = 0; (kernels = kernels_at(k)); k++)
        for (float by = 30.0f; by > 2e-3f; by /= 3.0f) {
            fill(by, 0.0f);
            double want = by_definition(), got = divergence_row(kernels, ref, x, N, p);
            ck_assert_double_gt(want, 0.0);
            ck_assert_double_le(fabs(got - want), 1e-6 * want + 1e-12);
        }
}
END_TEST

/* Far below what the difference of two logarithms would show: half the variance, 1/2 E[d^2]. */
START_TEST(tiny_differences)
{
    const struct kernels *kernels = kernels_get(NULL);
    double mean = 0.0, square = 0.0, sum = 0.0;

    fill(0.0f, 0.0f);
    for (size_t i = 0; i < N; i++) {
        ref[i] = (float)(i % 8) * 0.5f;
        x[i] = ref[i] + (i % 3 ? 0.0009765625f : 0.0f); /* exact in f32 */
        double e = exp((double)ref[i]), d = (double)x[i] - (double)ref[i];
        sum += e;
        mean += e * d;
        square += e * d * d;
    }
    double want = (square / sum - mean / sum * (mean / sum)) / 2.0;
    ck_assert_double_eq_tol(divergence_row(kernels, ref, x, N, p) / want, 1.0, 1e-3);
}
END_TEST

/* What all logits have in common changes nothing; the same row is not away at all. */
START_TEST(a_constant_is_nothing)
{
    const struct kernels *kernels = kernels_get(NULL);

    fill(0.0f, 0.0f);
    ck_assert_double_eq(divergence_row(kernels, ref, x, N, p), 0.0);
    fill(0.0f, 64.0f);
    ck_assert_double_le(divergence_row(kernels, ref, x, N, p), 1e-9);
}
END_TEST

START_TEST(not_finite_shows)
{
    const struct kernels *kernels = kernels_get(NULL);

    fill(0.1f, 0.0f);
    x[7] = NAN;
    ck_assert(!isfinite(divergence_row(kernels, ref, x, N, p)));
}
END_TEST

RUN_SUITE("divergence", small_and_large_differences, tiny_differences, a_constant_is_nothing,
          not_finite_shows)
