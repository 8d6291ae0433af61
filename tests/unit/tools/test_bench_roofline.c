/* The roofline's arithmetic, against numbers worked out by hand. */
#include "tools/bench_roofline.h"
#include "unit/suite.h"

/* 10 M multiply-adds a row and 2 M for logits, 12 MB of weights, 1000 bytes a position. */
static const struct bench_cost cost = {.row_macs = 10000000,
                                       .head_macs = 2000000,
                                       .step_bytes = 12000000,
                                       .position_bytes = 1000,
                                       .threads = 2};
static const struct machine_limits limits = {
    .read_far = 1.2e9, .read_near = 2.4e9, .peak_i8 = 4.8e9, .peak_f32 = 1.2e9};

static void near(double got, double want)
{
    ck_assert_double_eq_tol(got, want, 1e-9 * want);
}

START_TEST(a_step_reads_weights_once_and_keys_a_sequence)
{
    /* 4 steps after 98 tokens read 99, 100, 101 and 102 positions: 100.5 on average. */
    const struct bench_shape one = {1, 98, 4}, three = {3, 98, 4};

    near(bench_step_bytes(&cost, &one), 12000000 + 100500);
    near(bench_step_bytes(&cost, &three), 12000000 + 3 * 100500);
}
END_TEST

START_TEST(few_rows_are_held_back_by_memory)
{
    /* 2.4e9 / 12e6 = 200 steps a second; 4.8e9 / 12e6 = 400 rows. */
    const struct bench_shape shape = {1, 100, 50};
    const struct bench_times times = {.prefill_s = 0.5, .decode_s = 0.5};
    struct bench_roofline r = bench_roofline(&cost, &shape, &times, &limits);

    near(r.read, 2.4e9);
    near(r.peak, 4.8e9);
    near(r.decode_tok_s, 200);
    near(r.decode, 0.5);
    near(r.decode_read, 100 * (12000000 + 125500) / 2.4e9);
    /* 10.02 M a row, as one row of 100 has logits; 200 rows a second. */
    near(r.prefill_tok_s, 4.8e9 / 10020000);
    near(r.prefill, 200 * 10020000 / 4.8e9);
    ck_assert_double_eq(r.prefill_products, 0);
}
END_TEST

START_TEST(many_rows_are_held_back_by_arithmetic)
{
    const struct bench_shape shape = {8, 100, 50};
    const struct bench_times times = {.prefill_s = 4, .decode_s = 2};
    struct bench_roofline r = bench_roofline(&cost, &shape, &times, &limits);

    near(r.decode_tok_s, 400);
    near(r.decode, 0.5); /* 8 x 50 / 2 = 200 a second */
    near(r.prefill, 200 * 10020000 / 4.8e9);
}
END_TEST

START_TEST(fp32_is_held_against_its_own_peak)
{
    const struct bench_shape shape = {8, 100, 50};
    const struct bench_times times = {.prefill_s = 8, .decode_s = 8};
    struct bench_cost fp32 = cost;

    fp32.fp32 = true;
    struct bench_roofline r = bench_roofline(&fp32, &shape, &times, &limits);
    near(r.peak, 1.2e9);
    near(r.decode_tok_s, 100);
    near(r.decode, 0.5);
}
END_TEST

START_TEST(products_count_while_threads_are_in_them)
{
    const struct bench_shape shape = {1, 100, 50};
    struct bench_times times = {.prefill_s = 4, .decode_s = 4};

    /* Two threads, 0.5 s each in products: 3e9 in 1 s of one thread, 6e9 a second of both. */
    times.prefill.seconds[PART_QKV] = 0.25;
    times.prefill.seconds[PART_HEAD] = 0.75;
    times.prefill.seconds[PART_ATTENTION] = 5;
    times.prefill.product_macs[PART_QKV] = 1e9;
    times.prefill.product_macs[PART_HEAD] = 2e9;
    near(bench_product_rate(&times.prefill, RUNNER_PARTS, 2), 6e9);
    near(bench_product_rate(&times.prefill, PART_QKV, 2), 8e9);
    ck_assert_double_eq(bench_product_rate(&times.prefill, PART_ATTENTION, 2), 0);
    ck_assert_double_eq(bench_product_rate(&times.prefill, PART_DOWN, 2), 0);
    near(bench_roofline(&cost, &shape, &times, &limits).prefill_products, 6 / 4.8);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        a_step_reads_weights_once_and_keys_a_sequence, few_rows_are_held_back_by_memory,
        many_rows_are_held_back_by_arithmetic,         fp32_is_held_against_its_own_peak,
        products_count_while_threads_are_in_them,      NULL};
    return suite_run("bench_roofline", tests, 30);
}
