/* attention.c - which worker attends which rows, and a query's way over the positions of its
 * sequence.
 *
 * Positions are summed in blocks of KV_BLOCK, blocks in spans of SPAN_BLOCKS, each in ascending
 * order and each span by itself before it is merged. So a few long sequences can be cut into spans
 * for all workers (Dao et al. 2023, Flash-Decoding) without changing a bit of the result. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "model/net/runner.h"

enum { SPAN_BLOCKS = 8, SPAN = SPAN_BLOCKS * KV_BLOCK };

/* Rows of one tile and the heads [kv_begin, kv_end) over spans [begin, end). */
struct item {
    const struct attn_tile *tile;
    const struct attn_tile *then;   /* NULL, or the tile that this worker attends next, alike */
    const struct linear_input *mid; /* where it goes */
    size_t layer, kv_begin, kv_end;
    uint32_t begin, end;
};

uint32_t attention_spans(uint32_t n_pos)
{
    return n_pos / SPAN + (n_pos % SPAN != 0);
}

uint32_t attention_positions(const struct runner *rn, const struct attn_tile *tile)
{
    return rn->rows[tile->first + tile->n_rows - 1].pos + 1;
}

static void set_query(const struct runner *rn, struct attn_scratch *s, size_t i, size_t r,
                      size_t head)
{
    const size_t at = r * rn->w->hp.n_head + head;

    s->query[i] = (struct attn_query){.n_pos = rn->rows[r].pos + 1,
                                      .q8 = rn->q8 + at * rn->query_step,
                                      .qf = rn->qf + at * rn->query_step,
                                      .scale = rn->q_scale[at],
                                      .comp = rn->q_comp[at],
                                      .o = s->o[i]};
}

/* Bytes to what is read FETCH_AHEAD blocks after block b of head h: of this sequence, or of the one
 * that this worker attends next. Measured with 32 sequences, whose keys and values come
 * from memory: fetched so, in between the products, attention takes half the time. */
static ptrdiff_t fetch_ahead(const struct runner *rn, const struct item *it, size_t h, uint32_t b,
                             uint32_t end)
{
    enum { FETCH_AHEAD = 3 };
    const struct attn_tile *tile = it->tile;
    const size_t heads = it->kv_end - it->kv_begin;
    size_t at = h - it->kv_begin + FETCH_AHEAD;
    uint32_t to = b + (uint32_t)(at / heads);

    if (to >= end) {
        if (!it->then)
            return 0;
        tile = it->then;
        to = 0;
    }
    return kv_head_at(&rn->kv, rn->rows[tile->first].seq, it->layer, it->kv_begin + at % heads,
                      to) -
           kv_head_at(&rn->kv, rn->rows[it->tile->first].seq, it->layer, h, b);
}

/* Queries, `each` a key/value head, over the blocks of one span. They start from nothing. */
static void run_span(const struct runner *rn, struct attn_scratch *s, size_t each,
                     const struct item *it, uint32_t span)
{
    const uint32_t seq = rn->rows[it->tile->first].seq;
    uint32_t last = (attention_positions(rn, it->tile) + KV_BLOCK - 1) / KV_BLOCK;
    uint32_t b = span * SPAN_BLOCKS, end = b + SPAN_BLOCKS < last ? b + SPAN_BLOCKS : last;

    for (size_t i = 0; i < each * (it->kv_end - it->kv_begin); i++) {
        s->query[i].m = -INFINITY;
        s->query[i].l = 0.0f;
        memset(s->query[i].o, 0, rn->kv.dv * sizeof(float));
    }
    for (; b < end; b++)
        for (size_t h = it->kv_begin; h < it->kv_end; h++) {
            struct attn_query *q = s->query + (h - it->kv_begin) * each;
            if (rn->kv.type == MODEL_KV_INT8) {
                struct kv_block_i8 block = kv_block_i8_at(&rn->kv, seq, it->layer, h, b);
                block.ahead = fetch_ahead(rn, it, h, b, last);
                rn->kernels->attn_i8(&block, q, each, b * KV_BLOCK, rn->kv.dk, rn->kv.dv);
            } else {
                struct kv_block_f block = kv_block_f_at(&rn->kv, seq, it->layer, h, b);
                rn->kernels->attn_f(&block, q, each, b * KV_BLOCK, rn->kv.d, rn->kv.dv);
            }
        }
}

/* All positions were seen: o / l is what attention gives for this head, on its way into o's
 * product. */
static void finish_query(struct runner *rn, const struct attn_query *q, const struct item *it,
                         size_t r, size_t head)
{
    const struct linear *l = &rn->w->layers[it->layer].o;
    const size_t d = rn->w->hp.head_dim;
    float inv = 1.0f / q->l, t[HEAD_MAX];
    bool whole = attention_quantizes(rn, it->layer);
    float *out = rn->att + r * rn->widest + head * d;

    if (whole)
        out = l->desc.act == ACT_FLOAT ? linear_stage(l, it->mid, t, r, head * d) : t;
    for (size_t c = 0; c < d; c++)
        out[c] = q->o[c] * inv;
    if (whole)
        linear_quantize(l, rn->kernels, out, it->mid, r, head * d, d);
}

bool attention_quantizes(const struct runner *rn, size_t layer)
{
    return linear_part_is_apart(&rn->w->layers[layer].o, rn->w->hp.head_dim);
}

static void merge_span(const struct runner *rn, struct attn_scratch *s, size_t n, bool first)
{
    for (size_t i = 0; i < n; i++) {
        if (first) {
            s->total[i] = (struct attn_query){.m = -INFINITY, .o = s->total_o[i]};
            memset(s->total_o[i], 0, rn->kv.dv * sizeof(float));
        }
        rn->kernels->attn_merge(&s->total[i], &s->query[i], rn->kv.dv);
    }
}

/* A span of a tile and head that other workers attend too; who is last puts the spans together.
 * Returns whether that is us: the totals are complete. */
static bool split_span(struct runner *rn, struct attn_scratch *s, size_t each,
                       const struct item *it)
{
    const size_t n = each * rn->item_heads, units = rn->w->hp.n_kv / rn->item_heads;
    const size_t item = (size_t)(it->tile - rn->tiles) * units + it->kv_begin / rn->item_heads;
    const size_t step = rn->n_tiles * units * rn->item_queries, at = item * rn->item_queries;
    struct attn_query *q = rn->span_query + at;
    float *o = rn->span_o + (it->begin * step + at) * rn->kv.dv;

    for (size_t i = 0; i < n; i++)
        s->query[i].o = o + i * rn->kv.dv;
    run_span(rn, s, each, it, it->begin);
    memcpy(q + it->begin * step, s->query, n * sizeof(*q));
    if (atomic_fetch_add_explicit(&rn->spans_done[item], 1, memory_order_acq_rel) + 1 <
        rn->item_spans)
        return false;
    atomic_store_explicit(&rn->spans_done[item], 0, memory_order_relaxed); /* for the next layer */
    for (uint32_t span = 0; span < attention_spans(attention_positions(rn, it->tile)); span++) {
        memcpy(s->query, q + span * step, n * sizeof(*q));
        merge_span(rn, s, n, span == 0);
    }
    return true;
}

/* Query heads [h0, h0 + heads) of each key/value head of an item: slot order is key/value head,
 * row, head. */
static void attend_heads(struct runner *rn, struct attn_scratch *s, const struct item *it,
                         size_t h0, size_t heads)
{
    const size_t group = rn->w->hp.n_head / rn->w->hp.n_kv, first = it->tile->first;
    const size_t each = it->tile->n_rows * heads, n = each * (it->kv_end - it->kv_begin);
    const struct attn_query *done = s->total;

    for (size_t i = 0; i < n; i++) {
        size_t head = (it->kv_begin + i / each) * group + h0 + i % heads;
        set_query(rn, s, i, first + i % each / heads, head);
    }
    if (rn->item_spans > 1) {
        if (!split_span(rn, s, each, it))
            return;
    } else {
        for (uint32_t span = it->begin; span < it->end; span++) {
            run_span(rn, s, each, it, span);
            if (it->end > 1)
                merge_span(rn, s, n, span == 0);
        }
        done = it->end > 1 ? s->total : s->query;
    }
    for (size_t i = 0; i < n; i++) {
        size_t head = (it->kv_begin + i / each) * group + h0 + i % heads;
        finish_query(rn, &done[i], it, first + i % each / heads, head);
    }
}

static void attend(struct runner *rn, struct attn_scratch *s, const struct item *it)
{
    const size_t group = rn->w->hp.n_head / rn->w->hp.n_kv;

    /* More heads a group than slots: several passes. */
    for (size_t h0 = 0; h0 < group; h0 += ATTN_QUERIES)
        attend_heads(rn, s, it, h0, group - h0 < ATTN_QUERIES ? group - h0 : ATTN_QUERIES);
}

/* The i-th span to be handed out. Workers that take turns get neighbours of their own: two that
 * read next to each other wait for the same banks of memory. */
static uint32_t span_of(const struct runner *rn, uint32_t i)
{
    const uint32_t n = rn->info.threads, r = i % n, extra = rn->item_spans % n;

    return r * (rn->item_spans / n) + (r < extra ? r : extra) + i / n;
}

static struct item item_at(const struct runner *rn, size_t layer, const struct linear_input *mid,
                           size_t i)
{
    const size_t units = rn->w->hp.n_kv / rn->item_heads;
    struct item it = {.layer = layer, .mid = mid};

    if (rn->item_spans > 1) {
        it.begin = span_of(rn, (uint32_t)(i % rn->item_spans));
        i /= rn->item_spans;
    }
    it.tile = &rn->tiles[i / units];
    it.kv_begin = i % units * rn->item_heads;
    it.kv_end = it.kv_begin + rn->item_heads;
    it.end = rn->item_spans > 1 ? it.begin + 1 : attention_spans(attention_positions(rn, it.tile));
    return it;
}

/* The next of a worker's own items, every n-th of all, or then of another's; n_items: none is left.
 */
static size_t next_item(struct runner *rn, size_t layer, size_t n_items, unsigned worker)
{
    const unsigned n = rn->info.threads;

    for (unsigned k = 0; k < n; k++) {
        unsigned whose = (worker + k) % n;
        _Atomic size_t *next = &rn->next_item[whose * rn->w->hp.n_layer + layer];
        if (whose + n * atomic_load_explicit(next, memory_order_relaxed) >= n_items)
            continue; /* looked at first: a line that nobody writes is in everybody's cache */
        size_t i = whose + n * atomic_fetch_add_explicit(next, 1, memory_order_relaxed);
        if (i < n_items)
            return i;
    }
    return n_items;
}

size_t attention_runs(const struct runner *rn, size_t layer, unsigned worker,
                      struct attn_walk *walk, const uint8_t **runs, size_t max)
{
    const size_t n_items = rn->n_tiles * (rn->w->hp.n_kv / rn->item_heads);
    size_t n = 0;

    while (n < max && worker + walk->item * rn->info.threads < n_items) {
        size_t i = n_items - 1 - (worker + walk->item * rn->info.threads);
        struct item it = item_at(rn, layer, NULL, i);
        runs[n++] =
            kv_head_at(&rn->kv, rn->rows[it.tile->first].seq, layer, it.kv_begin, walk->block);
        if (++walk->block * KV_BLOCK >= attention_positions(rn, it.tile))
            *walk = (struct attn_walk){walk->item + 1, 0};
    }
    return n;
}

void attention_layer(struct runner *rn, size_t layer, const struct linear_input *mid,
                     unsigned worker)
{
    const size_t units = rn->w->hp.n_kv / rn->item_heads;
    const size_t n_items = rn->n_tiles * units * rn->item_spans;
    struct attn_scratch *scratch = rn->workers[worker].attn;

    if (rn->by_rows) {
        for (size_t i = rn->tile_cut[worker] * units; i < rn->tile_cut[worker + 1] * units; i++) {
            struct item it = item_at(rn, layer, mid, i);
            attend(rn, scratch, &it);
        }
        return;
    }
    /* Items differ in cost (later rows see more), so workers take the next one, the longest first;
     * each takes one ahead, to fetch it in time. The order changes no result. */
    size_t i = next_item(rn, layer, n_items, worker), then;
    for (; i < n_items; i = then) {
        then = next_item(rn, layer, n_items, worker);
        struct item it = item_at(rn, layer, mid, n_items - 1 - i);
        if (then < n_items && it.end == 1)
            it.then = item_at(rn, layer, mid, n_items - 1 - then).tile;
        attend(rn, scratch, &it);
    }
}
