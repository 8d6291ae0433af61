/* A sequence that begins with stored pages has the logits of one that ran every row, bit for bit,
 * whoever else is at work and goes on writing. */
#include "model/net/runner.h"

#include <string.h>

#include "unit/net/tiny.h"

enum { N = 230, CHUNK = 17 };

/* Text v has the first `alike` tokens of text 0, and none of the others. */
struct text {
    int32_t v;
    uint32_t alike, n;
};

static const struct text whole = {0, 0, N};

static int32_t token(const struct text *t, uint32_t pos)
{
    int32_t id = (int32_t)((pos * pos * 7 + pos) % VOCAB);
    return pos < t->alike ? id : (id + t->v) % VOCAB;
}

static void ids_of(const struct text *t, int32_t *ids)
{
    for (uint32_t pos = 0; pos < t->n; pos++)
        ids[pos] = token(t, pos);
}

static struct runner *open_runner(const struct weights *w, enum model_kv kv, unsigned threads)
{
    const struct runner_opts opts = {.max_seqs = 4,
                                     .max_rows = N + 4,
                                     .max_logits = N + 4,
                                     .kv = kv,
                                     .threads = threads,
                                     .kv_bytes = UINT64_MAX};
    struct runner *rn;

    ck_assert_int_eq(runner_new(w, kernels_get(NULL), &opts, &rn, NULL), ST_OK);
    return rn;
}

static void step(struct runner *rn, const struct text *t, uint32_t seq, uint32_t from, uint32_t to,
                 float *out)
{
    struct batch_row rows[N] = {0};
    size_t n = 0;

    for (uint32_t pos = from; pos < to; pos++)
        rows[n++] = (struct batch_row){token(t, pos), seq, pos, true};
    ck_assert_int_eq(runner_step(rn, rows, n), ST_OK);
    for (size_t i = 0; i < n; i++)
        memcpy(out + rows[i].pos * VOCAB, runner_logits(rn, i), VOCAB * sizeof(float));
}

static void fresh(const struct weights *w, enum model_kv kv, const struct text *t, float *out)
{
    struct runner *rn = open_runner(w, kv, 1);
    uint32_t seq;

    ck_assert_int_eq(runner_seq_new(rn, &seq), ST_OK);
    ck_assert_int_eq(runner_seq_reserve(rn, seq, t->n), ST_OK);
    step(rn, t, seq, 0, t->n, out);
    runner_free(rn);
}

static void same(const float *got, const float *want, uint32_t from, uint32_t to, const char *whose)
{
    ck_assert_msg(
        memcmp(got + from * VOCAB, want + from * VOCAB, (to - from) * VOCAB * sizeof(float)) == 0,
        "the logits of %s depend on how its keys came", whose);
}

/* Positions that text t finds, and their logits; in between, text 0 takes a row a step. */
static uint32_t check_hit(struct runner *rn, const struct text *t, const float *want,
                          uint32_t first_seq, uint32_t *first_pos)
{
    static float got[N * VOCAB], other[N * VOCAB];
    int32_t ids[N];
    uint32_t seq;

    ids_of(t, ids);
    ck_assert_int_eq(runner_seq_new(rn, &seq), ST_OK);
    uint32_t hit = runner_seq_attach(rn, seq, 3, ids, t->n);
    ck_assert_int_eq(runner_seq_reserve(rn, seq, t->n), ST_OK);
    for (uint32_t pos = hit; pos < t->n; pos += CHUNK) {
        step(rn, t, seq, pos, pos + CHUNK < t->n ? pos + CHUNK : t->n, got);
        if (*first_pos < N) {
            step(rn, &whole, first_seq, *first_pos, *first_pos + 1, other);
            ++*first_pos;
        }
    }
    same(got, want, hit, t->n, "what was attached");
    runner_seq_publish(rn, seq, 3, ids, t->n, t->v % 2);
    runner_seq_free(rn, seq);
    return hit;
}

static void check_all(const struct weights *w, enum model_kv kv, unsigned threads)
{
    /* 196 are stored at first, and the first three pages published. */
    static const struct {
        struct text text;
        uint32_t hit;
    } cases[] = {
        {{1, 0, 50}, 0},      {{2, 1, 90}, 1},       {{3, 63, 100}, 63},    {{4, 64, 100}, 64},
        {{5, 100, 150}, 100}, {{6, 128, 129}, 128},  {{7, 130, 128}, 127},  {{8, 192, 193}, 192},
        {{9, 230, 230}, 192}, {{11, 230, 193}, 192}, {{13, 230, 192}, 191}, {{14, 150, 65}, 64},
        {{15, 150, 1}, 0},
    };
    static float want[N * VOCAB], first[N * VOCAB], got[N * VOCAB];
    struct runner *rn = open_runner(w, kv, threads);
    int32_t ids[N];
    uint32_t seq, pos = 196;

    fresh(w, kv, &whole, first);
    ids_of(&whole, ids);
    ck_assert_int_eq(runner_seq_new(rn, &seq), ST_OK);
    ck_assert_uint_eq(runner_seq_attach(rn, seq, 3, ids, N), 0);
    ck_assert_int_eq(runner_seq_reserve(rn, seq, N), ST_OK);
    step(rn, &whole, seq, 0, pos, got);
    runner_seq_publish(rn, seq, 3, ids, pos, false);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t before = pos;
        fresh(w, kv, &cases[i].text, want);
        uint32_t hit = check_hit(rn, &cases[i].text, want, seq, &pos);
        /* Texts of 230 run beyond the third page, and are found there later. */
        ck_assert_msg(hit == cases[i].hit, "case %zu: %u stored, not %u", i, hit, cases[i].hit);
        ck_assert_uint_ge(pos, before);
    }
    ck_assert_uint_gt(pos, 200);
    step(rn, &whole, seq, pos, N, got);
    same(got, first, pos, N, "who lends");
    runner_seq_publish(rn, seq, 3, ids, N, true);
    runner_seq_free(rn, seq);
    pos = N;
    ck_assert_uint_eq(check_hit(rn, &whole, first, 0, &pos), N - 1);
    runner_free(rn);
}

START_TEST(attached_positions_are_as_good_as_run_ones)
{
    struct weights w;

    tiny_load(&tiny_small, &w);
    for (int kv = MODEL_KV_INT8; kv <= MODEL_KV_F32; kv++)
        for (unsigned threads = 1; threads <= 3; threads += 2)
            check_all(&w, (enum model_kv)kv, threads);
    weights_done(&w);
}
END_TEST

START_TEST(what_is_published_is_not_written_again)
{
    struct weights w;
    int32_t ids[N];
    uint32_t seq;

    tiny_load(&tiny_small, &w);
    struct runner *rn = open_runner(&w, MODEL_KV_INT8, 1);
    const uint32_t pages = runner_info(rn)->n_pages;
    ids_of(&whole, ids);
    ck_assert_int_eq(runner_seq_new(rn, &seq), ST_OK);
    ck_assert_int_eq(runner_seq_reserve(rn, seq, 100), ST_OK);
    ck_assert_uint_eq(runner_seq_pages(rn, seq), 2);
    const struct batch_row first = {ids[0], seq, 0, true}, later = {ids[70], seq, 70, true};
    ck_assert_int_eq(runner_step(rn, &first, 1), ST_OK);
    runner_seq_publish(rn, seq, 0, ids, 70, false);
    ck_assert_int_eq(runner_step(rn, &first, 1), ST_INVALID);
    ck_assert_int_eq(runner_step(rn, &later, 1), ST_OK);
    runner_seq_publish(rn, seq, 0, ids, 71, true);
    ck_assert_int_eq(runner_step(rn, &later, 1), ST_INVALID);
    ck_assert_int_eq(runner_seq_reserve(rn, seq, 200), ST_OK);
    const struct batch_row beyond = {ids[0], seq, 130, true}; /* that was the last, it was said */
    ck_assert_int_eq(runner_step(rn, &beyond, 1), ST_INVALID);
    runner_seq_free(rn, seq);
    ck_assert_uint_eq(runner_pages_free(rn), pages);

    ck_assert_int_eq(runner_seq_new(rn, &seq), ST_OK);
    ck_assert_uint_eq(runner_seq_attach(rn, seq, 0, ids, 80), 71);
    ck_assert_uint_eq(runner_pages_free(rn), pages - 2);
    struct runner_prefix_stats stats = runner_prefix_stats(rn);
    ck_assert_uint_eq(stats.lookup_tokens, 80);
    ck_assert_uint_eq(stats.hit_tokens, 71);
    ck_assert_uint_eq(stats.cached_pages, 2);
    ck_assert_uint_eq(stats.evicted_pages, 0);
    ck_assert_int_eq(runner_step(rn, &first, 1), ST_INVALID); /* others may read it */
    ck_assert_int_eq(runner_step(rn, &later, 1), ST_OK);      /* its own copy */
    runner_free(rn);
    weights_done(&w);
}
END_TEST

static size_t idle_kept(const struct weights *w, uint64_t kv_bytes, uint64_t prefix_bytes)
{
    const struct runner_opts opts = {.kv_bytes = kv_bytes, .prefix_bytes = prefix_bytes};
    struct runner *rn;

    ck_assert_int_eq(runner_new(w, kernels_get(NULL), &opts, &rn, NULL), ST_OK);
    size_t n = rn->kv.max_idle;
    runner_free(rn);
    return n;
}

START_TEST(memory_for_idle_pages_is_bounded)
{
    struct weights w;

    tiny_load(&tiny_small, &w);
    struct runner *rn = open_runner(&w, MODEL_KV_INT8, 1);
    const uint64_t page = runner_info(rn)->page_bytes;
    runner_free(rn);
    ck_assert_uint_eq(idle_kept(&w, 20 * page, 3 * page), 3);
    ck_assert_uint_eq(idle_kept(&w, 20 * page, 4 * page - 1), 3);
    ck_assert_uint_eq(idle_kept(&w, 20 * page, 1), 0);
    ck_assert_uint_eq(idle_kept(&w, 20 * page, 0), 10);
    weights_done(&w);
}
END_TEST

RUN_SUITE("attach", attached_positions_are_as_good_as_run_ones,
          what_is_published_is_not_written_again, memory_for_idle_pages_is_bounded)
