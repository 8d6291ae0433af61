#include "model/net/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "unit/suite.h"

enum { N = 200, DRAWS = 20000 };

static const struct sampler_opts plain = {
    .temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f, .seed = 42};

static void logits_of(float *l)
{
    for (size_t i = 0; i < N; i++)
        l[i] = 4.0f * sinf((float)(i * i));
}

/* The distribution that the options leave, by sorting in doubles: another way than the code's heap.
 */
static void expected(const float *l, const struct sampler_opts *o, double *p)
{
    int order[N];
    double sum = 0, acc = 0, max = l[0];
    size_t keep = o->top_k && o->top_k < N ? o->top_k : N;

    for (size_t i = 0; i < N; i++)
        max = fmax(max, l[i]);
    for (size_t i = 0; i < N; i++) {
        p[i] = exp((l[i] - max) / (double)o->temperature);
        order[i] = (int)i;
    }
    for (size_t i = 0; i < N; i++)
        for (size_t j = i + 1; j < N; j++)
            if (p[order[j]] > p[order[i]]) {
                int t = order[i];
                order[i] = order[j];
                order[j] = t;
            }
    for (size_t i = 0; i < keep; i++)
        sum += p[order[i]];
    for (size_t i = 0; i < N; i++) {
        bool in =
            i < keep && (i == 0 || acc < (double)o->top_p * sum) && p[order[i]] >= (double)o->min_p;
        acc += p[order[i]];
        p[order[i]] = in ? p[order[i]] : 0;
    }
    sum = 0;
    for (size_t i = 0; i < N; i++)
        sum += p[i];
    for (size_t i = 0; i < N; i++)
        p[i] /= sum;
}

static void check_distribution(const struct sampler_opts *o)
{
    float l[N];
    double p[N], chi = 0;
    size_t hits[N] = {0}, cells = 0;
    struct sampler *s;
    struct sample_scratch w;

    logits_of(l);
    expected(l, o, p);
    ck_assert_int_eq(sampler_new(N, NULL, 0, o, &s), ST_OK);
    ck_assert_int_eq(sample_scratch_open(&w, N), ST_OK);
    for (size_t i = 0; i < DRAWS; i++) {
        int32_t id;
        ck_assert_int_eq(sample_draw(s, kernels_get(NULL), l, &w, &id), ST_OK);
        hits[id]++;
    }
    for (size_t i = 0; i < N; i++) {
        ck_assert_msg(p[i] > 0 || hits[i] == 0, "token %zu has no chance but was drawn", i);
        if (p[i] * DRAWS >= 5) {
            double e = p[i] * DRAWS;
            chi += ((double)hits[i] - e) * ((double)hits[i] - e) / e;
            cells++;
        }
    }
    /* Mean cells, deviation sqrt(2 cells): five deviations never happen by chance with a fixed seed
     * that passed once. */
    ck_assert_double_le(chi, (double)cells + 5 * sqrt(2.0 * (double)cells));
    sampler_free(s);
    sample_scratch_done(&w);
}

START_TEST(draws_follow_the_distribution)
{
    struct sampler_opts o = plain;
    check_distribution(&o);
    o.temperature = 0.6f;
    check_distribution(&o);
    o.min_p = 0.2f;
    check_distribution(&o);
    o = plain;
    o.top_k = 7;
    check_distribution(&o);
    o.top_p = 0.8f;
    check_distribution(&o);
    o.top_k = 0;
    check_distribution(&o);
    o.min_p = 0.5f;
    check_distribution(&o);
    o.temperature = 1.7f;
    o.top_k = 1;
    check_distribution(&o);
    o = plain;
    o.top_p = 1e-6f;
    check_distribution(&o);
    o = plain;
    o.top_k = N + 100;
    check_distribution(&o);
}
END_TEST

enum { WIDE = 5003, TRIES = 10 };

struct ranked {
    float p;
    int32_t id;
};

static int by_rank(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->p != y->p)
        return x->p < y->p ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Draw number n of seed 42, as sample.h defines it. */
static double uniform_of(uint64_t n)
{
    uint64_t z = 42 + (n + 1) * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

/* The draw by sorting all there is. total: the sum of p over all ids. */
static int32_t drawn_from_sorted(const struct ranked *r, const struct sampler_opts *o, double total,
                                 double u)
{
    size_t keep = o->top_k && o->top_k < WIDE ? o->top_k : WIDE, n = 0;
    double sum = 0, acc = 0;

    if (o->top_k) {
        total = 0;
        for (size_t i = 0; i < keep; i++)
            total += r[i].p;
    }
    while (n < keep && r[n].p > 0 && (o->top_p >= 1 || sum < (double)o->top_p * total))
        sum += r[n++].p;
    while (n > 1 && r[n - 1].p < o->min_p * r[0].p)
        sum -= r[--n].p;
    for (size_t i = 0; i + 1 < n; i++)
        if ((acc += r[i].p) > u * sum)
            return r[i].id;
    return r[n - 1].id;
}

/* Some logits are equal and many nearly so; sharp: few matter, flat: all do. */
static void check_sorted(const struct sampler_opts *o, float scale)
{
    static float l[WIDE], p[WIDE];
    static struct ranked r[WIDE];
    struct sampler *s;
    struct sample_scratch w;
    float max = -1e9f;

    for (size_t i = 0; i < WIDE; i++) {
        l[i] = roundf(20.0f * sinf((float)(i * i % 9973))) * scale;
        l[i] += i % 8 ? (float)(i * i % 997) * 1e-5f : 0.0f;
        max = fmaxf(max, l[i]);
    }
    float total = kernels_at(0)->exp_sum(l, max, 1.0f / o->temperature, p, WIDE);
    for (size_t i = 0; i < WIDE; i++)
        r[i] = (struct ranked){p[i], (int32_t)i};
    qsort(r, WIDE, sizeof(*r), by_rank);
    ck_assert_int_eq(sampler_new(WIDE, NULL, 0, o, &s), ST_OK);
    ck_assert_int_eq(sample_scratch_open(&w, WIDE), ST_OK);
    for (uint64_t n = 0; n < TRIES; n++) {
        int32_t id = -1;
        ck_assert_int_eq(sample_draw(s, kernels_at(0), l, &w, &id), ST_OK);
        ck_assert_int_eq(id, drawn_from_sorted(r, o, (double)total, uniform_of(n)));
    }
    sampler_free(s);
    sample_scratch_done(&w);
}

START_TEST(the_best_are_those_of_a_sort)
{
    const uint32_t ks[] = {0, 1, 2, 40, 78, 79, 80, 1000, WIDE, WIDE + 7};
    const float ps[] = {1.0f, 0.95f, 0.5f, 1e-6f}, scales[] = {0.02f, 0.5f, 10.0f};

    for (size_t k = 0; k < sizeof(ks) / sizeof(ks[0]); k++)
        for (size_t i = 0; i < sizeof(ps) / sizeof(ps[0]); i++)
            for (size_t c = 0; c < sizeof(scales) / sizeof(scales[0]); c++) {
                struct sampler_opts o = plain;
                o.top_k = ks[k];
                o.top_p = ps[i];
                o.temperature = 0.8f;
                o.min_p = (k + i) % 3 ? 0.0f : 0.1f;
                if (ks[k] || ps[i] < 1.0f)
                    check_sorted(&o, scales[c]);
            }
}
END_TEST

/* All that have a chance, added up by chunks of 256 in the order of their ids. */
START_TEST(any_is_found_in_the_order_of_ids)
{
    static float l[WIDE], p[WIDE];
    struct sampler_opts o = plain;
    struct sampler *s;
    struct sample_scratch w;
    double total = 0;

    for (size_t i = 0; i < WIDE; i++)
        l[i] = i == 11 ? 0.0f : -fabsf(3.0f * sinf((float)(i * i % 9973)));
    o.min_p = 0.1f;
    kernels_at(0)->exp_sum(l, 0.0f, 1.0f, p, WIDE);
    for (size_t i = 0; i < WIDE; i++)
        total += p[i] >= o.min_p * p[11] ? (double)p[i] : 0;
    ck_assert_int_eq(sampler_new(WIDE, NULL, 0, &o, &s), ST_OK);
    ck_assert_int_eq(sample_scratch_open(&w, WIDE), ST_OK);
    for (uint64_t n = 0; n < 150; n++) {
        double acc = 0, want = uniform_of(n) * total;
        int32_t id = -1, expect = -1;
        for (size_t i = 0; i < WIDE && acc <= want; i++)
            if (p[i] >= o.min_p * p[11]) {
                acc += (double)p[i];
                expect = (int32_t)i;
            }
        ck_assert_int_eq(sample_draw(s, kernels_at(0), l, &w, &id), ST_OK);
        ck_assert_int_eq(id, expect);
    }
    sampler_free(s);
    sample_scratch_done(&w);
}
END_TEST

static int32_t draw_one(const struct sampler_opts *o, const float *l, size_t skip,
                        const struct kernels *k)
{
    struct sampler *s;
    struct sample_scratch w;
    int32_t id = -1;

    ck_assert_int_eq(sampler_new(N, (int32_t[]){3, 5}, 2, o, &s), ST_OK);
    ck_assert_int_eq(sample_scratch_open(&w, N), ST_OK);
    for (size_t i = 0; i <= skip; i++)
        ck_assert_int_eq(sample_draw(s, k, l, &w, &id), ST_OK);
    sampler_free(s);
    sample_scratch_done(&w);
    return id;
}

START_TEST(seeds_repeat_on_every_set)
{
    float l[N];
    int differ = 0;
    logits_of(l);
    for (size_t n = 0; n < 40; n++) {
        struct sampler_opts o = plain, other = plain;
        o.top_p = n % 2 ? 1.0f : 0.9f;
        other.seed = 43;
        int32_t want = draw_one(&o, l, n, kernels_at(0));
        for (size_t i = 0; kernels_at(i); i++)
            ck_assert_int_eq(draw_one(&o, l, n, kernels_at(i)), want);
        differ += draw_one(&other, l, n, kernels_at(0)) != want;
    }
    ck_assert_int_gt(differ, 10);
}
END_TEST

START_TEST(greedy_takes_the_first_largest)
{
    float l[N] = {0};
    struct sampler_opts o = plain;
    o.temperature = 0;
    l[17] = l[90] = 2.0f;
    ck_assert_int_eq(draw_one(&o, l, 0, kernels_at(0)), 17);
    l[90] = 2.5f;
    ck_assert_int_eq(draw_one(&o, l, 0, kernels_at(0)), 90);
    o.temperature = 1e-9f; /* as good as none */
    ck_assert_int_eq(draw_one(&o, l, 0, kernels_at(0)), 90);
}
END_TEST

START_TEST(ends_can_be_banned)
{
    float l[N] = {0};
    struct sampler_opts o = plain;
    l[3] = 50.0f;
    l[5] = 40.0f;
    l[9] = 30.0f;
    o.temperature = 0;
    ck_assert_int_eq(draw_one(&o, l, 0, kernels_at(0)), 3);
    o.ban_end = true;
    ck_assert_int_eq(draw_one(&o, l, 0, kernels_at(0)), 9);
    o.temperature = 1;
    ck_assert_int_eq(draw_one(&o, l, 0, kernels_at(0)), 9);
}
END_TEST

/* Divides positive logits, multiplies negative ones, once however often a token was seen. */
START_TEST(repetition_is_penalized_once)
{
    float l[N];
    struct sampler_opts o = plain;
    struct sampler *s;
    struct sample_scratch w;
    int32_t id;

    for (size_t i = 0; i < N; i++)
        l[i] = -10.0f;
    l[7] = 4.0f;
    l[8] = 2.5f;
    o.temperature = 0;
    o.repetition_penalty = 2.0f;
    ck_assert_int_eq(sampler_new(N, NULL, 0, &o, &s), ST_OK);
    ck_assert_int_eq(sample_scratch_open(&w, N), ST_OK);
    ck_assert_int_eq(sample_draw(s, kernels_at(0), l, &w, &id), ST_OK);
    ck_assert_int_eq(id, 7); /* now worth 2 */
    ck_assert_int_eq(sample_draw(s, kernels_at(0), l, &w, &id), ST_OK);
    ck_assert_int_eq(id, 8); /* now worth 1.25 */
    ck_assert_int_eq(sampler_accept(s, 7), ST_OK);
    ck_assert_int_eq(sample_draw(s, kernels_at(0), l, &w, &id), ST_OK);
    ck_assert_int_eq(id, 7); /* 2, not 1 */
    ck_assert_int_eq(sampler_accept(s, N), ST_INVALID);
    ck_assert_int_eq(sampler_accept(s, -1), ST_INVALID);
    sampler_free(s);
    sample_scratch_done(&w);
}
END_TEST

START_TEST(broken_logits_are_an_error)
{
    float l[N];
    struct sampler *s;
    struct sample_scratch w;
    int32_t id = -7;
    ck_assert_int_eq(sampler_new(N, NULL, 0, &plain, &s), ST_OK);
    ck_assert_int_eq(sample_scratch_open(&w, N), ST_OK);
    for (size_t i = 0; i < N; i += 13) {
        logits_of(l);
        l[i] = i % 2 ? NAN : INFINITY;
        ck_assert_int_eq(sample_draw(s, kernels_at(0), l, &w, &id), ST_INTERNAL);
    }
    ck_assert_int_eq(id, -7);
    sampler_free(s);
    sample_scratch_done(&w);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {draws_follow_the_distribution,
                                  the_best_are_those_of_a_sort,
                                  any_is_found_in_the_order_of_ids,
                                  seeds_repeat_on_every_set,
                                  greedy_takes_the_first_largest,
                                  ends_can_be_banned,
                                  repetition_is_penalized_once,
                                  broken_logits_are_an_error,
                                  NULL};
    return suite_run("sample", tests, 60);
}
