/* Ranges by hand. Independent figures on random data: tests/oracle/test_observer.py. */
#include "model/quant/observer.h"

#include <math.h>
#include <string.h>

#include "unit/suite.h"

static const struct levels s8 = {-127, 127, true}, s4 = {-7, 7, true}, u8 = {0, 255, false};

START_TEST(extremes_and_their_moving_mean)
{
    const float a[] = {1.0f, -2.0f, 0.5f, 3.0f}, b[] = {5.0f, -1.0f};
    struct range r = {0}, m = {0}, channel = {0};

    ck_assert_int_eq(range_add(&r, a, 4, 1), ST_OK);
    ck_assert_int_eq(range_add(&r, b, 2, 1), ST_OK);
    ck_assert(r.seen && r.min == -2.0f && r.max == 5.0f);
    ck_assert_int_eq(range_add_moving(&m, a, 4, 1, 0.25f), ST_OK);
    ck_assert_int_eq(range_add_moving(&m, b, 2, 1, 0.25f), ST_OK);
    ck_assert(m.min == -1.75f && m.max == 3.5f);
    ck_assert_int_eq(range_add(&channel, a + 1, 2, 2), ST_OK);
    ck_assert(channel.min == -2.0f && channel.max == 3.0f);
    ck_assert_int_eq(range_add(&channel, a, 0, 1), ST_OK);
    ck_assert(channel.min == -2.0f && channel.max == 3.0f);
}
END_TEST

START_TEST(what_is_not_finite_changes_nothing)
{
    const float good[] = {-1.0f, 2.0f}, bad[] = {9.0f, NAN}, worse[] = {9.0f, INFINITY};
    static struct histogram h, before;
    struct range r = {0};

    ck_assert_int_eq(range_add(&r, good, 2, 1), ST_OK);
    ck_assert_int_eq(histogram_add(&h, good, 2), ST_OK);
    before = h;
    ck_assert_int_eq(range_add(&r, bad, 2, 1), ST_FORMAT);
    ck_assert_int_eq(range_add_moving(&r, worse, 2, 1, 0.5f), ST_FORMAT);
    ck_assert_int_eq(histogram_add(&h, bad, 2), ST_FORMAT);
    ck_assert(r.min == -1.0f && r.max == 2.0f);
    ck_assert_mem_eq(&h, &before, sizeof(h));
}
END_TEST

START_TEST(scales_and_zero_points)
{
    const struct {
        struct range r;
        const struct levels *l;
        float scale;
        int32_t zero;
    } rows[] = {
        {{-2.0f, 1.0f, true}, &s8, 2.0f / 127.0f, 0},
        {{0.0f, 0.0f, true}, &s8, 0.0f, 0},
        {{0.0f, 0.0f, true}, &u8, 0.0f, 0},
        {{3.0f, 5.0f, false}, &u8, 0.0f, 0},
        {{1.0f, 5.1f, true}, &u8, 5.1f / 255.0f, 0}, /* widened to hold 0 */
        {{-5.1f, -1.0f, true}, &u8, 5.1f / 255.0f, 255},
        {{-1.0f, 1.0f, true}, &u8, 2.0f / 255.0f, 127}, /* -1 / scale is just above -127.5 */
        {{-3e38f, 3e38f, true}, &u8, 3e38f / 255.0f + 3e38f / 255.0f, 128},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct scale s = scale_of(&rows[i].r, rows[i].l);
        ck_assert_msg(s.scale == rows[i].scale && s.zero == rows[i].zero, "row %zu: %g, %d", i,
                      (double)s.scale, s.zero);
    }
}
END_TEST

/* Counts are the same whatever the batches, as long as the first one is. */
START_TEST(bins_join_exactly)
{
    static struct histogram whole, parts;
    static float x[3000];

    for (size_t i = 0; i < 3000; i++)
        x[i] = sinf((float)(i * i)) * (i < 100 ? 1.0f : i < 1000 ? 7.0f : 1000.0f);
    ck_assert_int_eq(histogram_add(&whole, x, 10), ST_OK);
    ck_assert_int_eq(histogram_add(&whole, x + 10, 2990), ST_OK);
    ck_assert_int_eq(histogram_add(&parts, x, 10), ST_OK);
    for (size_t i = 10; i < 3000; i += 130)
        ck_assert_int_eq(histogram_add(&parts, x + i, 130 < 3000 - i ? 130 : 3000 - i), ST_OK);
    ck_assert_mem_eq(&whole, &parts, sizeof(whole));
    uint64_t sum = 0;
    for (size_t i = 0; i < HISTOGRAM_BINS; i++)
        sum += whole.bins[i];
    ck_assert_uint_eq(sum, 3000);
    ck_assert_uint_eq(whole.n, 3000);
}
END_TEST

START_TEST(zeros_constants_and_far_apart)
{
    static struct histogram h;
    const float zeros[4] = {0}, tiny[] = {1e-45f, -1e-45f}, huge[] = {3e38f, -1.0f};

    ck_assert_int_eq(histogram_add(&h, zeros, 4), ST_OK);
    ck_assert(histogram_least_squares(&h, &u8).max == 0.0f);
    ck_assert(histogram_entropy(&h).max == 0.0f);
    ck_assert(histogram_percentile(&h, &s8, 0.99).max == 0.0f);
    ck_assert_int_eq(histogram_add(&h, tiny, 2), ST_OK);
    ck_assert_int_eq(histogram_add(&h, huge, 2), ST_OK);
    ck_assert_uint_eq(h.n, 8);
    ck_assert(histogram_percentile(&h, &u8, 1.0).max == 3e38f);
    ck_assert(isfinite(histogram_least_squares(&h, &s8).max));
    ck_assert(isfinite(histogram_entropy(&h).max));
}
END_TEST

/* A few far outliers: every search gives them up for a finer step, the extremes do not. */
START_TEST(searches_cut_outliers)
{
    static struct histogram h;
    static float x[20000];

    for (size_t i = 0; i < 20000; i++)
        x[i] = 0.3f * sinf((float)i) * sinf((float)(i * i)) + (i == 77 ? 3.0f : 0.0f);
    ck_assert_int_eq(histogram_add(&h, x, 20000), ST_OK);
    ck_assert(h.range.max > 2.7f);
    ck_assert(histogram_least_squares(&h, &s4).max < 2.0f);
    ck_assert(histogram_percentile(&h, &u8, 0.999).max < 0.35f);
    ck_assert(histogram_percentile(&h, &u8, 0.999).min > -0.35f);
    ck_assert(histogram_entropy(&h).max < 3.0f);
}
END_TEST

RUN_SUITE("observer", extremes_and_their_moving_mean, what_is_not_finite_changes_nothing,
          scales_and_zero_points, bins_join_exactly, zeros_constants_and_far_apart,
          searches_cut_outliers)
