/* Who does what of a step, for steps and machines of all sizes. What plan.c needs of a runner is
 * made up here. */
#include <stdatomic.h>
#include <string.h>

#include "model/net/runner.h"
#include "unit/suite.h"

enum { ROWS = 3000, THREADS = 70, LAYERS = 3, TEXTS = 400, BLOCKS = 270, HEAD_BYTES = 8704 };

struct fake {
    struct layer layer;
    struct weights w;
    struct runner rn;
    struct batch_row rows[ROWS];
    size_t row_cut[THREADS + 1], tile_cut[THREADS + 1];
    struct attn_tile tiles[ROWS];
    _Atomic size_t next_item[THREADS * LAYERS];
    _Atomic uint32_t spans_done[ATTN_FEW_ITEMS * THREADS];
    struct kv_seq seqs[TEXTS];
    uint32_t pages[TEXTS][BLOCKS];
};

static struct fake *fake_new(unsigned threads, uint32_t n_head, uint32_t n_kv)
{
    struct fake *f = calloc(1, sizeof(*f));

    ck_assert_ptr_nonnull(f);
    f->layer.qkv.desc = (struct linear_desc){.n = (size_t)(n_head + 2 * n_kv) * 64, .k = 576};
    f->layer.o.desc = (struct linear_desc){.n = 576, .k = (size_t)n_head * 64};
    f->w.layers = &f->layer;
    f->w.hp = (struct hparams){.n_layer = LAYERS,
                               .d_model = 576,
                               .d_ff = 1536,
                               .n_head = n_head,
                               .n_kv = n_kv,
                               .head_dim = 64};
    f->rn.w = &f->w;
    f->rn.info.threads = threads;
    f->rn.rows = f->rows;
    f->rn.row_cut = f->row_cut;
    f->rn.tile_cut = f->tile_cut;
    f->rn.tiles = f->tiles;
    f->rn.next_item = f->next_item;
    f->rn.spans_done = f->spans_done;
    f->rn.kv = (struct kv){
        .n_kv = n_kv, .head_bytes = HEAD_BYTES, .page_bytes = (size_t)LAYERS * n_kv * HEAD_BYTES};
    f->rn.kv.arena = (uint8_t *)f; /* nothing is read there */
    f->rn.kv.seqs = f->seqs;
    return f;
}

static void add_text(struct fake *f, uint32_t seq, uint32_t pos, size_t n)
{
    f->seqs[seq].pages = f->pages[seq];
    for (uint32_t b = 0; b < BLOCKS; b++)
        f->pages[seq][b] = seq * BLOCKS + b;
    for (size_t i = 0; i < n; i++)
        f->rows[f->rn.n_rows++] = (struct batch_row){0, seq, pos + (uint32_t)i, false};
}

static void plan(struct fake *f)
{
    memset(f->row_cut, 0xff, sizeof(f->row_cut));
    memset(f->tile_cut, 0xff, sizeof(f->tile_cut));
    memset(f->tiles, 0xff, sizeof(f->tiles));
    memset((void *)f->next_item, 0xff, sizeof(f->next_item));
    memset((void *)f->spans_done, 0xff, sizeof(f->spans_done));
    plan_step(&f->rn);
}

/* Checks say what is wrong, or NULL: asserts by the row are slow. */
#define NEED(fact)                                                                                 \
    do {                                                                                           \
        if (!(fact))                                                                               \
            return #fact;                                                                          \
    } while (0)

/* Tiles [from, to) are the rows [begin, end): in order, each of one text and no larger than an item
 * can hold. */
static const char *wrong_tiles(const struct fake *f, size_t from, size_t to, size_t begin,
                               size_t end)
{
    const size_t group = f->w.hp.n_head / f->w.hp.n_kv;

    NEED(to <= f->rn.n_tiles);
    for (size_t i = from; i < to; i++) {
        const struct attn_tile *t = &f->tiles[i];
        NEED(t->first == begin && t->n_rows >= 1 && begin + t->n_rows <= end);
        NEED(t->n_rows == 1 || t->n_rows * group <= ATTN_QUERIES);
        for (size_t r = 0; r < t->n_rows; r++)
            NEED(f->rows[begin + r].seq == f->rows[begin].seq);
        begin += t->n_rows;
    }
    NEED(begin == end);
    return NULL;
}

/* What attention has for rows beside what every row costs: blocks of positions. */
static double blocks_of(const struct fake *f, size_t begin, size_t end)
{
    double n = 0;

    for (size_t r = begin; r < end; r++)
        n += f->rows[r].pos / KV_BLOCK + 1;
    return n;
}

/* Nobody has more rows, and more to attend, than a fair part and a row. */
static const char *wrong_balance(const struct fake *f)
{
    const double n = f->rn.info.threads, rows = (double)f->rn.n_rows;
    const double blocks = blocks_of(f, 0, f->rn.n_rows);
    double most = 0;

    for (size_t r = 0; r < f->rn.n_rows; r++)
        most = blocks_of(f, r, r + 1) > most ? blocks_of(f, r, r + 1) : most;
    for (unsigned w = 0; w < f->rn.info.threads; w++) {
        double ours = (double)(f->row_cut[w + 1] - f->row_cut[w]);
        double attended = blocks_of(f, f->row_cut[w], f->row_cut[w + 1]);
        NEED(ours <= rows / n + 1 || attended <= blocks / n + most);
    }
    return NULL;
}

static const char *wrong_rows(const struct fake *f)
{
    const unsigned n = f->rn.info.threads;
    const char *wrong = NULL;

    NEED(f->row_cut[0] == 0 && f->row_cut[n] == f->rn.n_rows);
    NEED(f->tile_cut[0] == 0 && f->tile_cut[n] == f->rn.n_tiles);
    for (unsigned w = 0; w < n && !wrong; w++) {
        struct share s = plan_share(&f->rn, w);
        NEED(s.begin == f->row_cut[w] && s.end == f->row_cut[w + 1] && s.begin <= s.end);
        NEED(s.col == 0 && s.n_cols == 1);
        wrong = wrong_tiles(f, f->tile_cut[w], f->tile_cut[w + 1], s.begin, s.end);
    }
    return wrong ? wrong : wrong_balance(f);
}

static const char *wrong_columns(const struct fake *f)
{
    for (unsigned w = 0; w < f->rn.info.threads; w++) {
        struct share s = plan_share(&f->rn, w);
        NEED(s.begin == 0 && s.end == f->rn.n_rows);
        NEED(s.col == w && s.n_cols == f->rn.info.threads);
    }
    return wrong_tiles(f, 0, f->rn.n_tiles, 0, f->rn.n_rows);
}

/* An item has queries for its slots, and, cut into spans, a place among those there is room for. */
static const char *wrong_items(const struct fake *f)
{
    const struct runner *rn = &f->rn;
    const size_t n_kv = f->w.hp.n_kv, group = f->w.hp.n_head / n_kv;
    uint32_t spans = 1;

    NEED(rn->item_heads == 1 || rn->item_heads == n_kv);
    for (size_t i = 0; i < rn->n_tiles; i++) {
        const struct attn_tile *t = &f->tiles[i];
        uint32_t n = attention_spans(f->rows[t->first + t->n_rows - 1].pos + 1);
        size_t queries = t->n_rows * group * rn->item_heads;
        spans = n > spans ? n : spans;
        NEED(rn->item_queries >= queries);
        NEED((rn->item_heads == 1 && rn->item_spans == 1) || queries <= ATTN_QUERIES);
    }
    NEED(rn->item_spans == 1 || rn->item_spans == spans);
    for (size_t i = 0; i < LAYERS * rn->info.threads; i++)
        NEED(atomic_load(&f->next_item[i]) == 0);
    if (rn->item_spans == 1)
        return NULL;
    const size_t items = rn->n_tiles * (n_kv / rn->item_heads);
    NEED(!rn->by_rows && rn->info.threads > 1);
    NEED(items <= ATTN_FEW_ITEMS * rn->info.threads);
    NEED(rn->item_queries <= ATTN_QUERIES);
    for (size_t i = 0; i < items; i++)
        NEED(atomic_load(&f->spans_done[i]) == 0);
    return NULL;
}

/* What is fetched for a worker is what it has in the next layer as often as
 * it reads it, and not more than its caches hold. */
static const char *wrong_runs(struct fake *f)
{
    struct runner *rn = &f->rn;
    size_t n = 0, all = 0;

    NEED(rn->prefetch_blocks * rn->item_heads * HEAD_BYTES <= 2 << 20);
    if (rn->by_rows || rn->item_spans > 1) {
        NEED(rn->prefetch_blocks == 0);
        return NULL;
    }
    for (size_t i = 0; i < rn->n_tiles; i++)
        all += (attention_positions(rn, &f->tiles[i]) + KV_BLOCK - 1) / KV_BLOCK *
               (f->w.hp.n_kv / rn->item_heads);
    NEED(rn->prefetch_blocks <= all / rn->info.threads);
    for (unsigned w = 0; w < rn->info.threads; w++) {
        struct attn_walk walk = {0};
        const uint8_t *at;
        for (; attention_runs(rn, LAYERS - 1, w, &walk, &at, 1); n++)
            NEED((size_t)(at - rn->kv.arena) % rn->kv.page_bytes >=
                 (LAYERS - 1) * f->w.hp.n_kv * HEAD_BYTES);
        NEED(attention_runs(rn, 0, w, &walk, &at, 1) == 0);
    }
    NEED(n == all);
    return NULL;
}

static void check(struct fake *f)
{
    const struct runner *rn = &f->rn;
    const size_t enough = (size_t)ROWS_EACH * rn->info.threads;

    plan(f);
    ck_assert(rn->by_rows == (rn->info.threads > 1 && rn->n_rows >= enough));
    const char *wrong = rn->by_rows ? wrong_rows(f) : wrong_columns(f);
    if (!wrong)
        wrong = wrong_items(f);
    if (!wrong)
        wrong = wrong_runs(f);
    ck_assert_msg(!wrong, "%zu rows, %u threads, %u of %u heads: not %s", rn->n_rows,
                  rn->info.threads, f->w.hp.n_kv, f->w.hp.n_head, wrong);
}

static uint32_t noise(uint32_t n)
{
    static uint32_t x = 88172645u;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x % n;
}

START_TEST(every_row_has_its_worker_and_tile)
{
    static const uint32_t heads[][2] = {{9, 3}, {4, 4}, {32, 1}, {50, 1}, {1, 1}, {64, 8}};
    bool by_rows = false, apart = false, together = false, both = false;

    for (size_t i = 0; i < 3000; i++) {
        const uint32_t *h = heads[noise(6)];
        struct fake *f = fake_new(1 + noise(noise(3) ? 5 : THREADS), h[0], h[1]);
        uint32_t texts = 1 + noise(noise(2) ? 4 : 64), longest = 1u << noise(15);
        for (uint32_t t = 0; t < texts; t++) {
            size_t n = noise(2) ? 1 : 1 + noise(noise(2) ? 8 : 600);
            if (f->rn.n_rows + n <= ROWS)
                add_text(f, t, noise(longest), n);
        }
        check(f);
        by_rows = by_rows || f->rn.by_rows;
        apart = apart || (f->rn.item_spans > 1 && f->rn.item_heads == 1);
        together = together || (f->rn.item_spans == 1 && f->rn.item_heads > 1);
        both = both || (f->rn.item_spans > 1 && f->rn.item_heads > 1);
        free(f);
    }
    ck_assert(by_rows && apart && together && both);
}
END_TEST

START_TEST(a_prompts_end_costs_more_than_its_beginning)
{
    for (unsigned threads = 2; threads <= 5; threads++) {
        struct fake *f = fake_new(threads, 9, 3);
        add_text(f, 0, 0, 2048);
        check(f);
        for (unsigned w = 1; w < threads; w++)
            ck_assert_uint_lt(f->row_cut[w + 1] - f->row_cut[w], f->row_cut[w] - f->row_cut[w - 1]);
        free(f);
    }
}
END_TEST

START_TEST(equal_rows_are_dealt_equally)
{
    for (unsigned threads = 2; threads <= 5; threads++) {
        struct fake *f = fake_new(threads, 9, 3);
        for (uint32_t t = 0; t < 301; t++)
            add_text(f, t, 100, 1);
        check(f);
        ck_assert(f->rn.by_rows);
        for (unsigned w = 0; w < threads; w++) {
            size_t n = f->row_cut[w + 1] - f->row_cut[w];
            ck_assert(n == 301 / threads || n == 301 / threads + 1);
        }
        free(f);
    }
}
END_TEST

RUN_SUITE("plan", every_row_has_its_worker_and_tile, a_prompts_end_costs_more_than_its_beginning,
          equal_rows_are_dealt_equally)
