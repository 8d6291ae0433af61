/* heads.c - from the product of a layer's input to queries, keys and values: whoever has made a
 * head's columns adds its bias, turns it by its position, and leaves it as attention reads it:
 * queries in the runner, keys and values in the cache. */
#include <math.h>

#include "model/net/runner.h"

/* Query head `head` of row r: rotated and quantized, or scaled as floats. */
static void set_query(const struct runner *rn, size_t r, size_t head, float *x)
{
    const struct hparams *hp = &rn->w->hp;
    const size_t d = hp->head_dim, at = r * hp->n_head + head;
    const float log2e = 1.44269504f, to_base2 = log2e / sqrtf((float)d);

    if (rn->kv.type == MODEL_KV_INT8) {
        rn->kernels->quantize(x, d, hparams_head_block(hp), d, rn->q8 + at * rn->query_step,
                              &rn->q_scale[at], &rn->q_comp[at]);
        rn->q_scale[at] *= to_base2;
        return;
    }
    for (size_t c = 0; c < d; c++)
        rn->qf[at * rn->query_step + c] = x[c] * to_base2;
}

/* Head u of row r, queries before keys before values, as the product made it. */
static void finish_head(const struct runner *rn, size_t layer, size_t u, size_t r, float *x)
{
    const struct hparams *hp = &rn->w->hp;
    const float *bias = rn->w->layers[layer].qkv_bias;
    const struct batch_row *row = &rn->rows[r];
    const size_t d = hp->head_dim, n_rot = hp->n_rot;
    bool value = u >= (size_t)hp->n_head + hp->n_kv;

    if (bias)
        rn->kernels->add(x, bias + u * d, d);
    if (!value)
        rn->kernels->rope(x, rn->cosv + r * n_rot, rn->sinv + r * n_rot, n_rot, hp->rope_halves);
    if (u < hp->n_head) {
        set_query(rn, r, u, x);
        return;
    }
    uint8_t *head =
        kv_head_at(&rn->kv, row->seq, layer, (u - hp->n_head) % hp->n_kv, row->pos / KV_BLOCK);
    if (value) {
        kv_store_value(&rn->kv, rn->kernels, head, row->pos, x);
        return;
    }
    /* q is rotated alike: q . k does not change. */
    if (rn->kv.type == MODEL_KV_INT8)
        rn->kernels->hadamard(x, d, hparams_head_block(hp));
    kv_store_key(&rn->kv, rn->kernels, head, row->pos, x);
}

void heads_layer(const struct runner *rn, size_t layer, const struct linear_input *in,
                 const struct share *share, unsigned worker)
{
    _Alignas(64) float x[BLOCK_FLOATS];
    const struct hparams *hp = &rn->w->hp;
    const struct linear *l = &rn->w->layers[layer].qkv;
    const size_t step = weights_unit_step(hp->head_dim), rows = BLOCK_FLOATS / step;
    const struct linear_cols cols = linear_cols(l, share, step);
    const uint8_t *o = linear_cols(&rn->w->layers[layer].o, share, PANEL).weights;
    struct gemm_out to_x = {.out = x, .ld = step};
    struct profile *profile = &rn->workers[worker].profile;

    for (size_t n0 = cols.n0; n0 < cols.n0 + cols.n; n0 += step)
        for (size_t r0 = share->begin; r0 < share->end; r0 += rows) {
            struct linear_block b = {.r0 = r0,
                                     .rows = share->end - r0 < rows ? share->end - r0 : rows,
                                     .n0 = n0,
                                     .n = step};
            to_x.next = n0 + step == cols.n0 + cols.n ? o : NULL;
            linear_run_block(l, rn->kernels, in, &b, &to_x);
            profile_mark(profile, PART_QKV);
            for (size_t i = 0; i < b.rows; i++)
                finish_head(rn, layer, n0 / step, r0 + i, x + i * step);
            profile_mark(profile, PART_STORE);
        }
    profile_macs(profile, PART_QKV,
                 (double)(share->end - share->begin) * (double)cols.n * (double)l->desc.k);
}
