/* scratch.c - the buffers of a runner's steps: opened once, for the most rows there can be. */
#include <stdlib.h>
#include <string.h>

#include "model/net/runner.h"

static size_t max_of(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Widest input of any linear layer, padded. */
static size_t widest(const struct weights *w)
{
    size_t k = max_of(w->embed.desc.k, weights_head(w)->desc.k);
    for (size_t i = 0; i < w->hp.n_layer; i++) {
        const struct layer *l = &w->layers[i];
        k = max_of(k, max_of(max_of(l->qkv.desc.k, l->o.desc.k),
                             max_of(l->gate_up.desc.k, l->down.desc.k)));
    }
    return k;
}

/* n x size bytes, cache-line aligned, not zeroed (touched on use). NULL on overflow too. */
static void *buffer(size_t n, size_t size)
{
    size_t bytes;
    void *p = NULL;

    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX - 128)
        return NULL;
    return posix_memalign(&p, 64, (bytes + 127) / 64 * 64) ? NULL : p;
}

/* Scales of a row of k inputs: groups are 32 or more. */
static size_t scales_of(size_t k)
{
    return k / 32 + 1;
}

static bool open_input(struct linear_input *in, size_t rows, size_t k)
{
    in->x = buffer(rows * k, sizeof(float));
    in->q.q = buffer(rows * k, 1);
    in->q.scale = buffer(rows * scales_of(k), sizeof(float));
    in->q.comp = buffer(rows * scales_of(k), sizeof(int32_t));
    in->q.zero = buffer(rows * scales_of(k), sizeof(int32_t));
    return in->x && in->q.q && in->q.scale && in->q.comp && in->q.zero;
}

static void close_input(struct linear_input *in)
{
    free(in->x);
    free(in->q.q);
    free(in->q.scale);
    free(in->q.comp);
    free(in->q.zero);
}

static bool open_rows(struct runner *rn)
{
    const struct hparams *hp = &rn->w->hp;
    const size_t rows = rn->info.max_rows;
    const size_t queries = rows * hp->n_head;

    rn->widest = widest(rn->w);

    rn->logit_slot = buffer(rows, sizeof(*rn->logit_slot));
    rn->x = buffer(rows * hp->d_model, sizeof(float));
    rn->query_step = (hp->head_dim + 15) / 16 * 16;
    rn->q8 = buffer(queries * rn->query_step, 1);
    rn->q_scale = buffer(queries, sizeof(*rn->q_scale));
    rn->q_comp = buffer(queries, sizeof(*rn->q_comp));
    rn->qf = buffer(queries * rn->query_step, sizeof(float));
    rn->att = buffer(rows * rn->widest, sizeof(float));
    rn->gu = buffer(rows * rn->w->layers[0].gate_up.desc.n, sizeof(float));
    rn->cosv = buffer(rows * hp->n_rot, sizeof(float));
    rn->sinv = buffer(rows * hp->n_rot, sizeof(float));
    rn->logits = buffer(rn->info.max_logits * (size_t)hp->n_vocab, sizeof(float));
    return rn->logit_slot && rn->x && rn->q8 && rn->q_scale && rn->q_comp && rn->qf && rn->att &&
           rn->gu && rn->cosv && rn->sinv && rn->logits &&
           open_input(&rn->in, max_of(rows, rn->info.max_logits), rn->widest) &&
           open_input(&rn->mid, rows, rn->widest);
}

/* What many threads could need for a long context is far more than they ever touch: a step's are
 * dense from the front. */
static bool open_spans(struct runner *rn, size_t items)
{
    const size_t q = sizeof(*rn->span_query), o = rn->kv.dv * sizeof(*rn->span_o);
    size_t n, bytes;

    if (__builtin_mul_overflow(items * ATTN_QUERIES, (size_t)attention_spans(rn->info.n_ctx), &n) ||
        __builtin_mul_overflow(n, q + o, &bytes) || arena_open(&rn->spans, bytes + 64) != ST_OK)
        return false;
    rn->span_query = arena_take(&rn->spans, n * q);
    rn->span_o = arena_take(&rn->spans, n * o);
    return true;
}

static bool open_attention(struct runner *rn)
{
    const size_t items = ATTN_FEW_ITEMS * rn->info.threads;

    rn->row_cut = buffer(rn->info.threads + 1, sizeof(*rn->row_cut));
    rn->tile_cut = buffer(rn->info.threads + 1, sizeof(*rn->tile_cut));
    rn->tiles = buffer(rn->info.max_rows, sizeof(*rn->tiles));
    rn->next_item = buffer(rn->info.threads * rn->w->hp.n_layer, sizeof(*rn->next_item));
    rn->spans_done = buffer(items, sizeof(*rn->spans_done));
    return rn->row_cut && rn->tile_cut && rn->tiles && rn->next_item && rn->spans_done &&
           open_spans(rn, items);
}

static bool open_worker(struct runner *rn, struct worker *w)
{
    w->attn = buffer(1, sizeof(*w->attn));
    if (w->attn)
        memset(w->attn, 0, sizeof(*w->attn));
    w->row = buffer(rn->widest, sizeof(float));
    return w->attn && w->row && open_input(&w->in, ALONE_ROWS, rn->widest) &&
           open_input(&w->mid, ALONE_ROWS, rn->widest) &&
           sample_scratch_open(&w->sample, rn->w->hp.n_vocab) == ST_OK;
}

struct linear_input scratch_region(const struct runner *rn, const struct linear_input *all,
                                   size_t base)
{
    const size_t at = base * rn->widest, group = base * scales_of(rn->widest);

    return (struct linear_input){.x = all->x + at,
                                 .q = {.q = all->q.q + at,
                                       .scale = all->q.scale + group,
                                       .comp = all->q.comp + group,
                                       .zero = all->q.zero + group},
                                 .base = base};
}

int scratch_open(struct runner *rn)
{
    if (!open_rows(rn) || !open_attention(rn))
        return ST_NOMEM;
    rn->workers = buffer(rn->info.threads, sizeof(*rn->workers));
    if (!rn->workers)
        return ST_NOMEM;
    memset(rn->workers, 0, rn->info.threads * sizeof(*rn->workers));
    for (unsigned i = 0; i < rn->info.threads; i++)
        if (!open_worker(rn, &rn->workers[i]))
            return ST_NOMEM;
    return ST_OK;
}

void scratch_close(struct runner *rn)
{
    void *all[] = {rn->row_cut, rn->tile_cut, rn->logit_slot, rn->att,       rn->x,    rn->q8,
                   rn->q_scale, rn->q_comp,   rn->qf,         rn->gu,        rn->cosv, rn->sinv,
                   rn->logits,  rn->tiles,    rn->next_item,  rn->spans_done};

    for (unsigned i = 0; rn->workers && i < rn->info.threads; i++) {
        struct worker *w = &rn->workers[i];
        close_input(&w->in);
        close_input(&w->mid);
        sample_scratch_done(&w->sample);
        free(w->attn);
        free(w->row);
    }
    free(rn->workers);
    arena_done(&rn->spans);
    close_input(&rn->in);
    close_input(&rn->mid);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
}
