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
    size_t begin, end; /* this worker's rows */
};

static struct linear_input input_of(const struct runner *rn)
{
    return (struct linear_input){.x = rn->h, .q = rn->q};
}

/* Row r of h holds n values: pad to what l reads, rotate, quantize. */
static void finish_row(const struct runner *rn, const struct linear *l, size_t r, size_t n)
{
    struct linear_input in = input_of(rn);

    memset(rn->h + r * l->desc.k + n, 0, (l->desc.k - n) * sizeof(float));
    linear_quantize_row(l, rn->kernels, &in, r);
}

/* h[r] = norm(x[r]) * gain, ready for l. */
static void norm_rows(const struct runner *rn, const struct part *p, const float *gain,
                      const struct linear *l)
{
    const size_t d = rn->w->hp.d_model;

    for (size_t r = p->begin; r < p->end; r++) {
        rn->kernels->rms_norm(rn->x + r * d, gain, rn->w->hp.eps, rn->h + r * l->desc.k, d);
        finish_row(rn, l, r, d);
    }
}

static void product(const struct runner *rn, const struct part *p, const struct linear *l,
                    float *out, bool add)
{
    struct linear_input in = input_of(rn);
    struct gemm_out to = {.out = out, .ld = l->desc.n, .add = add};

    linear_run(l, rn->kernels, &in, rn->n_rows, &to, p->worker, p->n_workers);
}

/* x[r] = embedding of row r's token. A rotated embedding is turned back: the transform is its own
 * inverse. */
static void embed(const struct runner *rn, const struct part *p)
{
    const struct linear *e = &rn->w->embed;
    const size_t d = rn->w->hp.d_model;

    for (size_t r = p->begin; r < p->end; r++) {
        float *row = rn->h + r * e->desc.k; /* padded width */
        linear_get_row(e, (size_t)rn->rows[r].token, row);
        rn->kernels->hadamard(row, d, e->desc.block_in);
        memcpy(rn->x + r * d, row, d * sizeof(float));
        rope_angles(rn->rows[r].pos, rn->w->inv_freq, rn->w->hp.n_rot / 2,
                    rn->cosv + r * (rn->w->hp.n_rot / 2), rn->sinv + r * (rn->w->hp.n_rot / 2));
    }
}

/* Bias, RoPE on q and k, then k and v into the cache. One unit is one key/value head of one row
 * with its queries. */
static void rotate_and_store(const struct runner *rn, const struct part *p, size_t layer)
{
    const struct hparams *hp = &rn->w->hp;
    const struct layer *l = &rn->w->layers[layer];
    const size_t d = hp->head_dim, group = hp->n_head / hp->n_kv,
                 width = (size_t)(hp->n_head + 2 * hp->n_kv) * d;
    const size_t half = hp->n_rot / 2;
    size_t begin, end;

    pool_share(rn->n_rows * hp->n_kv, p->worker, p->n_workers, &begin, &end);
    for (size_t u = begin; u < end; u++) {
        size_t r = u / hp->n_kv, kv = u % hp->n_kv;
        const float *cosv = rn->cosv + r * half, *sinv = rn->sinv + r * half;
        float *row = rn->qkv + r * width, *q = row + kv * group * d,
              *k = row + (hp->n_head + kv) * d, *v = row + (hp->n_head + hp->n_kv + kv) * d;
        if (l->qkv_bias) {
            rn->kernels->add(q, l->qkv_bias + (q - row), group * d);
            rn->kernels->add(k, l->qkv_bias + (k - row), d);
            rn->kernels->add(v, l->qkv_bias + (v - row), d);
        }
        for (size_t i = 0; i < group; i++)
            rn->kernels->rope(q + i * d, cosv, sinv, half, hp->rope_halves);
        rn->kernels->rope(k, cosv, sinv, half, hp->rope_halves);
        if (rn->kv.type ==
            MODEL_KV_INT8) /* q is rotated alike in attention: q . k does not change */
            rn->kernels->hadamard(k, d, hparams_head_block(hp));
        kv_store(&rn->kv, rn->kernels, rn->rows[r].seq, layer, kv, rn->rows[r].pos, k, v);
    }
}

/* x += o(attention(norm(x))) */
static void attention_block(struct runner *rn, const struct part *p, size_t i)
{
    const struct layer *l = &rn->w->layers[i];
    const struct hparams *hp = &rn->w->hp;

    norm_rows(rn, p, l->attn_norm, &l->qkv);
    pool_barrier(rn->pool);
    product(rn, p, &l->qkv, rn->qkv, false);
    pool_barrier(rn->pool);
    rotate_and_store(rn, p, i);
    pool_barrier(rn->pool);
    attention_layer(rn, i, p->worker);
    pool_barrier(rn->pool);
    for (size_t r = p->begin; r < p->end; r++)
        finish_row(rn, &l->o, r, (size_t)hp->n_head * hp->head_dim);
    pool_barrier(rn->pool);
    product(rn, p, &l->o, rn->x, true);
    pool_barrier(rn->pool);
}

/* x += down(silu(gate(norm(x))) * up(norm(x))) */
static void ffn_block(struct runner *rn, const struct part *p, size_t i)
{
    const struct layer *l = &rn->w->layers[i];
    const size_t ff = rn->w->hp.d_ff;

    norm_rows(rn, p, l->ffn_norm, &l->gate_up);
    pool_barrier(rn->pool);
    product(rn, p, &l->gate_up, rn->gu, false);
    pool_barrier(rn->pool);
    for (size_t r = p->begin; r < p->end; r++) {
        const float *gate = rn->gu + r * 2 * ff;
        rn->kernels->silu_mul(gate, gate + ff, rn->h + r * l->down.desc.k, ff);
        finish_row(rn, &l->down, r, ff);
    }
    pool_barrier(rn->pool);
    product(rn, p, &l->down, rn->x, true);
    pool_barrier(rn->pool);
}

/* logits = head(norm(x)) for the rows that want them, moved together first. */
static void head_block(struct runner *rn, const struct part *p)
{
    const struct linear *head = weights_head(rn->w);
    const size_t d = rn->w->hp.d_model;
    struct linear_input in = input_of(rn);
    struct gemm_out to = {.out = rn->logits, .ld = head->desc.n};

    for (size_t r = p->begin; r < p->end; r++) {
        size_t slot = rn->logit_slot[r];
        if (slot == UINT32_MAX)
            continue;
        rn->kernels->rms_norm(rn->x + r * d, rn->w->output_norm, rn->w->hp.eps,
                              rn->h + slot * head->desc.k, d);
        finish_row(rn, head, slot, d);
    }
    pool_barrier(rn->pool);
    linear_run(head, rn->kernels, &in, rn->n_logits, &to, p->worker, p->n_workers);
}

void forward_step(void *runner, unsigned worker, unsigned n_workers)
{
    struct runner *rn = runner;
    struct part p = {worker, n_workers, 0, 0};

    pool_share(rn->n_rows, worker, n_workers, &p.begin, &p.end);
    embed(rn, &p);
    pool_barrier(rn->pool);
    for (size_t i = 0; i < rn->w->hp.n_layer; i++) {
        attention_block(rn, &p, i);
        ffn_block(rn, &p, i);
    }
    if (rn->n_logits)
        head_block(rn, &p);
}
