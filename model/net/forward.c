/* forward.c - the network, read top to bottom as the papers draw it: Llama 2 (Touvron et al. 2023,
 * section 2.2), Qwen2.
 *
 * Every worker runs forward_step at once; each function does its worker's share, and a barrier
 * stands wherever one worker reads what another wrote. Rows are independent everywhere but in
 * attention. */
#include <string.h>

#include "model/net/rope.h"
#include "model/net/runner.h"

struct part {
    unsigned worker, n_workers;
    size_t begin, end; /* rows this worker prepares: its share, or all of them if it works alone */
    bool alone;
    float *h; /* what its products read: the shared buffers, or its own */
    struct quant_rows q;
};

static struct part part_of(const struct runner *rn, unsigned worker, unsigned n_workers)
{
    struct part p = {.worker = worker, .n_workers = n_workers, .h = rn->h, .q = rn->q};

    pool_share(rn->n_rows, worker, n_workers, &p.begin, &p.end);
    p.alone = rn->n_rows <= ALONE_ROWS && n_workers > 1;
    if (p.alone) {
        p.begin = 0;
        p.end = rn->n_rows;
        p.h = rn->own[worker].h;
        p.q = rn->own[worker].q;
    }
    return p;
}

/* Rows were prepared by shares: wait for the others' before a product reads them all. */
static void rows_barrier(const struct runner *rn, const struct part *p)
{
    if (!p->alone)
        pool_barrier(rn->pool);
}

/* Row r of x (of l's input width) holds n values: pad, rotate, quantize. */
static void finish_row(const struct runner *rn, const struct part *p, const struct linear *l,
                       float *x, size_t r, size_t n)
{
    struct linear_input in = {.x = x, .q = p->q};

    if (n < l->desc.k)
        memset(x + r * l->desc.k + n, 0, (l->desc.k - n) * sizeof(float));
    linear_quantize_row(l, rn->kernels, &in, r);
}

/* h[to] = norm(x[from]) * gain, ready for l. */
static void norm_row(const struct runner *rn, const struct part *p, const float *gain,
                     const struct linear *l, size_t from, size_t to)
{
    const size_t d = rn->w->hp.d_model;

    rn->kernels->rms_norm(rn->x + from * d, gain, rn->w->hp.eps, p->h + to * l->desc.k, d);
    finish_row(rn, p, l, p->h, to, d);
}

/* This worker's columns of out = x l, for n rows. */
static void product(const struct runner *rn, const struct part *p, const struct linear *l, float *x,
                    size_t n, const struct gemm_out *out)
{
    struct linear_input in = {.x = x, .q = p->q};

    linear_run(l, rn->kernels, &in, n, out, p->worker, p->n_workers);
}

/* x[r] = embedding of row r's token. A rotated embedding is turned back: the transform is its own
 * inverse. */
static void embed(const struct runner *rn, const struct part *p)
{
    const struct linear *e = &rn->w->embed;
    const size_t d = rn->w->hp.d_model, n_rot = rn->w->hp.n_rot;
    size_t begin, end;

    pool_share(rn->n_rows, p->worker, p->n_workers, &begin, &end);
    for (size_t r = begin; r < end; r++) {
        float *row = rn->h + r * e->desc.k; /* padded width */
        linear_get_row(e, (size_t)rn->rows[r].token, row);
        rn->kernels->hadamard(row, d, e->desc.block_in);
        memcpy(rn->x + r * d, row, d * sizeof(float));
        rope_angles(rn->rows[r].pos, rn->w->inv_freq, n_rot / 2, rn->w->hp.rope_halves,
                    rn->cosv + r * n_rot, rn->sinv + r * n_rot);
    }
}

void rotate_and_store(const struct runner *rn, size_t layer, size_t r, size_t kv)
{
    const struct hparams *hp = &rn->w->hp;
    const float *bias = rn->w->layers[layer].qkv_bias;
    const size_t d = hp->head_dim, group = hp->n_head / hp->n_kv, n_rot = hp->n_rot;
    const float *cosv = rn->cosv + r * n_rot, *sinv = rn->sinv + r * n_rot;
    float *row = rn->qkv + r * (size_t)(hp->n_head + 2 * hp->n_kv) * d;
    float *q = row + kv * group * d, *k = row + (hp->n_head + kv) * d, *v = k + hp->n_kv * d;

    if (bias) {
        rn->kernels->add(q, bias + (q - row), group * d);
        rn->kernels->add(k, bias + (k - row), d);
        rn->kernels->add(v, bias + (v - row), d);
    }
    for (size_t i = 0; i < group; i++)
        rn->kernels->rope(q + i * d, cosv, sinv, n_rot, hp->rope_halves);
    rn->kernels->rope(k, cosv, sinv, n_rot, hp->rope_halves);
    /* q is rotated alike in attention: q . k does not change. */
    if (rn->kv.type == MODEL_KV_INT8)
        rn->kernels->hadamard(k, d, hparams_head_block(hp));
    kv_store(&rn->kv, rn->kernels, rn->rows[r].seq, layer, kv, rn->rows[r].pos, k, v);
}

/* att = attention(qkv). A prompt's rows see each other's keys, so all are stored before any is
 * read. */
static void attend_rows(struct runner *rn, const struct part *p, size_t layer)
{
    const size_t n_kv = rn->w->hp.n_kv;
    size_t begin, end;

    if (!attention_is_apart(rn)) {
        pool_share(rn->n_rows * n_kv, p->worker, p->n_workers, &begin, &end);
        for (size_t u = begin; u < end; u++)
            rotate_and_store(rn, layer, u / n_kv, u % n_kv);
        pool_barrier(rn->pool);
    }
    attention_layer(rn, layer, p->worker);
}

/* x += o(attention(norm(x))) */
static void attention_block(struct runner *rn, const struct part *p, size_t i)
{
    const struct layer *l = &rn->w->layers[i];
    const struct hparams *hp = &rn->w->hp;
    const struct gemm_out to_qkv = {.out = rn->qkv, .ld = l->qkv.desc.n};
    const struct gemm_out to_x = {.out = rn->x, .ld = hp->d_model, .add = true};

    for (size_t r = p->begin; r < p->end; r++)
        norm_row(rn, p, l->attn_norm, &l->qkv, r, r);
    rows_barrier(rn, p);
    product(rn, p, &l->qkv, p->h, rn->n_rows, &to_qkv);
    pool_barrier(rn->pool);
    attend_rows(rn, p, i);
    pool_barrier(rn->pool);
    for (size_t r = p->begin; r < p->end; r++)
        finish_row(rn, p, &l->o, rn->att, r, l->o.desc.k);
    rows_barrier(rn, p);
    product(rn, p, &l->o, rn->att, rn->n_rows, &to_x);
    pool_barrier(rn->pool);
}

/* x += down(silu(gate(norm(x))) * up(norm(x))) */
static void ffn_block(struct runner *rn, const struct part *p, size_t i)
{
    const struct layer *l = &rn->w->layers[i];
    const size_t ff = rn->w->hp.d_ff;
    const struct gemm_out to_gu = {.out = rn->gu, .ld = 2 * ff};
    const struct gemm_out to_x = {.out = rn->x, .ld = rn->w->hp.d_model, .add = true};

    for (size_t r = p->begin; r < p->end; r++)
        norm_row(rn, p, l->ffn_norm, &l->gate_up, r, r);
    rows_barrier(rn, p);
    product(rn, p, &l->gate_up, p->h, rn->n_rows, &to_gu);
    pool_barrier(rn->pool);
    for (size_t r = p->begin; r < p->end; r++) {
        const float *gate = rn->gu + r * 2 * ff;
        rn->kernels->silu_mul(gate, gate + ff, p->h + r * l->down.desc.k, ff);
        finish_row(rn, p, &l->down, p->h, r, ff);
    }
    rows_barrier(rn, p);
    product(rn, p, &l->down, p->h, rn->n_rows, &to_x);
    pool_barrier(rn->pool);
}

/* logits = head(norm(x)) for the rows that want them, moved together first. */
static void head_block(struct runner *rn, const struct part *p)
{
    const struct linear *head = weights_head(rn->w);
    const struct gemm_out to = {.out = rn->logits, .ld = head->desc.n};

    for (size_t r = p->begin; r < p->end; r++)
        if (rn->logit_slot[r] != UINT32_MAX)
            norm_row(rn, p, rn->w->output_norm, head, r, rn->logit_slot[r]);
    rows_barrier(rn, p);
    product(rn, p, head, p->h, rn->n_logits, &to);
}

void forward_step(void *runner, unsigned worker, unsigned n_workers)
{
    struct runner *rn = runner;
    const struct part p = part_of(rn, worker, n_workers);

    embed(rn, &p);
    pool_barrier(rn->pool);
    for (size_t i = 0; i < rn->w->hp.n_layer; i++) {
        attention_block(rn, &p, i);
        ffn_block(rn, &p, i);
    }
    if (rn->n_logits)
        head_block(rn, &p);
}
