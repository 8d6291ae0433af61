/* attention.c - which worker attends which rows, and a query's way over the blocks of its sequence.
 */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "model/net/runner.h"

/* Rows of one tile: as many as fit with all query heads of one key/value head. */
static uint32_t tile_rows(const struct runner *rn)
{
    uint32_t group = rn->w->hp.n_head / rn->w->hp.n_kv;
    return group < ATTN_QUERIES ? ATTN_QUERIES / group : 1;
}

void attention_plan(struct runner *rn)
{
    uint32_t most = tile_rows(rn);

    rn->n_tiles = 0;
    for (uint32_t r = 0; r < rn->n_rows;) {
        uint32_t n = 1;
        while (n < most && r + n < rn->n_rows && rn->rows[r + n].seq == rn->rows[r].seq)
            n++;
        rn->tiles[rn->n_tiles++] = (struct attn_tile){r, n};
        r += n;
    }
    for (size_t i = 0; i < rn->w->hp.n_layer; i++)
        atomic_store_explicit(&rn->next_item[i], 0, memory_order_relaxed);
}

bool attention_is_apart(const struct runner *rn)
{
    return rn->n_tiles == rn->n_rows;
}

/* Query head `head` of row r into slot i: rotated and quantized, or scaled as floats. */
static void set_query(const struct runner *rn, struct attn_scratch *s, size_t i, size_t r,
                      size_t head)
{
    const struct hparams *hp = &rn->w->hp;
    const size_t d = hp->head_dim, width = (size_t)(hp->n_head + 2 * hp->n_kv) * d;
    const float log2e = 1.44269504f, to_base2 = log2e / sqrtf((float)d);
    struct attn_query *q = &s->query[i];

    *q = (struct attn_query){.n_pos = rn->rows[r].pos + 1, .m = -INFINITY, .o = s->o[i]};
    memset(s->o[i], 0, rn->kv.dv * sizeof(float));
    memcpy(s->qf[i], rn->qkv + r * width + head * d, d * sizeof(float));
    q->qf = s->qf[i];
    q->q8 = s->q8[i];
    if (rn->kv.type == MODEL_KV_INT8) {
        rn->kernels->hadamard(s->qf[i], d, hparams_head_block(hp));
        rn->kernels->quantize(s->qf[i], d, 0, d, s->q8[i], &q->scale, &q->comp);
        q->scale *= to_base2;
        return;
    }
    for (size_t c = 0; c < d; c++)
        s->qf[i][c] *= to_base2;
}

static void run_blocks(const struct runner *rn, struct attn_scratch *s, size_t n, uint32_t seq,
                       size_t layer, size_t kv_head)
{
    uint32_t last = 0;

    for (size_t i = 0; i < n; i++)
        last = s->query[i].n_pos > last ? s->query[i].n_pos : last;
    for (uint32_t b = 0; b * KV_BLOCK < last; b++) {
        if (rn->kv.type == MODEL_KV_INT8) {
            struct kv_block_i8 block = kv_block_i8_at(&rn->kv, seq, layer, kv_head, b);
            rn->kernels->attn_i8(&block, s->query, n, b * KV_BLOCK, rn->kv.dk, rn->kv.dv);
        } else {
            struct kv_block_f block = kv_block_f_at(&rn->kv, seq, layer, kv_head, b);
            rn->kernels->attn_f(&block, s->query, n, b * KV_BLOCK, rn->kv.d, rn->kv.dv);
        }
    }
}

/* All query heads of one key/value head, for the rows of one tile. */
static void attend(struct runner *rn, struct attn_scratch *s, const struct attn_tile *tile,
                   size_t layer, size_t kv_head)
{
    const struct hparams *hp = &rn->w->hp;
    const size_t group = hp->n_head / hp->n_kv, d = hp->head_dim, k = rn->w->layers[layer].o.desc.k;

    /* More heads a group than slots: several passes. */
    for (size_t h0 = 0; h0 < group; h0 += ATTN_QUERIES) {
        size_t heads = group - h0 < ATTN_QUERIES ? group - h0 : ATTN_QUERIES,
               n = tile->n_rows * heads;
        if (kv_head + 1 == hp->n_kv) /* what pads a row to whole groups */
            for (size_t r = tile->first; r < tile->first + tile->n_rows; r++)
                memset(rn->att + r * k + hp->n_head * d, 0, (k - hp->n_head * d) * sizeof(float));
        for (size_t i = 0; i < n; i++)
            set_query(rn, s, i, tile->first + i / heads, kv_head * group + h0 + i % heads);
        run_blocks(rn, s, n, rn->rows[tile->first].seq, layer, kv_head);
        for (size_t i = 0; i < n; i++) {
            float *out =
                rn->att + (tile->first + i / heads) * k + (kv_head * group + h0 + i % heads) * d;
            float inv = 1.0f / s->query[i].l;
            for (size_t c = 0; c < d; c++)
                out[c] = s->query[i].o[c] * inv;
        }
    }
}

void attention_layer(struct runner *rn, size_t layer, unsigned worker)
{
    const size_t n_kv = rn->w->hp.n_kv, n_items = rn->n_tiles * n_kv;

    /* Items differ in cost (later rows see more), so workers take the next one; the order changes
     * no result. */
    for (;;) {
        size_t i = atomic_fetch_add_explicit(&rn->next_item[layer], 1, memory_order_relaxed);
        if (i >= n_items)
            return;
        i = n_items - 1 - i; /* the longest first */
        if (attention_is_apart(rn))
            rotate_and_store(rn, layer, rn->tiles[i / n_kv].first, i % n_kv);
        attend(rn, rn->attn[worker], &rn->tiles[i / n_kv], layer, i % n_kv);
    }
}
