#include "model/net/kv.h"

#include <math.h>
#include <stdlib.h>

#include "model/format/dequant.h"
#include "unit/suite.h"

static struct kv_opts opts_of(enum model_kv type, size_t d)
{
    return (struct kv_opts){
        .type = type, .n_layer = 2, .n_kv = 3, .head_dim = d, .n_pages = 5, .n_seqs = 3};
}

START_TEST(pages_are_lent_and_come_back)
{
    struct kv_opts o = opts_of(MODEL_KV_INT8, 64);
    struct kv kv;
    uint32_t a, b, c, d;

    ck_assert_int_eq(kv_open(&kv, &o), ST_OK);
    ck_assert_int_eq(kv_seq_take(&kv, &a), ST_OK);
    ck_assert_int_eq(kv_seq_take(&kv, &b), ST_OK);
    ck_assert_int_eq(kv_seq_take(&kv, &c), ST_OK);
    ck_assert_int_eq(kv_seq_take(&kv, &d), ST_FULL);
    ck_assert_int_eq(kv_reserve(&kv, a, KV_BLOCK), ST_OK);
    ck_assert_uint_eq(kv.n_free, 4);
    ck_assert_int_eq(kv_reserve(&kv, a, KV_BLOCK + 1), ST_OK);
    ck_assert_uint_eq(kv.n_free, 3);
    ck_assert_int_eq(kv_reserve(&kv, b, 3 * KV_BLOCK), ST_OK);
    ck_assert_int_eq(kv_reserve(&kv, c, 1), ST_FULL);
    ck_assert_int_eq(kv_reserve(&kv, a, 3 * KV_BLOCK), ST_FULL);
    ck_assert_uint_eq(kv.seqs[a].n_pages, 2); /* what it had, it keeps */
    kv_seq_give(&kv, b);
    ck_assert_uint_eq(kv.n_free, 3);
    ck_assert_int_eq(kv_reserve(&kv, c, 2 * KV_BLOCK), ST_OK);
    /* No page is lent twice. */
    for (uint32_t i = 0; i < 2; i++)
        for (uint32_t j = 0; j < 2; j++)
            ck_assert_uint_ne(kv.seqs[a].pages[i], kv.seqs[c].pages[j]);
    kv_done(&kv);
}
END_TEST

/* Value of key or value element c at position t, read back through the layout that kv.h documents.
 */
static double read_back(const struct kv *kv, uint32_t seq, size_t layer, size_t head, uint32_t pos,
                        size_t c, bool key)
{
    uint32_t t = pos % KV_BLOCK;

    if (kv->type == MODEL_KV_INT8) {
        struct kv_block_i8 b = kv_block_i8_at(kv, seq, layer, head, pos / KV_BLOCK);
        if (key)
            return (double)b.ks[t] *
                   (b.k[(t / 16 * kv->dk + c / 4 * 4) * 16 + t % 16 * 4 + c % 4] - 128);
        return (double)b.vs[t] * b.v[t / 4 * 4 * kv->dv + 4 * c + t % 4];
    }
    struct kv_block_f b = kv_block_f_at(kv, seq, layer, head, pos / KV_BLOCK);
    size_t at = key ? c * KV_BLOCK + t : t * kv->dv + c;
    const void *p = key ? b.k : b.v;
    return b.half ? (double)f16_to_f32(((const uint16_t *)p)[at]) : (double)((const float *)p)[at];
}

static float value(size_t layer, size_t head, uint32_t pos, size_t c)
{
    return sinf((float)(layer * 1000 + head * 100 + pos * 7 + c * 3)) * (c == 5 ? 4.0f : 1.0f);
}

static void check_store(enum model_kv type, size_t d, double tolerance)
{
    struct kv_opts o = opts_of(type, d);
    struct kv kv;
    uint32_t seq;
    float k[HEAD_MAX], v[HEAD_MAX];
    size_t wrong = 0;

    ck_assert_int_eq(kv_open(&kv, &o), ST_OK);
    ck_assert_int_eq(kv_seq_take(&kv, &seq), ST_OK);
    ck_assert_int_eq(kv_reserve(&kv, seq, 130), ST_OK);
    for (int pass = 0; pass < 2; pass++)
        for (size_t l = 0; l < 2; l++)
            for (size_t h = 0; h < 3; h++)
                for (uint32_t pos = 0; pos < 130; pos++) {
                    for (size_t c = 0; c < d; c++) {
                        k[c] = value(l, h, pos, c);
                        v[c] = value(l + 5, h, pos, c);
                        /* second pass: everything is still there, nothing overlapped */
                        wrong += pass && !(fabs(read_back(&kv, seq, l, h, pos, c, true) - k[c]) <=
                                           tolerance);
                        wrong += pass && !(fabs(read_back(&kv, seq, l, h, pos, c, false) - v[c]) <=
                                           tolerance);
                    }
                    uint8_t *head = kv_head_at(&kv, seq, l, h, pos / KV_BLOCK);
                    if (!pass) {
                        kv_store_key(&kv, kernels_at(0), head, pos, k);
                        kv_store_value(&kv, kernels_at(0), head, pos, v);
                    }
                }
    ck_assert_uint_eq(wrong, 0);
    kv_done(&kv);
}

START_TEST(positions_are_where_the_products_look)
{
    const size_t heads[] = {64, 80, 100, 2, 18, 128, 256};
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        check_store(MODEL_KV_INT8, heads[i], 4.0 / 127 / 2 * 1.001);
        check_store(MODEL_KV_F16, heads[i], 4.0 / 2048);
        check_store(MODEL_KV_F32, heads[i], 0);
    }
}
END_TEST

START_TEST(impossible_sizes_are_refused)
{
    struct kv_opts o = opts_of(MODEL_KV_F32, 64);
    struct kv kv;
    o.n_pages = SIZE_MAX / 1000;
    ck_assert_int_eq(kv_open(&kv, &o), ST_NOMEM);
    o.n_pages = (size_t)1 << 45; /* more than an address space */
    ck_assert_int_eq(kv_open(&kv, &o), ST_NOMEM);
}
END_TEST

/* Two texts take turns, and four idle pages may stay at first. What was found adds to that, once a
 * page, until both stay. */
START_TEST(texts_that_come_back_are_kept)
{
    enum { PAGES = 6, N = PAGES * KV_BLOCK, MORE = 2 * N };
    struct kv_opts o = opts_of(MODEL_KV_F32, 2);
    struct kv kv;
    uint32_t found = 0;

    o.n_pages = 64;
    o.max_idle = 4;
    ck_assert_int_eq(kv_open(&kv, &o), ST_OK);
    for (int turn = 0; turn < 16; turn++) {
        int32_t ids[N];
        uint32_t seq;
        for (int i = 0; i < N; i++)
            ids[i] = i + turn % 2 * MORE;
        ck_assert_int_eq(kv_seq_take(&kv, &seq), ST_OK);
        found = kv_attach(&kv, seq, 0, ids, N);
        ck_assert_uint_eq(turn < 2 ? found : 0, 0);
        ck_assert_int_eq(kv_reserve(&kv, seq, N), ST_OK);
        kv_publish(&kv, seq, 0, ids, N, true);
        kv_seq_give(&kv, seq);
    }
    ck_assert_uint_eq(found, N - 1);
    ck_assert_uint_le(kv.prefix.n_idle, 2 * PAGES + 2);
    kv_done(&kv);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        pages_are_lent_and_come_back, positions_are_where_the_products_look,
        impossible_sizes_are_refused, texts_that_come_back_are_kept, NULL};
    return suite_run("kv", tests, 60);
}
