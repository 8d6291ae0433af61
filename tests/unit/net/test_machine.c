/* What `octet bench engine` asks a runner beside its speed: the limits of the machine, and where the
 * time goes. Nothing here says how fast anything is. */
#include <math.h>

#include "unit/net/tiny.h"

enum { ROWS = 5, LOGITS = 2 };

static struct runner *open_runner(const struct weights *w, unsigned threads)
{
    const struct runner_opts opts = {
        .max_seqs = 1, .max_rows = ROWS, .max_logits = LOGITS, .threads = threads};
    struct runner *rn;

    ck_assert_int_eq(runner_new(w, kernels_get(NULL), &opts, &rn, NULL), ST_OK);
    return rn;
}

START_TEST(limits_are_there_for_any_number_of_threads)
{
    const uint64_t near_bytes[] = {0, 1, 1000000, UINT64_MAX};
    struct weights w;

    tiny_load(&tiny_small, &w);
    for (unsigned threads = 1; threads <= 3; threads += 2)
        for (size_t i = threads / 2; i < sizeof(near_bytes) / sizeof(near_bytes[0]); i += 2) {
            struct runner *rn = open_runner(&w, threads);
            struct machine_limits limits;
            ck_assert_int_eq(runner_measure_machine(rn, near_bytes[i], &limits), ST_OK);
            ck_assert(limits.read_far > 0 && isfinite(limits.read_far));
            ck_assert(limits.peak_i8 > 0 && isfinite(limits.peak_i8));
            ck_assert(limits.peak_f32 > 0 && isfinite(limits.peak_f32));
            ck_assert(limits.read_near >= 0 && isfinite(limits.read_near));
            ck_assert((limits.read_near > 0) == (near_bytes[i] > 1));
            runner_free(rn);
        }
    weights_done(&w);
}
END_TEST

static void step(struct runner *rn, uint32_t seq)
{
    struct batch_row rows[ROWS];

    for (uint32_t i = 0; i < ROWS; i++)
        rows[i] = (struct batch_row){(int32_t)i, seq, i, i >= ROWS - LOGITS};
    ck_assert_int_eq(runner_step(rn, rows, ROWS), ST_OK);
}

START_TEST(the_profile_counts_every_multiply_add_once)
{
    const struct tiny *t = &tiny_small;
    const double rows = (double)ROWS * t->layers;
    const double want[RUNNER_PARTS] = {
        [PART_QKV] = rows * t->d * (t->heads + 2 * t->kv) * weights_unit_step(t->head),
        [PART_O] = rows * t->d * t->heads * t->head,
        [PART_GATE_UP] = rows * t->d * 2 * t->ff,
        [PART_DOWN] = rows * t->ff * t->d,
        [PART_HEAD] = (double)LOGITS * t->d * VOCAB,
    };
    struct weights w;

    tiny_load(&tiny_small, &w);
    for (unsigned threads = 1; threads <= 3; threads++) {
        struct runner *rn = open_runner(&w, threads);
        struct runner_profile p;
        uint32_t seq;
        ck_assert_int_eq(runner_seq_new(rn, &seq), ST_OK);
        ck_assert_int_eq(runner_seq_reserve(rn, seq, ROWS), ST_OK);
        step(rn, seq);
        runner_profile_get(rn, &p);
        for (int part = 0; part < RUNNER_PARTS; part++)
            ck_assert(p.seconds[part] == 0 && p.product_macs[part] == 0); /* off */
        runner_profile_set(rn, true);
        step(rn, seq);
        runner_profile_get(rn, &p);
        for (int part = 0; part < RUNNER_PARTS; part++) {
            /* FF is padded to whole groups. */
            ck_assert_msg(p.product_macs[part] >= want[part] * 0.999999 &&
                              p.product_macs[part] <= want[part] * 1.000001 * 128 / t->ff,
                          "%s: %.0f multiply-adds, not %.0f",
                          runner_part_name((enum runner_part)part), p.product_macs[part],
                          want[part]);
            ck_assert(p.seconds[part] >= 0);
        }
        runner_free(rn);
    }
    weights_done(&w);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {limits_are_there_for_any_number_of_threads,
                                  the_profile_counts_every_multiply_add_once, NULL};
    return suite_run("machine", tests, 200);
}
