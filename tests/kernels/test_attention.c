/* Attention over blocks: equal in every set, close to softmax in doubles, untouched by what lies
 * beyond a query's last position (stale pages hold other texts). */
#include <math.h>

#include "kernels/guard.h"
#include "model/kernels/kernels.h"
#include "unit/suite.h"

enum { BLOCKS = 3, QUERIES = 7 };

struct store {
    size_t d, dk, dv;
    uint8_t *k;
    int8_t *v;
    float *ks, *vs;
    float *kf, *vf; /* the same values as floats, in the float cache's layout */
};

static size_t up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static void *zeroed(size_t n)
{
    void *p = aligned_alloc(64, up(n, 64));
    memset(p, 0, up(n, 64));
    return p;
}

static struct store store_new(size_t d)
{
    struct store s = {.d = d, .dk = up(d, 4), .dv = up(d, 16)};
    s.k = zeroed(BLOCKS * KV_BLOCK * s.dk);
    s.v = zeroed(BLOCKS * KV_BLOCK * s.dv);
    s.ks = zeroed(BLOCKS * KV_BLOCK * 4);
    s.vs = zeroed(BLOCKS * KV_BLOCK * 4);
    s.kf = zeroed(BLOCKS * KV_BLOCK * d * 4);
    s.vf = zeroed(BLOCKS * KV_BLOCK * s.dv * 4);
    memset(s.k, 128, BLOCKS * KV_BLOCK * s.dk);
    for (size_t b = 0; b < BLOCKS; b++)
        for (size_t t = 0; t < KV_BLOCK; t++) {
            float ks = fabsf(rnd_float()) * 0.02f + 1e-4f, vs = fabsf(rnd_float()) * 0.02f + 1e-4f;
            s.ks[b * KV_BLOCK + t] = ks;
            s.vs[b * KV_BLOCK + t] = vs;
            for (size_t c = 0; c < d; c++) {
                int k = (int)(rnd() % 255) - 127, v = (int)(rnd() % 255) - 127;
                s.k[b * KV_BLOCK * s.dk + (t / 16 * s.dk + c / 4 * 4) * 16 + t % 16 * 4 + c % 4] =
                    (uint8_t)(k + 128);
                s.v[b * KV_BLOCK * s.dv + t / 4 * 4 * s.dv + 4 * c + t % 4] = (int8_t)v;
                s.kf[(b * d + c) * KV_BLOCK + t] = ks * (float)k;
                s.vf[(b * KV_BLOCK + t) * s.dv + c] = vs * (float)v;
            }
        }
    return s;
}

static void store_free(struct store *s)
{
    free(s->k);
    free(s->v);
    free(s->ks);
    free(s->vs);
    free(s->kf);
    free(s->vf);
}

struct queries {
    struct attn_query q[QUERIES];
    _Alignas(64) int8_t q8[QUERIES][HEAD_MAX];
    float qf[QUERIES][HEAD_MAX];
    _Alignas(64) float o[QUERIES][HEAD_MAX];
};

/* base-2 logits of a few units: a softmax with a shape */
static void queries_set(struct queries *qs, const struct store *s, uint64_t seed)
{
    memset(qs, 0, sizeof(*qs));
    for (size_t i = 0; i < QUERIES; i++) {
        struct attn_query *q = &qs->q[i];
        int32_t sum = 0;
        *q = (struct attn_query){.q8 = qs->q8[i], .qf = qs->qf[i], .o = qs->o[i], .m = -INFINITY};
        /* Every other time they see the same, as those of one row do. */
        q->n_pos = (uint32_t)((seed * 37 + seed % 2 * i * 29) % (BLOCKS * KV_BLOCK)) + 1;
        q->scale = 0.02f;
        for (size_t c = 0; c < s->d; c++) {
            qs->q8[i][c] = (int8_t)((int)((seed * 131 + i * 71 + c * 53) % 255) - 127);
            qs->qf[i][c] = q->scale * (float)qs->q8[i][c];
            sum += qs->q8[i][c];
        }
        q->comp = -128 * sum;
    }
}

static void run(const struct kernels *k, const struct store *s, struct queries *qs, bool integers)
{
    for (uint32_t b = 0; b < BLOCKS; b++) {
        struct kv_block_i8 bi = {s->k + b * KV_BLOCK * s->dk, s->v + b * KV_BLOCK * s->dv,
                                 s->ks + b * KV_BLOCK, s->vs + b * KV_BLOCK, 0};
        struct kv_block_f bf = {s->kf + b * KV_BLOCK * s->d, s->vf + b * KV_BLOCK * s->dv, false};
        if (integers)
            k->attn_i8(&bi, qs->q, QUERIES, b * KV_BLOCK, s->dk, s->dv);
        else
            k->attn_f(&bf, qs->q, QUERIES, b * KV_BLOCK, s->d, s->dv);
    }
}

/* Softmax in doubles over the same values. Integers: P is off by half a unit of its block's largest
 * P x scale. */
static void check_right(const struct store *s, const struct queries *qs, bool integers)
{
    for (size_t i = 0; i < QUERIES; i++) {
        double p[BLOCKS * KV_BLOCK], unit[BLOCKS] = {0}, sum = 0, max = -INFINITY, loose = 0;
        const struct attn_query *q = &qs->q[i];
        for (size_t t = 0; t < q->n_pos; t++) {
            double size = 0;
            p[t] = 0;
            for (size_t c = 0; c < s->d; c++) {
                double part =
                    (double)q->qf[c] * s->kf[(t / KV_BLOCK * s->d + c) * KV_BLOCK + t % KV_BLOCK];
                p[t] += part;
                size += fabs(part);
            }
            max = fmax(max, p[t]);
            loose = fmax(loose, integers ? 0 : 32 * ldexp(size, -24)); /* a sum in f32, times v */
        }
        for (size_t t = 0; t < q->n_pos; t++)
            sum += p[t] = exp2(p[t] - max);
        for (size_t t = 0; t < q->n_pos; t++)
            unit[t / KV_BLOCK] = fmax(unit[t / KV_BLOCK], p[t] / sum * s->vs[t] / 255.0);
        for (size_t c = 0; c < s->d; c++) {
            double right = 0, off = 1e-4 + loose;
            for (size_t t = 0; t < q->n_pos; t++) {
                right += p[t] / sum * s->vf[t * s->dv + c];
                off += integers ? 0.501 * unit[t / KV_BLOCK] * fabs(s->vf[t * s->dv + c] / s->vs[t])
                                : 0.0;
            }
            ck_assert_double_le(fabs(right - (double)q->o[c] / q->l), off);
        }
    }
}

static void check_head(size_t d, bool integers)
{
    struct store s = store_new(d);
    static struct queries want, got;

    for (uint64_t seed = 0; seed < 8; seed++) {
        queries_set(&want, &s, seed);
        run(kernels_at(0), &s, &want, integers);
        check_right(&s, &want, integers);
        for (size_t i = 0; kernels_at(i); i++) {
            queries_set(&got, &s, seed);
            run(kernels_at(i), &s, &got, integers);
            for (size_t e = 0; e < QUERIES; e++) {
                ck_assert_msg(memcmp(got.o[e], want.o[e], s.dv * 4) == 0, "%s differs, head %zu",
                              kernels_at(i)->name, d);
                ck_assert(got.q[e].m == want.q[e].m && got.q[e].l == want.q[e].l);
            }
            /* One query alone gives what it gives among others. */
            static struct queries alone;
            queries_set(&alone, &s, seed);
            for (size_t e = 1; e < QUERIES; e++)
                alone.q[e].n_pos = 0;
            run(kernels_at(i), &s, &alone, integers);
            ck_assert(memcmp(alone.o[0], want.o[0], s.dv * 4) == 0);
        }
    }
    store_free(&s);
}

START_TEST(integer_heads)
{
    const size_t heads[] = {64, 128, 80, 96, 100, 32, 16, 18, 256};
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        check_head(heads[i], true);
}
END_TEST

START_TEST(float_heads)
{
    const size_t heads[] = {64, 128, 80, 96, 100, 32, 16, 18, 256};
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        check_head(heads[i], false);
}
END_TEST

/* What an earlier owner of the page left beyond the last position, NaN scales among it, must not
 * leak in. */
START_TEST(stale_positions_do_not_matter)
{
    struct store s = store_new(64);
    static struct queries clean, dirty;

    for (size_t i = 0; kernels_at(i); i++)
        for (int kind = 0; kind < 4; kind++) {
            const bool integers = kind % 2, alike = kind / 2;
            queries_set(&clean, &s, 3);
            queries_set(&dirty, &s, 3);
            for (size_t e = 0; e < QUERIES; e++)
                clean.q[e].n_pos = dirty.q[e].n_pos = 70 + (alike ? 0 : (uint32_t)e);
            run(kernels_at(i), &s, &clean, integers);
            struct store old = s;
            old.ks = zeroed(BLOCKS * KV_BLOCK * 4);
            old.vs = zeroed(BLOCKS * KV_BLOCK * 4);
            memcpy(old.ks, s.ks, BLOCKS * KV_BLOCK * 4);
            memcpy(old.vs, s.vs, BLOCKS * KV_BLOCK * 4);
            for (size_t t = 70 + QUERIES; t < BLOCKS * KV_BLOCK; t++)
                old.ks[t] = old.vs[t] = NAN;
            run(kernels_at(i), &old, &dirty, integers);
            for (size_t e = 0; e < QUERIES; e++)
                ck_assert(memcmp(clean.o[e], dirty.o[e], s.dv * 4) == 0);
            free(old.ks);
            free(old.vs);
        }
    store_free(&s);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {integer_heads, float_heads, stale_positions_do_not_matter, NULL};
    return suite_run("attention", tests, 300);
}
