/* plan.c - how one step is divided among the workers.
 *
 * Few rows (decoding): every worker runs its columns of each product for all rows, so that the
 * weights are read once; in between, rows are exchanged at barriers. Many rows (prompts): every
 * worker takes rows of its own through the whole network; they stay in its cache, and only keys and
 * values are waited for. */
#include <stdatomic.h>

#include "model/net/runner.h"

/* Rows of one tile: as many as fit with all query heads of one key/value head. */
static uint32_t tile_rows(const struct runner *rn)
{
    uint32_t group = rn->w->hp.n_head / rn->w->hp.n_kv;
    return group < ATTN_QUERIES ? ATTN_QUERIES / group : 1;
}

/* Tiles of the rows [begin, end). */
static void plan_tiles(struct runner *rn, uint32_t begin, uint32_t end)
{
    uint32_t most = tile_rows(rn);

    for (uint32_t r = begin; r < end;) {
        uint32_t n = 1;
        while (n < most && r + n < end && rn->rows[r + n].seq == rn->rows[r].seq)
            n++;
        rn->tiles[rn->n_tiles++] = (struct attn_tile){r, n};
        r += n;
    }
}

/* What row r costs in a layer, in multiply-adds of a product: attention's are worth about three, as
 * softmax is most of it. */
static double row_cost(const struct runner *rn, size_t r)
{
    const struct hparams *hp = &rn->w->hp;
    const struct layer *l = &rn->w->layers[0];
    double blocks = rn->rows[r].pos / KV_BLOCK + 1;

    return (double)l->qkv.desc.n * (double)l->qkv.desc.k +
           (double)l->o.desc.n * (double)l->o.desc.k +
           3.0 * (double)hp->d_ff * (double)hp->d_model +
           3.0 * blocks * KV_BLOCK * 2.0 * hp->n_head * hp->head_dim;
}

/* Rows to each worker, by cost. */
static void cut_rows(struct runner *rn)
{
    unsigned n = rn->info.threads, w = 1;
    double total = 0.0, before = 0.0;

    for (size_t r = 0; r < rn->n_rows; r++)
        total += row_cost(rn, r);
    rn->row_cut[0] = 0;
    for (size_t r = 0; r < rn->n_rows; r++) {
        for (; w < n && before >= total * w / n; w++)
            rn->row_cut[w] = r;
        before += row_cost(rn, r);
    }
    for (; w <= n; w++)
        rn->row_cut[w] = rn->n_rows;
}

/* Few items for the workers: heads apart, and spans apart where the tiles are small. Many: all
 * heads of a small tile in one go, whose blocks lie side by side and so are read as one stream. */
static void plan_items(struct runner *rn)
{
    const struct hparams *hp = &rn->w->hp;
    uint32_t spans = 1, queries = 0;

    for (size_t i = 0; i < rn->n_tiles; i++) {
        uint32_t n = attention_spans(attention_positions(rn, &rn->tiles[i]));
        uint32_t q = rn->tiles[i].n_rows * (hp->n_head / hp->n_kv);
        spans = n > spans ? n : spans;
        queries = q > queries ? q : queries;
    }
    const size_t threads = rn->info.threads, enough = ATTN_FEW_ITEMS * threads;
    bool few = rn->n_tiles * hp->n_kv < enough && !rn->by_rows && threads > 1;
    rn->item_spans = few && queries <= ATTN_QUERIES ? spans : 1;
    bool many = rn->n_tiles * rn->item_spans >= enough;
    rn->item_heads = many && queries * hp->n_kv <= ATTN_QUERIES ? hp->n_kv : 1;
    rn->item_queries = queries * rn->item_heads;
    for (size_t i = 0; rn->item_spans > 1 && i < rn->n_tiles * hp->n_kv; i++)
        atomic_store_explicit(&rn->spans_done[i], 0, memory_order_relaxed);
}

/* A worker's share of what attention reads, as far as its caches hold it: products of some rows have
 * time to fetch it, attention has not. */
static size_t prefetch_blocks(const struct runner *rn)
{
    enum { PREFETCH_BYTES = 2 << 20 };
    const size_t most = PREFETCH_BYTES / (rn->item_heads * rn->kv.head_bytes);
    size_t n = 0;

    if (rn->by_rows || rn->item_spans > 1)
        return 0;
    for (size_t i = 0; i < rn->n_tiles && n < most * rn->info.threads; i++)
        n += (attention_positions(rn, &rn->tiles[i]) + KV_BLOCK - 1) / KV_BLOCK;
    n = n * (rn->w->hp.n_kv / rn->item_heads) / rn->info.threads;
    return n < most ? n : most;
}

void plan_step(struct runner *rn)
{
    unsigned n = rn->info.threads;

    rn->n_tiles = 0;
    rn->by_rows = n > 1 && rn->n_rows >= (size_t)ROWS_EACH * n;
    if (rn->by_rows)
        cut_rows(rn);
    for (unsigned w = 0; rn->by_rows && w < n; w++) {
        rn->tile_cut[w] = rn->n_tiles;
        plan_tiles(rn, (uint32_t)rn->row_cut[w], (uint32_t)rn->row_cut[w + 1]);
    }
    rn->tile_cut[n] = rn->n_tiles;
    if (!rn->by_rows)
        plan_tiles(rn, 0, (uint32_t)rn->n_rows);
    plan_items(rn);
    rn->prefetch_blocks = prefetch_blocks(rn);
    for (size_t i = 0; i < n * rn->w->hp.n_layer; i++)
        atomic_store_explicit(&rn->next_item[i], 0, memory_order_relaxed);
}

struct share plan_share(const struct runner *rn, unsigned worker)
{
    if (rn->by_rows)
        return (struct share){rn->row_cut[worker], rn->row_cut[worker + 1], 0, 1};
    return (struct share){0, rn->n_rows, worker, rn->info.threads};
}
