/* The network in process: a row's logits depend on its own sequence alone, whatever the chunks, the
 * threads and the other rows of the step. Truth itself is held elsewhere (tests/oracle); this runs
 * under TSan and under every kernel set too. */
#include "model/net/runner.h"

#include <string.h>
#include <sys/mman.h>

#include "config/limits.h"
#include "unit/net/tiny.h"

/* Most positions of a text, and most texts at once. */
enum { N = 1090, TEXTS = 20 };

/* Whoever makes a head's result, or a unit of gate and up, can quantize it. */
static const struct tiny whole_groups = {
    .d = 64, .ff = 256, .heads = 4, .kv = 2, .head = 64, .layers = 1, .ctx = 256};
/* Neither panels nor groups nor vectors are whole. */
static const struct tiny odd = {
    .d = 100, .ff = 100, .heads = 3, .kv = 1, .head = 50, .layers = 1, .ctx = 256, .bias = true};
static const struct tiny far = {
    .d = 32, .ff = 32, .heads = 4, .kv = 2, .head = 16, .layers = 2, .ctx = N};
/* More query heads a key head than an item holds. */
static const struct tiny wide = {
    .d = 32, .ff = 32, .heads = 50, .kv = 1, .head = 4, .layers = 1, .ctx = N};

/* How text 0 is run to its end: `chunk` rows a step up to position `from`, then `tail`. Beside it
 * go `others` more texts, `beside` rows a step each. */
struct way {
    enum model_kv kv;
    unsigned threads;
    size_t chunk, from, tail, others, beside;
};

/* What the steps of a way did. */
enum {
    BY_ROWS = 1,    /* each worker had rows of its own */
    BY_COLUMNS = 2, /* several shared all rows */
    MERGED = 4,     /* a row saw several spans */
    APART = 8,      /* which different workers attended */
    ALL_HEADS = 16, /* one item was all heads of a tile */
    APART_ALL = 32, /* or of one of its spans */
};

static int32_t token(size_t text, size_t pos)
{
    return (int32_t)((text * 31 + pos * pos * 7 + pos) % VOCAB);
}

static size_t at_most(size_t n, size_t most)
{
    return n < most ? n : most;
}

static int done_by(const struct runner *rn, uint32_t last_pos)
{
    int did = rn->by_rows ? BY_ROWS : rn->info.threads > 1 ? BY_COLUMNS : 0;

    if (attention_spans(last_pos + 1) > 1)
        did |= MERGED;
    if (rn->item_spans > 1)
        did |= rn->item_heads > 1 ? APART | APART_ALL : APART;
    return rn->item_heads > 1 ? did | ALL_HEADS : did;
}

/* Keys and values that nobody has stored are NaN, or large. */
static struct runner *open_runner(const struct weights *w, const struct way *way, uint32_t *seq)
{
    const struct runner_opts opts = {.max_seqs = (uint32_t)way->others + 1,
                                     .max_rows = N + TEXTS,
                                     .max_logits = N + TEXTS,
                                     .kv = way->kv,
                                     .threads = way->threads};
    struct runner *rn;

    ck_assert_int_eq(runner_new(w, kernels_get(NULL), &opts, &rn, NULL), ST_OK);
    memset(rn->kv.arena, 0xff, rn->kv.arena_bytes);
    for (size_t i = 0; i <= way->others; i++) {
        ck_assert_int_eq(runner_seq_new(rn, &seq[i]), ST_OK);
        ck_assert_int_eq(runner_seq_reserve(rn, seq[i], rn->info.n_ctx), ST_OK);
    }
    return rn;
}

static size_t add_rows(struct batch_row *rows, size_t text, uint32_t seq, size_t pos, size_t n)
{
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct batch_row){token(text, pos + i), seq, (uint32_t)(pos + i), true};
    return n;
}

/* The logits of text 0, n positions; returns what the steps did. */
static int run(const struct weights *w, const struct way *way, size_t n, float *out)
{
    static struct batch_row rows[N + TEXTS];
    uint32_t seq[TEXTS];
    struct runner *rn = open_runner(w, way, seq);
    size_t theirs = 0;
    int did = 0;

    for (size_t pos = 0, ours; pos < n; pos += ours) {
        size_t n_rows = 0, first = 0, beside = at_most(way->beside, n - theirs);
        ours = pos < way->from ? at_most(way->chunk, way->from - pos) : at_most(way->tail, n - pos);
        for (size_t i = 1; i <= way->others; i++) {
            n_rows += add_rows(rows + n_rows, i, seq[i], theirs, beside);
            if (i == (way->others + 1) / 2) { /* text 0 is somewhere in the middle */
                first = n_rows;
                n_rows += add_rows(rows + n_rows, 0, seq[0], pos, ours);
            }
        }
        if (!way->others)
            n_rows = add_rows(rows, 0, seq[0], pos, ours);
        theirs += beside;
        ck_assert_int_eq(runner_step(rn, rows, n_rows), ST_OK);
        for (size_t i = 0; i < ours; i++)
            memcpy(out + (pos + i) * VOCAB, runner_logits(rn, first + i), VOCAB * sizeof(*out));
        did |= done_by(rn, (uint32_t)(pos + ours - 1));
    }
    runner_free(rn);
    return did;
}

/* Every way gives the logits of one thread and one step for all rows. Returns what they did. */
static int check(const struct weights *w, const struct way *ways, size_t n_ways, size_t n)
{
    static float want[N * VOCAB], got[N * VOCAB];
    const size_t bytes = n * VOCAB * sizeof(*want);
    int did = 0;

    for (size_t i = 0; i < n_ways; i++) {
        const struct way *way = &ways[i], plain = {way->kv, 1, n, n, 0, 0, 0};
        if (i == 0 || way->kv != ways[i - 1].kv)
            run(w, &plain, n, want);
        ck_assert(memcmp(want, want + VOCAB, VOCAB * sizeof(*want)) != 0); /* positions matter */
        memset(got, 0, bytes);
        did |= run(w, way, n, got);
        ck_assert_msg(memcmp(got, want, bytes) == 0,
                      "kv %d, %u threads, chunks of %zu to %zu, then %zu; %zu others of %zu",
                      way->kv, way->threads, way->chunk, way->from, way->tail, way->others,
                      way->beside);
    }
    return did;
}

START_TEST(a_row_depends_on_its_own_text_alone)
{
    const size_t chunks[] = {1, 2, 3, 16, 64, 65, 150}, n = 150;
    struct weights w;

    tiny_load(&tiny_small, &w);
    for (int kv = MODEL_KV_INT8; kv <= MODEL_KV_F32; kv++)
        for (size_t c = 0; c < sizeof(chunks) / sizeof(chunks[0]); c++) {
            struct way ways[3];
            for (unsigned t = 0; t < 3; t++)
                ways[t] = (struct way){(enum model_kv)kv, t + 1, chunks[c], n, 0, (c + t) % 4, 1};
            check(&w, ways, 3, n);
        }
    weights_done(&w);
}
END_TEST

static const struct way short_ways[] = {
    {MODEL_KV_INT8, 2, 150, 150, 0, 0, 0}, /* by rows */
    {MODEL_KV_INT8, 3, 150, 150, 0, 0, 0},
    {MODEL_KV_INT8, 2, 40, 150, 0, 2, 40}, /* three prompts by rows */
    {MODEL_KV_INT8, 3, 47, 150, 0, 0, 0},
    {MODEL_KV_INT8, 2, 60, 100, 1, 3, 1},
    {MODEL_KV_INT8, 4, 33, 120, 5, 1, 1}, /* guesses */
    {MODEL_KV_INT8, 5, 150, 150, 0, 1, 3},
    {MODEL_KV_INT8, 9, 50, 140, 2, 2, 1}, /* more threads than heads, units and panels */
    {MODEL_KV_INT8, 1, 70, 140, 1, 5, 1}, /* many texts: all heads at once */
    {MODEL_KV_INT8, 2, 50, 140, 3, 19, 1},
    {MODEL_KV_F16, 2, 150, 150, 0, 0, 0},
    {MODEL_KV_F16, 3, 16, 140, 1, 12, 1},
    {MODEL_KV_F32, 2, 150, 150, 0, 0, 0},
    {MODEL_KV_F32, 4, 33, 120, 5, 1, 1},
    {MODEL_KV_F32, 1, 70, 140, 1, 5, 1},
};
enum { SHORT_WAYS = sizeof(short_ways) / sizeof(short_ways[0]), FLOAT_WAYS = 5 };

/* In integers, and in floats with fewer ways. */
static void check_both(struct tiny t, void (*is_meant)(const struct weights *w))
{
    struct weights w;

    tiny_load(&t, &w);
    is_meant(&w);
    ck_assert_int_eq(check(&w, short_ways, SHORT_WAYS, 150) & ~ALL_HEADS, BY_ROWS | BY_COLUMNS);
    weights_done(&w);
    t.precision = MODEL_FP32;
    tiny_load(&t, &w);
    check(&w, short_ways + SHORT_WAYS - FLOAT_WAYS, FLOAT_WAYS, 150);
    weights_done(&w);
}

static void all_whole(const struct weights *w)
{
    ck_assert(linear_part_is_apart(&w->layers[0].o, w->hp.head_dim));
    ck_assert(w->ffn_unit == FFN_UNIT && linear_part_is_apart(&w->layers[0].down, FFN_UNIT));
}

static void none_whole(const struct weights *w)
{
    ck_assert(!linear_part_is_apart(&w->layers[0].o, w->hp.head_dim));
    ck_assert(w->ffn_unit == w->hp.d_ff && w->layers[0].qkv_bias);
}

START_TEST(so_it_is_where_heads_and_units_are_quantized_by_their_makers)
{
    check_both(whole_groups, all_whole);
}
END_TEST

START_TEST(so_it_is_where_nothing_is_whole)
{
    check_both(odd, none_whole);
}
END_TEST

START_TEST(so_it_is_over_several_spans)
{
    static const struct way ways[] = {
        {MODEL_KV_INT8, 1, 256, N, 0, 0, 0},
        {MODEL_KV_INT8, 2, N, N, 0, 0, 0}, /* by rows */
        {MODEL_KV_INT8, 5, 300, N, 0, 0, 0},
        {MODEL_KV_INT8, 3, 90, N, 0, 1, 40},    /* by columns */
        {MODEL_KV_INT8, 2, 300, 1000, 1, 0, 0}, /* spans apart */
        {MODEL_KV_INT8, 2, 300, 1000, 1, 2, 1}, /* and all heads at once */
        {MODEL_KV_INT8, 3, 300, 1000, 1, 2, 1},
        {MODEL_KV_INT8, 5, 500, 900, 5, 1, 8},
        {MODEL_KV_INT8, 4, 400, 1010, 25, 0, 0},
        {MODEL_KV_INT8, 1, 300, 1010, 1, 5, 8}, /* all heads at once */
        {MODEL_KV_F16, 2, 300, 1000, 2, 1, 1},
        {MODEL_KV_F32, 5, 300, 1000, 5, 0, 0},
    };
    struct weights w;

    tiny_load(&far, &w);
    int did = check(&w, ways, sizeof(ways) / sizeof(ways[0]), N);
    ck_assert_int_eq(did, BY_ROWS | BY_COLUMNS | MERGED | APART | ALL_HEADS | APART_ALL);
    weights_done(&w);
}
END_TEST

START_TEST(so_it_is_where_a_key_head_has_more_heads_than_an_item)
{
    static const struct way ways[] = {{MODEL_KV_INT8, 2, 540, 540, 0, 0, 0},
                                      {MODEL_KV_INT8, 3, 100, 520, 1, 1, 2},
                                      {MODEL_KV_F32, 3, 100, 520, 3, 1, 1}};
    struct weights w;

    tiny_load(&wide, &w);
    ck_assert_int_eq(check(&w, ways, 3, 540), BY_ROWS | BY_COLUMNS | MERGED);
    weights_done(&w);
}
END_TEST

/* A row so far on costs more than all others, so that a worker has none but it, or none at all. */
START_TEST(a_worker_may_have_no_rows)
{
    enum { ROWS = 110 };
    const struct runner_opts opts = {
        .max_seqs = 2, .max_rows = ROWS + 1, .max_logits = ROWS + 1, .threads = 2};
    struct tiny t = tiny_small;
    struct batch_row rows[ROWS + 1];
    static float want[ROWS * VOCAB];
    struct weights w;
    struct runner *rn;
    uint32_t far_seq, seq;

    t.ctx = 60000;
    tiny_load(&t, &w);
    ck_assert_int_eq(runner_new(&w, kernels_get(NULL), &opts, &rn, NULL), ST_OK);
    ck_assert_int_eq(runner_seq_new(rn, &far_seq), ST_OK);
    ck_assert_int_eq(runner_seq_new(rn, &seq), ST_OK);
    ck_assert_int_eq(runner_seq_reserve(rn, far_seq, t.ctx), ST_OK);
    ck_assert_int_eq(runner_seq_reserve(rn, seq, ROWS), ST_OK);
    for (size_t at = 0; at < 3; at++) { /* none, the first row, the last */
        size_t n = add_rows(rows, 0, at == 1 ? far_seq : seq, at == 1 ? t.ctx - 1 : 0, at == 1);
        size_t first = n;
        n += add_rows(rows + n, 1, seq, 0, ROWS);
        if (at == 2)
            n += add_rows(rows + n, 0, far_seq, t.ctx - 1, 1);
        ck_assert_int_eq(runner_step(rn, rows, n), ST_OK);
        ck_assert(rn->by_rows);
        if (at == 0)
            memcpy(want, runner_logits(rn, 0), sizeof(want));
        else
            ck_assert_uint_eq(rn->row_cut[1], at == 1 ? 1 : ROWS + 1);
        for (size_t i = 0; i < ROWS; i++)
            ck_assert(
                memcmp(runner_logits(rn, first + i), want + i * VOCAB, VOCAB * sizeof(*want)) == 0);
    }
    runner_free(rn);
    weights_done(&w);
}
END_TEST

/* Room that only many threads at the end of a long text would need is not in memory. */
START_TEST(so_it_is_at_a_million_positions)
{
    static unsigned char in[1 << 20];
    const struct batch_row row = {1, 0, LIMIT_CONTEXT - 1, true};
    struct runner_opts opts = {.max_seqs = 1, .max_rows = 1, .max_logits = 1, .threads = 1};
    struct tiny t = tiny_small;
    float want[VOCAB];
    struct weights w;
    uint32_t seq;

    t.ctx = LIMIT_CONTEXT;
    t.layers = 1;
    tiny_load(&t, &w);
    for (; opts.threads <= 16; opts.threads += 15) {
        const size_t page = (size_t)sysconf(_SC_PAGESIZE);
        struct runner *rn;
        ck_assert_int_eq(runner_new(&w, kernels_get(NULL), &opts, &rn, NULL), ST_OK);
        size_t n = (rn->spans.bytes + page - 1) / page, used = 0;
        ck_assert_uint_le(n, sizeof(in));
        ck_assert_int_eq(runner_seq_new(rn, &seq), ST_OK);
        ck_assert_int_eq(runner_seq_reserve(rn, seq, LIMIT_CONTEXT), ST_OK);
        ck_assert_int_eq(runner_step(rn, &row, 1), ST_OK);
        ck_assert_int_eq(mincore(rn->spans.base, rn->spans.bytes, in), 0);
        for (size_t i = 0; i < n; i++)
            used += in[i] & 1;
        ck_assert_uint_le(used, n / 16);
        if (opts.threads == 1)
            memcpy(want, runner_logits(rn, 0), sizeof(want));
        else
            ck_assert(rn->item_spans == LIMIT_CONTEXT / 512 &&
                      memcmp(want, runner_logits(rn, 0), sizeof(want)) == 0);
        runner_free(rn);
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

    tiny_load(&tiny_small, &w);
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
                                  so_it_is_where_heads_and_units_are_quantized_by_their_makers,
                                  so_it_is_where_nothing_is_whole,
                                  so_it_is_over_several_spans,
                                  so_it_is_where_a_key_head_has_more_heads_than_an_item,
                                  a_worker_may_have_no_rows,
                                  so_it_is_at_a_million_positions,
                                  broken_promises_about_rows_are_refused,
                                  NULL};
    return suite_run("forward", tests, 200);
}
