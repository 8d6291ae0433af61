/* Attention over f16 and f32 positions: the same bits from either type and from every set, for any
 * company of queries, whatever lies beyond what a query sees. (That it is a softmax at all:
 * test_attention.c.) */
#include <math.h>

#include "kernels/guard.h"
#include "model/kernels/half.h"
#include "model/kernels/kernels.h"
#include "unit/suite.h"

enum { QUERIES = 13, POS0 = KV_BLOCK };

struct block {
    struct guarded k16, v16, k32, v32; /* the same values */
};

/* A finite half in (-4, 4). */
static uint16_t rnd_half(void)
{
    uint64_t r = rnd();
    return (uint16_t)((r & 0x8000u) | (r >> 16) % 0x4400u);
}

static void fill(struct guarded *h, struct guarded *f, size_t n)
{
    *h = guarded_new(n * 2, 2);
    *f = guarded_new(n * 4, 4);
    for (size_t i = 0; i < n; i++) {
        ((uint16_t *)h->p)[i] = rnd_half();
        ((float *)f->p)[i] = half_to_float(((uint16_t *)h->p)[i]);
    }
}

static struct block block_new(size_t d, size_t dv)
{
    struct block b;
    fill(&b.k16, &b.k32, d * KV_BLOCK);
    fill(&b.v16, &b.v32, dv * KV_BLOCK);
    return b;
}

static void block_free(struct block *b)
{
    guarded_free(&b->k16);
    guarded_free(&b->v16);
    guarded_free(&b->k32);
    guarded_free(&b->v32);
}

/* What position t holds becomes NaN in both types. */
static void spoil(struct block *b, size_t d, size_t dv, size_t t)
{
    for (size_t c = 0; c < d; c++) {
        ((uint16_t *)b->k16.p)[c * KV_BLOCK + t] = 0x7E00;
        ((float *)b->k32.p)[c * KV_BLOCK + t] = NAN;
    }
    for (size_t c = 0; c < dv; c++) {
        ((uint16_t *)b->v16.p)[t * dv + c] = 0x7E00;
        ((float *)b->v32.p)[t * dv + c] = NAN;
    }
}

struct queries {
    struct attn_query q[QUERIES];
    float qf[QUERIES][HEAD_MAX];
    _Alignas(64) float o[QUERIES][HEAD_MAX];
};

/* As if a block had been seen before; the i-th sees seen[i] positions of this one. */
static void queries_set(struct queries *qs, float (*qf)[HEAD_MAX], const uint32_t *seen)
{
    memcpy(qs->qf, qf, sizeof(qs->qf));
    for (size_t i = 0; i < QUERIES; i++) {
        qs->q[i] = (struct attn_query){
            .qf = qs->qf[i], .n_pos = POS0 + seen[i], .m = 0.5f, .l = 3.0f, .o = qs->o[i]};
        for (size_t c = 0; c < HEAD_MAX; c++)
            qs->o[i][c] = (float)(i + 1) * 0.25f - (float)c * 0.01f;
    }
}

static void same(const struct queries *a, const struct queries *b, size_t i, size_t dv,
                 const char *what)
{
    ck_assert_msg(memcmp(a->o[i], b->o[i], dv * 4) == 0 && a->q[i].m == b->q[i].m &&
                      a->q[i].l == b->q[i].l,
                  "%s: query %zu differs", what, i);
}

static void check(size_t d, const uint32_t *seen)
{
    static struct queries want, got;
    static float qf[QUERIES][HEAD_MAX];
    size_t dv = (d + 15) / 16 * 16;
    struct block b = block_new(d, dv);
    const struct kv_block_f half = {b.k16.p, b.v16.p, true}, full = {b.k32.p, b.v32.p, false};

    for (size_t i = 0; i < QUERIES; i++)
        for (size_t c = 0; c < d; c++)
            qf[i][c] = rnd_float() * 0.2f;
    queries_set(&want, qf, seen);
    kernels_at(0)->attn_f(&full, want.q, QUERIES, POS0, d, dv);
    for (size_t s = 0; kernels_at(s); s++) {
        const struct kernels *k = kernels_at(s);
        for (int is_half = 0; is_half < 2; is_half++) {
            queries_set(&got, qf, seen);
            k->attn_f(is_half ? &half : &full, got.q, QUERIES, POS0, d, dv);
            for (size_t i = 0; i < QUERIES; i++)
                same(&want, &got, i, dv, k->name);
            queries_set(&got, qf, seen);
            for (size_t i = 0; i < QUERIES; i++) {
                k->attn_f(is_half ? &half : &full, &got.q[i], 1, POS0, d, dv);
                same(&want, &got, i, dv, "alone");
            }
        }
    }
    /* Positions from 40 on spoilt: who sees fewer must not notice. */
    for (size_t t = 40; t < KV_BLOCK; t++)
        spoil(&b, d, dv, t);
    for (size_t s = 0; kernels_at(s); s++) {
        queries_set(&got, qf, seen);
        kernels_at(s)->attn_f(s & 1 ? &half : &full, got.q, QUERIES, POS0, d, dv);
        for (size_t i = 0; i < QUERIES; i++)
            if (seen[i] <= 40)
                same(&want, &got, i, dv, "beside spoilt positions");
            else
                ck_assert(isnan(got.o[i][0]));
    }
    block_free(&b);
}

START_TEST(types_sets_and_company_do_not_matter)
{
    const size_t heads[] = {64, 128, 80, 100, 18, 16, 2, 256};
    const uint32_t seens[][QUERIES] = {
        {64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64}, /* whole blocks */
        {7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10, 10, 11}, /* a prompt's rows, three heads each */
        {0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 64, 0, 40},   /* some see nothing */
        {64, 1, 63, 15, 16, 17, 31, 32, 33, 40, 41, 47, 48}};
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        for (size_t j = 0; j < sizeof(seens) / sizeof(seens[0]); j++)
            check(heads[i], seens[j]);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {types_sets_and_company_do_not_matter, NULL};
    return suite_run("attention_float", tests, 120);
}
