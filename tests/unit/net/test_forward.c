/* The network in process: a row's logits depend on its own sequence alone, whatever the chunks, the
 * threads and the other rows of the step. Truth itself is held elsewhere (tests/oracle); this runs
 * under TSan too. */
#include "model/net/runner.h"

#include <string.h>

#include "unit/net/tiny.h"

enum { N = 150 };

static int32_t token(size_t text, size_t pos)
{
    return (int32_t)((text * 31 + pos * pos * 7 + pos) % VOCAB);
}

/* Logits of every position of text 0, fed in chunks, with `others` more texts decoding beside it.
 */
static void run(const struct weights *w, enum model_kv kv, unsigned threads, size_t chunk,
                size_t others, float *out)
{
    const struct runner_opts opts = {
        .max_seqs = 4, .max_rows = N + 4, .max_logits = N + 4, .kv = kv, .threads = threads};
    struct batch_row rows[N + 4];
    struct runner *rn;
    uint32_t seq[4];
    size_t step = 0;

    ck_assert_int_eq(runner_new(w, kernels_get(NULL), &opts, &rn, NULL), ST_OK);
    for (size_t i = 0; i <= others; i++) {
        ck_assert_int_eq(runner_seq_new(rn, &seq[i]), ST_OK);
        ck_assert_int_eq(runner_seq_reserve(rn, seq[i], N), ST_OK);
    }
    for (size_t pos = 0; pos < N; step++) {
        size_t n = 0, first;
        for (size_t i = 1; i <= others; i++)
            rows[n++] = (struct batch_row){token(i, step), seq[i], (uint32_t)step, true};
        first = n;
        for (size_t i = 0; i < chunk && pos < N; i++, pos++)
            rows[n++] = (struct batch_row){token(0, pos), seq[0], (uint32_t)pos, true};
        ck_assert_int_eq(runner_step(rn, rows, n), ST_OK);
        for (size_t i = first; i < n; i++)
            memcpy(out + rows[i].pos * VOCAB, runner_logits(rn, i), VOCAB * sizeof(float));
    }
    runner_free(rn);
}

START_TEST(a_row_depends_on_its_own_text_alone)
{
    static float want[N * VOCAB], got[N * VOCAB];
    const size_t chunks[] = {1, 2, 3, 16, 64, 65, N};
    struct weights w;

    tiny_load(&w);
    for (int kv = MODEL_KV_INT8; kv <= MODEL_KV_F32; kv++) {
        run(&w, (enum model_kv)kv, 1, N, 0, want);
        ck_assert(memcmp(want, want + VOCAB, VOCAB * sizeof(float)) !=
                  0); /* it does depend on the position */
        for (size_t c = 0; c < sizeof(chunks) / sizeof(chunks[0]); c++)
            for (unsigned threads = 1; threads <= 3; threads++) {
                size_t others = (c + threads) % 4;
                memset(got, 0, sizeof(got));
                run(&w, (enum model_kv)kv, threads, chunks[c], others, got);
                ck_assert_msg(memcmp(got, want, sizeof(want)) == 0,
                              "kv %d, chunks of %zu, %u threads, %zu others", kv, chunks[c],
                              threads, others);
            }
    }
    weights_done(&w);
}
END_TEST

START_TEST(broken_promises_about_rows_are_refused)
{
    const struct runner_opts opts = {.max_seqs = 2, .max_rows = 4, .max_logits = 1, .threads = 1};
    struct weights w;
    struct runner *rn;
    uint32_t s;

    tiny_load(&w);
    ck_assert_int_eq(runner_new(&w, kernels_get(NULL), &opts, &rn, NULL), ST_OK);
    ck_assert_int_eq(runner_seq_new(rn, &s), ST_OK);
    ck_assert_int_eq(runner_seq_reserve(rn, s, 10), ST_OK);
    ck_assert_int_eq(runner_seq_reserve(rn, s, 257), ST_TOOLONG);
    const struct batch_row bad[][2] = {
        {{VOCAB, s, 0, false}, {0, s, 1, false}}, {{-1, s, 0, false}, {0, s, 1, false}},
        {{0, s + 1, 0, false}, {0, s, 1, false}}, {{0, 99, 0, false}, {0, s, 1, false}},
        {{0, s, 0, false}, {0, s, 2, false}},     {{0, s, 63, false}, {0, s, 64, false}},
        {{0, s, 0, true}, {0, s, 1, true}},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(runner_step(rn, bad[i], 2) == ST_INVALID, "row pair %zu was taken", i);
    ck_assert_int_eq(runner_step(rn, (const struct batch_row[5]){{0}}, 5), ST_INVALID);
    ck_assert_int_eq(runner_step(rn, bad[0], 0), ST_OK);
    runner_free(rn);
    weights_done(&w);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {a_row_depends_on_its_own_text_alone,
                                  broken_promises_about_rows_are_refused, NULL};
    return suite_run("forward", tests, 200);
}
