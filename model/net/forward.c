/* forward.c - the network, read top to bottom as the papers draw it: Llama 2 (Touvron et al. 2023,
 * section 2.2), Qwen2.
 *
 * Every worker runs forward_step at once; each function does its worker's share, and a barrier
 * stands wherever one worker reads what another wrote. Rows are independent everywhere but in
 * attention. */
#include <string.h>

#include "model/net/rope.h"
#include "model/net/runner.h"

/* Rows whose gate and up are made, multiplied and quantized in one go. */
enum { FFN_ROWS = BLOCK_FLOATS / (2 * FFN_UNIT), NEXT_RUNS = 32 };

struct part {
    unsigned worker, n_workers;
    struct share share;          /* of the products */
    size_t begin, end;           /* rows this worker prepares */
    bool own;                    /* what it prepares, it alone reads */
    struct linear_input in, mid; /* what it prepares: the shared rows, or its own */
    struct linear_input made; /* where whoever made a head or unit leaves it for the next product */
    float *row;               /* [widest input] of its own */
    struct profile *profile;
};

static struct part part_of(const struct runner *rn, unsigned worker, unsigned n_workers)
{
    struct worker *own = &rn->workers[worker];
    struct part p = {.worker = worker,
                     .n_workers = n_workers,
                     .share = plan_share(rn, worker),
                     .in = rn->in,
                     .mid = rn->mid,
                     .made = rn->mid,
                     .row = own->row,
                     .profile = &own->profile};

    p.begin = p.share.begin;
    p.end = p.share.end;
    p.own = rn->by_rows || rn->n_rows <= ALONE_ROWS || n_workers == 1;
    if (rn->by_rows) {
        p.in = scratch_region(rn, &rn->in, p.begin);
        p.made = p.mid = scratch_region(rn, &rn->mid, p.begin);
    } else if (!p.own) {
        pool_share(rn->n_rows, worker, n_workers, &p.begin, &p.end);
    } else if (n_workers > 1) {
        p.in = own->in;
        p.mid = own->mid;
    }
    profile_begin(p.profile);
    return p;
}

static void barrier(const struct runner *rn, const struct part *p)
{
    pool_barrier(rn->pool);
    profile_mark(p->profile, PART_WAIT);
}

/* Rows were prepared by shares: wait for the others' before a product reads them all. */
static void rows_barrier(const struct runner *rn, const struct part *p, enum runner_part part)
{
    profile_mark(p->profile, part);
    if (!p->own)
        barrier(rn, p);
}

/* Columns were made by shares: wait for the others' before a row is read whole. */
static void columns_barrier(const struct runner *rn, const struct part *p)
{
    if (p->share.n_cols > 1)
        barrier(rn, p);
}

/* n values staged at x are row r of in: pad to l's input width, rotate, quantize. */
static void finish_row(const struct runner *rn, const struct linear *l, float *x,
                       const struct linear_input *in, size_t r, size_t n)
{
    if (n < l->desc.k)
        memset(x + n, 0, (l->desc.k - n) * sizeof(float));
    linear_quantize(l, rn->kernels, x, in, r, 0, l->desc.k);
}

/* in[to] = norm(x[from]) * gain, ready for l. */
static void norm_row(const struct runner *rn, const struct part *p, const float *gain,
                     const struct linear *l, size_t from, size_t to)
{
    const size_t d = rn->w->hp.d_model;
    float *x = linear_stage(l, &p->in, p->row, to, 0);

    rn->kernels->rms_norm(rn->x + from * d, gain, rn->w->hp.eps, x, d);
    finish_row(rn, l, x, &p->in, to, d);
}

static void norm_rows(const struct runner *rn, const struct part *p, const float *gain,
                      const struct linear *l)
{
    for (size_t r = p->begin; r < p->end; r++)
        norm_row(rn, p, gain, l, r, r);
    rows_barrier(rn, p, PART_PREPARE);
}

/* This worker's share of out = in l. */
static void product(const struct runner *rn, const struct part *p, const struct linear *l,
                    const struct linear_input *in, const struct gemm_out *out,
                    enum runner_part part)
{
    linear_run(l, rn->kernels, in, &p->share, out);
    profile_mark(p->profile, part);
    profile_macs(p->profile, part,
                 (double)(p->share.end - p->share.begin) * (double)l->desc.n * (double)l->desc.k /
                     p->share.n_cols);
}

/* Of the rows that this worker shares the products of, those that it reports. */
static bool reports(const struct runner *rn, const struct part *p, size_t *ret_begin,
                    size_t *ret_end)
{
    if (!rn->observer.fn)
        return false;
    pool_share(p->share.end - p->share.begin, p->share.col, p->share.n_cols, ret_begin, ret_end);
    *ret_begin += p->share.begin;
    *ret_end += p->share.begin;
    return true;
}

static void observe(const struct runner *rn, const struct part *p, size_t layer,
                    enum observe_site site, const struct linear_input *in, size_t k)
{
    size_t r, end;

    if (reports(rn, p, &r, &end))
        for (; r < end; r++)
            rn->observer.fn(rn->observer.arg, layer, site, r, in->x + (r - in->base) * k, k);
}

/* What the head would read, of every row. */
static void observe_head(const struct runner *rn, const struct part *p)
{
    const size_t d = rn->w->hp.d_model;
    size_t r, end;

    if (reports(rn, p, &r, &end))
        for (; r < end; r++) {
            rn->kernels->rms_norm(rn->x + r * d, rn->w->output_norm, rn->w->hp.eps, p->row, d);
            rn->observer.fn(rn->observer.arg, rn->w->hp.n_layer, SITE_HEAD, r, p->row, d);
        }
}

/* x[r] = embedding of row r's token. A rotated embedding is turned back: the transform is its own
 * inverse. */
static void embed(const struct runner *rn, const struct part *p)
{
    const struct linear *e = &rn->w->embed;
    const float *smooth = rn->w->embed_smooth;
    const size_t d = rn->w->hp.d_model, n_rot = rn->w->hp.n_rot;
    size_t begin = p->share.begin, end = p->share.end;

    if (!rn->by_rows)
        pool_share(rn->n_rows, p->worker, p->n_workers, &begin, &end);
    for (size_t r = begin; r < end; r++) {
        linear_get_row(e, (size_t)rn->rows[r].token, p->row); /* of the padded width */
        rn->kernels->hadamard(p->row, d, e->desc.block_in);
        for (size_t i = 0; smooth && i < d; i++)
            p->row[i] /= smooth[i];
        memcpy(rn->x + r * d, p->row, d * sizeof(float));
        rope_angles(rn->rows[r].pos, rn->w->inv_freq, n_rot / 2, rn->w->hp.rope_halves,
                    rn->cosv + r * n_rot, rn->sinv + r * n_rot);
    }
    profile_mark(p->profile, PART_EMBED);
}

/* What attention gave, ready for o where no head could be finished by itself. */
static const struct linear_input *attended(const struct runner *rn, const struct part *p,
                                           size_t layer)
{
    const struct linear *o = &rn->w->layers[layer].o;
    const size_t n = (size_t)rn->w->hp.n_head * rn->w->hp.head_dim;

    if (attention_quantizes(rn, layer))
        return &p->made;
    for (size_t r = p->begin; r < p->end; r++) {
        float *x = linear_stage(o, &p->mid, p->row, r, 0);
        memcpy(x, rn->att + r * rn->widest, n * sizeof(float));
        finish_row(rn, o, x, &p->mid, r, n);
    }
    rows_barrier(rn, p, PART_PREPARE);
    return &p->mid;
}

/* x += o(attention(norm(x))) */
static void attention_block(struct runner *rn, const struct part *p, size_t i)
{
    const struct layer *l = &rn->w->layers[i];
    const struct gemm_out to_x = {.out = rn->x,
                                  .ld = rn->w->hp.d_model,
                                  .add = true,
                                  .next = linear_cols(&l->gate_up, &p->share, PANEL).weights};

    norm_rows(rn, p, l->attn_norm, &l->qkv);
    observe(rn, p, i, SITE_QKV, &p->in, l->qkv.desc.k);
    heads_layer(rn, i, &p->in, &p->share, p->worker);
    barrier(rn, p); /* a row reads the keys and values of those before it, whoever made them */
    attention_layer(rn, i, &p->made, p->worker);
    profile_mark(p->profile, PART_ATTENTION);
    columns_barrier(rn, p);
    const struct linear_input *heads = attended(rn, p, i);
    observe(rn, p, i, SITE_O, heads, l->o.desc.k);
    product(rn, p, &l->o, heads, &to_x, PART_O);
    columns_barrier(rn, p);
}

/* Can whoever makes a unit of gate and up go on to the input of down? Not if its groups reach
 * further, nor if the units divide badly among the workers. */
static bool ffn_by_units(const struct runner *rn, const struct part *p, const struct layer *l)
{
    const size_t n = rn->w->hp.d_ff / rn->w->ffn_unit, w = p->share.n_cols, each = (n + w - 1) / w;

    return rn->w->ffn_unit == FFN_UNIT && linear_part_is_apart(&l->down, FFN_UNIT) &&
           each * w * 10 <= n * 11;
}

/* Where the fetching of the next layer's keys and values has come to. */
struct next_layer {
    size_t layer;
    struct attn_walk walk;
    const uint8_t *runs[NEXT_RUNS];
};

/* Those that are fetched beside unit u of this worker's n. */
static struct prefetch next_blocks(const struct runner *rn, const struct part *p,
                                   struct next_layer *next, size_t u, size_t n)
{
    struct prefetch to = {.runs = next->runs, .bytes = rn->item_heads * rn->kv.head_bytes};
    size_t want = rn->prefetch_blocks * (u + 1) / n - rn->prefetch_blocks * u / n;

    if (next->layer < rn->w->hp.n_layer)
        to.n = attention_runs(rn, next->layer, p->worker, &next->walk, next->runs,
                              want < NEXT_RUNS ? want : NEXT_RUNS);
    return to;
}

/* mid = silu(gate(in)) * up(in), quantized: this worker's units and rows. */
static void ffn_units(const struct runner *rn, const struct part *p, const struct layer *l)
{
    _Alignas(64) float gu[BLOCK_FLOATS];
    struct gemm_out to_gu = {.out = gu, .ld = 2 * FFN_UNIT};
    struct next_layer next = {.layer = (size_t)(l - rn->w->layers) + 1};
    const struct linear_cols cols = linear_cols(&l->gate_up, &p->share, 2 * FFN_UNIT);
    const uint8_t *down = linear_cols(&l->down, &p->share, PANEL).weights;
    const size_t begin = cols.n0 / (2 * FFN_UNIT), end = begin + cols.n / (2 * FFN_UNIT);

    for (size_t u = begin; u < end; u++)
        for (size_t r0 = p->share.begin; r0 < p->share.end; r0 += FFN_ROWS) {
            struct linear_block b = {.r0 = r0,
                                     .rows = p->share.end - r0 < FFN_ROWS ? p->share.end - r0
                                                                          : FFN_ROWS,
                                     .n0 = u * 2 * FFN_UNIT,
                                     .n = 2 * FFN_UNIT};
            to_gu.next = u + 1 == end ? down : NULL;
            to_gu.prefetch = (struct prefetch){0};
            if (r0 == p->share.begin)
                to_gu.prefetch = next_blocks(rn, p, &next, u - begin, end - begin);
            linear_run_block(&l->gate_up, rn->kernels, &p->in, &b, &to_gu);
            profile_mark(p->profile, PART_GATE_UP);
            for (size_t i = 0; i < b.rows; i++) {
                float *x = linear_stage(&l->down, &p->made, p->row, r0 + i, u * FFN_UNIT);
                const float *gate = gu + i * 2 * FFN_UNIT;
                rn->kernels->silu_mul(gate, gate + FFN_UNIT, x, FFN_UNIT);
                linear_quantize(&l->down, rn->kernels, x, &p->made, r0 + i, u * FFN_UNIT, FFN_UNIT);
            }
            profile_mark(p->profile, PART_ACTIVATE);
        }
    profile_macs(p->profile, PART_GATE_UP,
                 (double)(p->share.end - p->share.begin) * (double)cols.n *
                     (double)l->gate_up.desc.k);
    columns_barrier(rn, p);
}

/* The same for rows that are quantized as a whole. */
static const struct linear_input *ffn_rows(const struct runner *rn, const struct part *p,
                                           const struct layer *l)
{
    const size_t ff = rn->w->hp.d_ff, unit = rn->w->ffn_unit, step = weights_unit_step(unit);
    const struct gemm_out to_gu = {.out = rn->gu, .ld = l->gate_up.desc.n};

    product(rn, p, &l->gate_up, &p->in, &to_gu, PART_GATE_UP);
    columns_barrier(rn, p);
    for (size_t r = p->begin; r < p->end; r++) {
        float *x = linear_stage(&l->down, &p->mid, p->row, r, 0);
        const float *gate = rn->gu + r * to_gu.ld;
        for (size_t k = 0; k < ff; k += unit, gate += 2 * step)
            rn->kernels->silu_mul(gate, gate + step, x + k, unit);
        finish_row(rn, &l->down, x, &p->mid, r, ff);
    }
    rows_barrier(rn, p, PART_ACTIVATE);
    return &p->mid;
}

/* Where this worker's share of what follows layer i begins. */
static const uint8_t *after_layer(const struct runner *rn, const struct part *p, size_t i)
{
    if (i + 1 == rn->w->hp.n_layer)
        return linear_cols(weights_head(rn->w), &p->share, PANEL).weights;
    return linear_cols(&rn->w->layers[i + 1].qkv, &p->share, weights_unit_step(rn->w->hp.head_dim))
        .weights;
}

/* x += down(silu(gate(norm(x))) * up(norm(x))) */
static void ffn_block(const struct runner *rn, const struct part *p, size_t i)
{
    const struct layer *l = &rn->w->layers[i];
    const struct gemm_out to_x = {
        .out = rn->x, .ld = rn->w->hp.d_model, .add = true, .next = after_layer(rn, p, i)};
    const struct linear_input *mid = &p->made;

    norm_rows(rn, p, l->ffn_norm, &l->gate_up);
    observe(rn, p, i, SITE_GATE_UP, &p->in, l->gate_up.desc.k);
    if (ffn_by_units(rn, p, l))
        ffn_units(rn, p, l);
    else
        mid = ffn_rows(rn, p, l);
    observe(rn, p, i, SITE_DOWN, mid, l->down.desc.k);
    product(rn, p, &l->down, mid, &to_x, PART_DOWN);
    columns_barrier(rn, p);
}

/* logits = head(norm(x)) for the rows that want them, moved together first; by columns, however the
 * step was divided. */
static void head_block(const struct runner *rn, const struct part *p)
{
    const struct linear *head = weights_head(rn->w);
    const struct gemm_out to = {.out = rn->logits, .ld = head->desc.n};
    struct part by_columns = *p;

    by_columns.share = (struct share){0, rn->n_logits, p->worker, p->n_workers};
    by_columns.own = p->own && !rn->by_rows;
    if (rn->by_rows) {
        barrier(rn, p); /* others still read the rows that are overwritten now */
        by_columns.in = rn->in;
    }
    for (size_t r = p->begin; r < p->end; r++)
        if (rn->logit_slot[r] != UINT32_MAX)
            norm_row(rn, &by_columns, rn->w->output_norm, head, r, rn->logit_slot[r]);
    rows_barrier(rn, &by_columns, PART_PREPARE);
    product(rn, &by_columns, head, &by_columns.in, &to, PART_HEAD);
}

void forward_step(void *runner, unsigned worker, unsigned n_workers)
{
    struct runner *rn = runner;
    const struct part p = part_of(rn, worker, n_workers);

    embed(rn, &p);
    columns_barrier(rn, &p);
    for (size_t i = 0; i < rn->w->hp.n_layer; i++) {
        attention_block(rn, &p, i);
        ffn_block(rn, &p, i);
    }
    observe_head(rn, &p);
    if (rn->n_logits)
        head_block(rn, &p);
}
