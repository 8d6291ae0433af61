/* Sums of x x^T held against the definition in double. */
#include "model/quant/gram.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "unit/suite.h"

enum { MOST = 160, ROWS = 70 };

static float x[ROWS][MOST], h[(MOST + PANEL) * MOST], rows[(MOST + PANEL) * ROWS],
    turned[MOST * ROWS], mean[MOST * MOST];

static void fill(size_t k)
{
    for (size_t r = 0; r < ROWS; r++)
        for (size_t c = 0; c < k; c++)
            x[r][c] = sinf((float)(r * 31 + c * c * 7 + c)) + (c % 5 == 0 ? x[r][c / 2] : 0.0f);
}

/* In two steps of 40 and 30 rows, by so many workers. */
static void sum_up(size_t k, size_t workers)
{
    memset(h, 0, sizeof(h));
    ck_assert_uint_le(gram_floats(k), sizeof(h) / sizeof(h[0]));
    for (size_t first = 0; first < ROWS; first += 40) {
        size_t t = ROWS - first < 40 ? ROWS - first : 40;
        ck_assert_uint_le(gram_rows_floats(k, t), sizeof(rows) / sizeof(rows[0]));
        for (size_t r = 0; r < t; r++)
            gram_put_row(rows, k, t, r, x[first + r]);
        for (size_t w = 0; w < workers; w++)
            gram_add(kernels_get(NULL), h, rows, k, t, w, workers, turned);
    }
}

static double entry(size_t i, size_t j)
{
    double sum = 0.0;

    for (size_t r = 0; r < ROWS; r++)
        sum += (double)x[r][i] * (double)x[r][j];
    return sum / ROWS;
}

/* Of sums of 70 products in f32. */
static bool close_to(float value, double truth)
{
    return fabs((double)value - truth) < 1e-5 * (1.0 + fabs(truth));
}

static const size_t widths[] = {1, 32, 64, 96, 100, 160};

START_TEST(it_is_the_mean_of_the_products)
{
    for (size_t n = 0; n < sizeof(widths) / sizeof(widths[0]); n++)
        for (size_t workers = 1; workers <= 3; workers++) {
            size_t k = widths[n], to = (k + 31) / 32 * 32;
            fill(k);
            sum_up(k, workers);
            gram_mean(kernels_get(NULL), h, k, ROWS, NULL, 0, to, mean);
            for (size_t i = 0; i < to; i++)
                for (size_t j = 0; j < to; j++)
                    ck_assert(close_to(mean[i * to + j], i < k && j < k ? entry(i, j) : 0.0));
        }
}
END_TEST

START_TEST(workers_change_no_bit)
{
    static float alone[sizeof(h) / sizeof(h[0])];

    fill(160);
    sum_up(160, 1);
    memcpy(alone, h, sizeof(h));
    sum_up(160, 3);
    ck_assert_mem_eq(alone, h, sizeof(h));
}
END_TEST

/* Dividing and turning the sums is summing what was divided and turned. */
START_TEST(a_rotation_of_the_sums)
{
    static float straight[MOST * MOST], energy[MOST], by[MOST];
    const size_t blocks[] = {0, 2, 16, 32};

    for (size_t b = 0; b < sizeof(blocks) / sizeof(blocks[0]); b++) {
        fill(96);
        sum_up(96, 1);
        for (size_t i = 0; i < 96; i++)
            by[i] = 0.5f + 0.25f * (float)(i % 7);
        gram_mean(kernels_get(NULL), h, 96, ROWS, by, blocks[b], 96, mean);
        gram_energy(kernels_get(NULL), h, 96, ROWS, by, blocks[b], energy);
        for (size_t r = 0; r < ROWS; r++) {
            for (size_t i = 0; i < 96; i++)
                x[r][i] /= by[i];
            kernels_get(NULL)->hadamard(x[r], 96, blocks[b]);
        }
        sum_up(96, 1);
        gram_mean(kernels_get(NULL), h, 96, ROWS, NULL, 0, 96, straight);
        for (size_t i = 0; i < 96; i++)
            for (size_t j = 0; j < 96; j++) {
                ck_assert(close_to(mean[i * 96 + j], (double)straight[i * 96 + j]));
                ck_assert(mean[i * 96 + j] == mean[j * 96 + i]);
                ck_assert(i != j || close_to(energy[i], (double)straight[i * 96 + i]));
            }
    }
}
END_TEST

RUN_SUITE("gram", it_is_the_mean_of_the_products, workers_change_no_bit, a_rotation_of_the_sums)
