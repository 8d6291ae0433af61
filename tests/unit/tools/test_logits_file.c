/* A row of logits through two bytes a token and back. */
#include "tools/logits_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "unit/suite.h"

#define N 1001 /* odd: the padding is there */

static float in[N], out[N];

static void through(size_t n)
{
    size_t bytes = logits_row_bytes(n);
    uint8_t *row = malloc(bytes);

    ck_assert_ptr_nonnull(row);
    ck_assert_uint_eq(bytes % 4, 0);
    logits_encode(in, n, row);
    logits_decode(row, n, out);
    free(row);
}

static size_t top(const float *x, size_t n)
{
    size_t best = 0;

    for (size_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

START_TEST(random_rows_to_half_a_step)
{
    uint32_t state = 1;

    for (int round = 0; round < 200; round++) {
        float range = ldexpf(1.0f, round % 12 - 6), min = INFINITY, max = -INFINITY;
        for (size_t i = 0; i < N; i++) {
            state = state * 1664525u + 1013904223u;
            in[i] = range * (float)((double)state / 4294967296.0 - 0.5);
            min = in[i] < min ? in[i] : min;
            max = in[i] > max ? in[i] : max;
        }
        through(N);
        float floor = min < max - 40.0f ? max - 40.0f : min, step = (max - floor) / 65535.0f;
        ck_assert_uint_eq(top(out, N), top(in, N));
        ck_assert_float_eq(out[top(in, N)], max);
        for (size_t i = 0; i < N; i++) {
            float want = in[i] < floor ? floor : in[i];
            /* One below the largest there may be a whole step: only the largest has its place. */
            float most = max - want < step ? step : 0.5f * step;
            ck_assert_float_le(fabsf(out[i] - want), most * 1.001f + 1e-5f);
        }
    }
}
END_TEST

START_TEST(equal_logits_keep_the_first_on_top)
{
    for (size_t i = 0; i < N; i++)
        in[i] = 3.0f;
    through(N);
    for (size_t i = 0; i < N; i++)
        ck_assert_float_eq(out[i], 3.0f);
    in[5] = in[9] = 4.0f;
    through(N);
    ck_assert_uint_eq(top(out, N), 5);
    ck_assert_float_lt(out[9], 4.0f);
}
END_TEST

/* They are there to be found by who scores them, never to look like logits. */
START_TEST(what_is_not_finite_stays_so)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};

    for (size_t k = 0; k < 3; k++) {
        for (size_t i = 0; i < N; i++)
            in[i] = (float)i;
        in[17] = bad[k];
        through(N);
        for (size_t i = 0; i < N; i++)
            ck_assert(!isfinite(out[i]));
    }
}
END_TEST

START_TEST(one_token)
{
    in[0] = -2.5f;
    through(1);
    ck_assert_float_eq(out[0], -2.5f);
}
END_TEST

RUN_SUITE("logits_file", random_rows_to_half_a_step, equal_logits_keep_the_first_on_top,
          what_is_not_finite_stays_so, one_token)
