/* Rounding with compensation: what it must not change, and what it must make better. The algorithm
 * itself is held against the paper's own form in tests/oracle/test_compensate.py. */
#include "model/quant/compensate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/status.h"
#include "model/format/gguf_write.h"
#include "model/quant/source.h"
#include "unit/suite.h"

enum { K = 320, N = 40, SAMPLES = 900 };

static float h[K * K], w[N * K], samples[SAMPLES][K];
/* What is made, and by plain rounding. */
static int8_t q[N * K], zeros[N * K], plain_q[N * K], plain_zeros[N * K];
static float scales[N * K], plain_scales[N * K];

static float noise(void)
{
    static uint32_t s = 88172645u;
    s ^= s << 13;
    s ^= s >> 17;
    s ^= s << 5;
    return (float)(int32_t)s * 0x1p-31f;
}

static void fill_weights(void)
{
    for (size_t i = 0; i < N * K; i++)
        w[i] = noise() * (i % 17 == 0 ? 3.0f : 1.0f);
    w[5] = -0.0f;
    memset(w + 2 * K, 0, K * sizeof(*w)); /* a row of zeros */
}

/* Inputs whose neighbours are alike, some channels far larger than others. */
static void fill_samples(void)
{
    memset(h, 0, sizeof(h));
    for (size_t r = 0; r < SAMPLES; r++) {
        float last = 0.0f;
        for (size_t c = 0; c < K; c++) {
            last = 0.9f * last + noise();
            samples[r][c] = last * (c % 40 == 7 ? 12.0f : 1.0f);
        }
        for (size_t i = 0; i < K; i++)
            for (size_t j = 0; j < K; j++)
                h[i * K + j] += samples[r][i] * samples[r][j] / SAMPLES;
    }
}

/* By the way that every other matrix goes. */
static void round_plainly(const struct quant_spec *spec)
{
    const uint64_t dims[] = {K, N};
    const size_t groups = K / spec->group;
    struct gguf_writer *writer;
    struct gguf *g;
    struct source *s;
    char path[64];

    snprintf(path, sizeof(path), "/tmp/octet_test_compensate_%d.gguf", (int)getpid());
    ck_assert_int_eq(gguf_write_open(path, &writer, NULL), ST_OK);
    ck_assert_int_eq(gguf_write_tensor(writer, "a.weight", GGUF_F32, dims, 2), ST_OK);
    ck_assert_int_eq(gguf_write_data(writer, w, sizeof(w), NULL), ST_OK);
    ck_assert_int_eq(gguf_write_commit(writer, NULL), ST_OK);
    ck_assert_int_eq(gguf_open(path, NULL, &g, NULL), ST_OK);
    ck_assert_int_eq(source_open(g, "a.weight", N, K, spec, &s, NULL), ST_OK);
    for (size_t i = 0; i < N; i++) {
        const struct quant_row row = {plain_q + i * K, plain_scales + i * groups,
                                      plain_zeros + i * groups};
        ck_assert_int_eq(source_row_ints(s, i, &row, NULL), ST_OK);
    }
    source_free(s);
    gguf_close(g);
    unlink(path);
}

static void compensate(const struct quant_spec *spec, size_t at_once)
{
    const size_t groups = K / spec->group;
    struct compensate *c;
    float *scratch = malloc(compensate_scratch(K) * sizeof(*scratch));

    ck_assert_int_eq(compensate_open(kernels_get(NULL), h, K, 0.01, &c), ST_OK);
    for (size_t i = 0; i < N; i += at_once) {
        const struct quant_row all = {q + i * K, scales + i * groups, zeros + i * groups};
        ck_assert_int_eq(compensate_rows(c, spec, false, w + i * K,
                                         N - i < at_once ? N - i : at_once, &all, scratch),
                         ST_OK);
    }
    compensate_free(c);
    free(scratch);
}

/* Mean square of x (w - w')^T. */
static double loss(const int8_t *ints, const float *by, const int8_t *from, size_t group)
{
    double sum = 0.0;

    for (size_t r = 0; r < SAMPLES; r++)
        for (size_t i = 0; i < N; i++) {
            double e = 0.0;
            for (size_t c = 0; c < K; c++) {
                const size_t at = i * K + c, g = at / group;
                e += (double)samples[r][c] * ((double)w[at] - (double)by[g] * (ints[at] - from[g]));
            }
            sum += e * e;
        }
    return sum / SAMPLES;
}

static const struct quant_spec specs[] = {
    {.bits = 8, .group = 32},
    {.bits = 8, .group = 64},
    {.bits = 8, .group = K},
    {.bits = 8, .group = 64, .zero = 1},
    {.bits = 8, .group = 64, .scale_f32 = 1},
    {.bits = 4, .group = 32},
    {.bits = 4, .group = 32, .zero = 1, .scale_f32 = 1},
};
enum { SPECS = sizeof(specs) / sizeof(specs[0]) };

START_TEST(unrelated_inputs_are_rounded_plainly)
{
    fill_weights();
    for (size_t n = 0; n < SPECS; n++)
        for (int which = 0; which < 3; which++) { /* identity, a diagonal, nothing ever seen */
            memset(h, 0, sizeof(h));
            for (size_t i = 0; i < K; i++)
                h[i * K + i] = which == 0 ? 1.0f : which == 1 ? (float)(i % 7) : 0.0f;
            compensate(&specs[n], N);
            round_plainly(&specs[n]);
            ck_assert_mem_eq(q, plain_q, sizeof(q));
            ck_assert_mem_eq(scales, plain_scales, N * (K / specs[n].group) * sizeof(*scales));
            ck_assert_mem_eq(zeros, plain_zeros, N * (K / specs[n].group));
        }
}
END_TEST

START_TEST(related_inputs_lose_less)
{
    fill_weights();
    for (size_t n = 0; n < SPECS; n++) {
        fill_samples();
        compensate(&specs[n], N);
        round_plainly(&specs[n]);
        double plain = loss(plain_q, plain_scales, plain_zeros, specs[n].group),
               better = loss(q, scales, zeros, specs[n].group);
        ck_assert_msg(better < 0.5 * plain, "spec %zu: %g, plainly %g", n, better, plain);
    }
}
END_TEST

START_TEST(rows_at_once_change_no_bit)
{
    static int8_t together[N * K];
    static float kept[K * K];

    fill_weights();
    fill_samples();
    memcpy(kept, h, sizeof(h));
    compensate(&specs[1], N);
    memcpy(together, q, sizeof(q));
    memcpy(h, kept, sizeof(h));
    compensate(&specs[1], 7);
    ck_assert_mem_eq(together, q, sizeof(q));
}
END_TEST

/* One input that all others follow: nothing can be factored without damping. */
START_TEST(a_singular_h)
{
    fill_weights();
    for (size_t i = 0; i < K; i++)
        for (size_t j = 0; j < K; j++)
            h[i * K + j] = (float)((i % 3 + 1) * (j % 3 + 1));
    compensate(&specs[1], N);
}
END_TEST

START_TEST(what_is_no_h)
{
    struct compensate *c;
    const float bad[] = {NAN, INFINITY, -1e9f};

    for (size_t n = 0; n < sizeof(bad) / sizeof(bad[0]); n++) {
        memset(h, 0, sizeof(h));
        for (size_t i = 0; i < K; i++)
            h[i * K + i] = 1.0f;
        h[200 * K + 200] = bad[n];
        ck_assert_int_eq(compensate_open(kernels_get(NULL), h, K, 0.01, &c), ST_INTERNAL);
    }
}
END_TEST

START_TEST(a_scale_beyond_f16)
{
    struct compensate *c;
    float *scratch = malloc(compensate_scratch(K) * sizeof(*scratch));

    memset(h, 0, sizeof(h));
    fill_weights();
    w[100] = 1e9f;
    const struct quant_row all = {q, scales, zeros};
    ck_assert_int_eq(compensate_open(kernels_get(NULL), h, K, 0.01, &c), ST_OK);
    ck_assert_int_eq(compensate_rows(c, &specs[1], false, w, 1, &all, scratch), ST_FORMAT);
    compensate_free(c);
    free(scratch);
}
END_TEST

RUN_SUITE("compensate", unrelated_inputs_are_rounded_plainly, related_inputs_lose_less,
          rows_at_once_change_no_bit, a_singular_h, what_is_no_h, a_scale_beyond_f16)
