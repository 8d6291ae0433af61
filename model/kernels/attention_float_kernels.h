/* attention_float_kernels.h - attention over one block of f16 or f32 positions, written once over
 * v16 (see float_kernels.h; softmax_kernels.h has the order of its sums).
 *
 * Both products are those of gemm_f32_kernels.h: a few queries share what they load of keys and
 * values. Scores sum over d, values over the positions a query sees, both ascending from zero. */
#ifndef OCTET_MODEL_KERNELS_ATTENTION_FLOAT_KERNELS_H
#define OCTET_MODEL_KERNELS_ATTENTION_FLOAT_KERNELS_H

#include "model/kernels/gemm_f32_kernels.h"
#include "model/kernels/softmax_kernels.h"

/* Queries of a tile. */
#define ATTN_F_ROWS (F32_ROWS < 6 ? F32_ROWS : 6)

struct attn_f_tile {
    _Alignas(64) float x[ATTN_F_ROWS][HEAD_MAX]; /* the queries */
    _Alignas(64) float p[ATTN_F_ROWS][KV_BLOCK]; /* scores, then 2^(score - max) */
    _Alignas(64) float o[ATTN_F_ROWS][HEAD_MAX]; /* the block's weighted values */
    float old[ATTN_F_ROWS], fresh[ATTN_F_ROWS];
    size_t seen[ATTN_F_ROWS];
};

/* p, whose last rows may be fewer than two vectors wide: n floats, a multiple of 16. */
KERNEL_INLINE void attn_f_product(struct f32_product p, const size_t rows, size_t n,
                                  const bool half)
{
    const size_t step = half ? 2 * PANEL : 4 * PANEL;

    for (; n >= PANEL; n -= PANEL, p.w = (const char *)p.w + step, p.y.out += PANEL)
        f32_tile(&p, rows, 2, half);
    if (n)
        f32_tile(&p, rows, 1, half);
}

static void attn_f_rows(const struct f32_product *p, size_t rows, size_t n, bool half)
{
    if (half)
        ROWS_TO_6(rows, attn_f_product(*p, ROWS <= ATTN_F_ROWS ? ROWS : 0, n, true))
    else
        ROWS_TO_6(rows, attn_f_product(*p, ROWS <= ATTN_F_ROWS ? ROWS : 0, n, false))
}

static void attn_f_probs(struct attn_f_tile *t, struct attn_query *q, size_t i)
{
    v16 s[KV_VECS], p[KV_VECS];
    float m, l;

    for (size_t j = 0; j < KV_VECS; j++)
        s[j] = v16_load(t->p[i] + 16 * j);
    if (t->seen[i] == KV_BLOCK)
        block_softmax(s, KV_BLOCK, p, &m, &l);
    else
        block_softmax(s, t->seen[i], p, &m, &l);
    merge_block(q, m, l, &t->old[i], &t->fresh[i]);
    for (size_t j = 0; j < KV_VECS; j++)
        v16_store(t->p[i] + 16 * j, p[j]);
}

/* n queries that all see something of the block. */
static void attn_f_block(const struct kv_block_f *b, struct attn_query *q, size_t n,
                         struct attn_f_tile *t, size_t d, size_t dv)
{
    size_t all = KV_BLOCK; /* positions that every query sees; beyond may be anything */

    for (size_t i = 0; i < n; i++)
        memcpy(t->x[i], q[i].qf, d * sizeof(float));
    struct f32_product qk = {.w = b->k,
                             .x = t->x[0],
                             .ldw = KV_BLOCK,
                             .ldx = HEAD_MAX,
                             .k = d,
                             .y = {.out = t->p[0], .ld = KV_BLOCK}};
    attn_f_rows(&qk, n, KV_BLOCK, b->half);
    for (size_t i = 0; i < n; i++) {
        attn_f_probs(t, &q[i], i);
        all = t->seen[i] < all ? t->seen[i] : all;
    }
    struct f32_product pv = {.w = b->v,
                             .x = t->p[0],
                             .ldw = dv,
                             .ldx = KV_BLOCK,
                             .k = all,
                             .y = {.out = t->o[0], .ld = HEAD_MAX}};
    attn_f_rows(&pv, n, dv, b->half);
    for (size_t i = 0; i < n; i++) {
        struct f32_product rest = pv;
        rest.w = (const char *)b->v + all * dv * (b->half ? 2 : 4);
        rest.x = t->p[i] + all;
        rest.k = t->seen[i] - all;
        rest.y = (struct gemm_out){.out = t->o[i], .ld = HEAD_MAX, .add = true};
        if (rest.k)
            attn_f_rows(&rest, 1, dv, b->half);
        for (size_t c = 0; c < dv; c += 16) {
            v16 o = v16_mul(v16_load(q[i].o + c), v16_set1(t->old[i]));
            o = v16_fma(v16_load(t->o[i] + c), v16_set1(t->fresh[i]), o);
            v16_store(q[i].o + c, o);
        }
    }
}

static void attn_f(const struct kv_block_f *b, struct attn_query *q, size_t n, uint32_t pos0,
                   size_t d, size_t dv)
{
    struct attn_f_tile t;

    for (size_t i = 0, m; i < n; i += m ? m : 1) {
        for (m = 0; m < ATTN_F_ROWS && i + m < n; m++) {
            t.seen[m] = block_visible(&q[i + m], pos0);
            if (!t.seen[m])
                break;
        }
        if (m)
            attn_f_block(b, q + i, m, &t, d, dv);
    }
}

#endif
