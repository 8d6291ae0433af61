/* The float kernels: every set equals generic bit for bit, stays in its buffers, and is right by
 * double arithmetic. */
#include <float.h>
#include <math.h>

#include "kernels/guard.h"
#include "model/kernels/kernels.h"
#include "unit/suite.h"

static const size_t lengths[] = {1,  2,  3,  4,  8,  12, 15,  16,  17,   31,  32,
                                 33, 48, 63, 64, 65, 96, 100, 576, 1000, 1536};
enum { N_LENGTHS = sizeof(lengths) / sizeof(lengths[0]) };

/* Runs `call` for each set on fresh copies of `in`, compares what it left in `out`. */
#define FOR_EACH_SET(set)                                                                          \
    for (size_t set##_i = 0; kernels_at(set##_i); set##_i++)                                       \
        for (const struct kernels *set = kernels_at(set##_i), *set##_once = set; set##_once;       \
             set##_once = NULL)

static void same_bits(const char *what, const struct kernels *k, const void *a, const void *b,
                      size_t bytes, size_t n)
{
    ck_assert_msg(memcmp(a, b, bytes) == 0, "%s of %s differs from generic at length %zu", what,
                  k->name, n);
}

START_TEST(norm_is_equal_and_right)
{
    for (size_t c = 0; c < N_LENGTHS; c++) {
        size_t n = lengths[c];
        struct guarded x = guarded_new(n * 4, 4), g = guarded_new(n * 4, 4),
                       y = guarded_new(n * 4, 4);
        float want[2048];
        rnd_floats(x.p, n);
        rnd_floats(g.p, n);
        double ss = 0;
        for (size_t i = 0; i < n; i++)
            ss += (double)((float *)x.p)[i] * ((float *)x.p)[i];
        kernels_at(0)->rms_norm(x.p, g.p, 1e-5f, want, n);
        for (size_t i = 0; i < n; i++) {
            double right = ((float *)x.p)[i] / sqrt(ss / (double)n + 1e-5) * ((float *)g.p)[i];
            ck_assert_double_le(fabs(right - want[i]), 1e-6 * fabs(right) + 1e-30);
        }
        FOR_EACH_SET(k)
        {
            memset(y.p, GUARD_BYTE, n * 4); /* not what the set before left there */
            k->rms_norm(x.p, g.p, 1e-5f, y.p, n);
            same_bits("rms_norm", k, y.p, want, n * 4, n);
            guarded_check(&y);
        }
        guarded_free(&x);
        guarded_free(&g);
        guarded_free(&y);
    }
}
END_TEST

START_TEST(hadamard_is_equal_orthonormal_and_its_own_inverse)
{
    for (size_t block = 1; block <= 64; block *= 2)
        for (size_t blocks = 1; blocks < 10; blocks++) {
            size_t n = block * blocks;
            float x[640], want[640];
            struct guarded y = guarded_new(n * 4, 4);
            rnd_floats(x, n);
            memcpy(want, x, n * 4);
            kernels_at(0)->hadamard(want, n, block);
            for (size_t i = 0; i < n;
                 i++) { /* entry (r, c) of Sylvester's matrix: parity of r & c */
                double sum = 0;
                for (size_t j = 0; j < block; j++) {
                    double v = x[i / block * block + j];
                    sum += __builtin_parityll((i % block) & j) ? -v : v;
                }
                ck_assert_double_le(fabs(sum / sqrt((double)block) - want[i]), 1e-4);
            }
            FOR_EACH_SET(k)
            {
                memcpy(y.p, x, n * 4);
                k->hadamard(y.p, n, block);
                same_bits("hadamard", k, y.p, want, n * 4, n);
                guarded_check(&y);
                k->hadamard(y.p, n, block);
                for (size_t i = 0; i < n; i++)
                    ck_assert_double_le(fabs((double)((float *)y.p)[i] - x[i]), 1e-4);
            }
            guarded_free(&y);
        }
}
END_TEST

static void check_group(const float *t, const int8_t *q, float scale, int32_t comp, size_t n)
{
    float max = 0;
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        max = fmaxf(max, fabsf(t[i]));
    ck_assert(scale == (max < 1e-30f ? 0.0f : max / 127.0f));
    for (size_t i = 0; i < n; i++) {
        sum += q[i];
        /* half a step, and what the float product of a value up to 127 may add */
        ck_assert_double_le(fabs((double)t[i] - (double)scale * q[i]),
                            (double)scale * 0.50002 + 1e-30);
    }
    ck_assert_int_eq(comp, -128 * sum);
}

START_TEST(quantize_is_equal_and_within_half_a_step)
{
    const struct {
        size_t n, block, group;
    } shapes[] = {{64, 0, 64},    {576, 64, 64}, {1536, 64, 64}, {96, 32, 32}, {160, 0, 32},
                  {64, 16, 64},   {128, 4, 64},  {80, 0, 80},    {96, 0, 96},  {100, 0, 100},
                  {128, 0, 128},  {256, 0, 256}, {2, 0, 2},      {18, 0, 18},  {256, 64, 128},
                  {576, 64, 576}, {96, 32, 96},  {64, 32, 64},   {100, 4, 100}};
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
        for (int kind = 0; kind < 5; kind++) {
            size_t n = shapes[s].n, group = shapes[s].group, groups = n / group,
                   padded = (n + 15) / 16 * 16;
            float x[2048], t[2048], ws[64], scale[64];
            int8_t want[2048];
            int32_t wc[64], comp[64];
            struct guarded q = guarded_new(padded, 16);
            for (size_t i = 0; i < n; i++)
                x[i] = kind == 0   ? rnd_float()
                       : kind == 1 ? 0.0f
                       : kind == 2 ? (i & 1 ? 127.0f : -127.0f)
                       : kind == 3 ? rnd_float() * 1e-38f
                                   : (float)(int)(rnd() % 255 - 127) + 0.5f;
            memcpy(t, x, sizeof(t));
            kernels_at(0)->hadamard(t, n, shapes[s].block);
            float y[2048]; /* quantize may turn its input in place */
            memcpy(y, x, sizeof(y));
            kernels_at(0)->quantize(y, n, shapes[s].block, group, want, ws, wc);
            for (size_t g = 0; g < groups; g++)
                check_group(t + g * group, want + g * group, ws[g], wc[g], group);
            FOR_EACH_SET(k)
            {
                memset(q.p, GUARD_BYTE, n);
                memset(scale, GUARD_BYTE, sizeof(scale));
                memset(comp, GUARD_BYTE, sizeof(comp));
                memcpy(y, x, sizeof(y));
                k->quantize(y, n, shapes[s].block, group, q.p, scale, comp);
                same_bits("quantize", k, q.p, want, n, n);
                same_bits("quantize's scale", k, scale, ws, groups * 4, n);
                same_bits("quantize's sums", k, comp, wc, groups * 4, n);
                guarded_check(&q);
            }
            guarded_free(&q);
        }
}
END_TEST

/* x' = scale * (q + zero) within half a step; the sums are those of q. */
static size_t affine_wrong(const float *t, const struct quant_rows *to, size_t group, size_t groups)
{
    size_t wrong = 0;

    for (size_t g = 0; g < groups; g++) {
        int32_t sum = 0;
        double step = (double)to->scale[g];
        wrong += to->zero[g] < -127 || to->zero[g] > 128;
        for (size_t i = g * group; i < (g + 1) * group; i++) {
            double off = fabs((double)t[i] - step * (to->q[i] + to->zero[g]));
            sum += to->q[i];
            wrong += !(off <= step * 0.50005 + 1e-30);
        }
        wrong += to->comp[g] != -128 * sum;
    }
    return wrong;
}

static float affine_input(int kind, size_t i)
{
    switch (kind) {
    case 0:
        return rnd_float();
    case 1:
        return 0.0f;
    case 2:
        return rnd_float() + 30.0f; /* far from 0: the range is widened to hold it */
    case 3:
        return rnd_float() * 1e-38f;
    case 4:
        return i & 1 ? 253.5f : -1.5f; /* ties at either end */
    default:
        return -fabsf(rnd_float());
    }
}

START_TEST(affine_is_equal_and_within_half_a_step)
{
    const size_t shapes[][3] = {
        {64, 0, 64}, {576, 64, 64}, {96, 32, 96}, {1536, 64, 1536}, {64, 64, 32}};
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
        for (int kind = 0; kind < 6; kind++) {
            const size_t n = shapes[s][0], block = shapes[s][1], group = shapes[s][2],
                         groups = n / group;
            float x[2048], t[2048], ws[64], scale[64];
            int8_t want[2048];
            int32_t wc[64], comp[64], wz[64], zero[64];
            struct guarded q = guarded_new(n, 16);
            const struct quant_rows first = {.q = want, .scale = ws, .comp = wc, .zero = wz},
                                    to = {.q = q.p, .scale = scale, .comp = comp, .zero = zero};
            for (size_t i = 0; i < n; i++)
                x[i] = affine_input(kind, i);
            memcpy(t, x, sizeof(t));
            kernels_at(0)->quantize_affine(t, n, block, group, &first);
            ck_assert_uint_eq(affine_wrong(t, &first, group, groups), 0);
            FOR_EACH_SET(k)
            {
                memcpy(t, x, sizeof(t));
                k->quantize_affine(t, n, block, group, &to);
                same_bits("quantize_affine", k, q.p, want, n, n);
                same_bits("its scale", k, scale, ws, groups * 4, n);
                same_bits("its sums", k, comp, wc, groups * 4, n);
                same_bits("its zero points", k, zero, wz, groups * 4, n);
                guarded_check(&q);
            }
            guarded_free(&q);
        }
}
END_TEST

START_TEST(affine_keeps_broken_values_visible)
{
    FOR_EACH_SET(k)
    {
        const float broken[] = {NAN, INFINITY, -INFINITY};
        for (size_t b = 0; b < 3; b++) {
            float x[64] = {1.0f}, scale = 0.0f;
            int8_t q[64];
            int32_t comp, zero;
            const struct quant_rows to = {.q = q, .scale = &scale, .comp = &comp, .zero = &zero};
            x[17] = broken[b];
            k->quantize_affine(x, 64, 0, 64, &to);
            ck_assert(!isfinite(scale));
        }
    }
}
END_TEST

/* A NaN or an infinity must reach the logits, where the sampler refuses it: it lives on in the
 * scale. */
START_TEST(quantize_keeps_broken_values_visible)
{
    const float broken[] = {NAN, INFINITY, -INFINITY, -NAN};
    for (size_t b = 0; b < 4; b++)
        for (size_t at = 0; at < 64; at++) {
            float x[64], scale;
            int8_t q[64];
            int32_t comp;
            rnd_floats(x, 64);
            x[at] = broken[b];
            FOR_EACH_SET(k)
            {
                k->quantize(x, 64, 0, 64, q, &scale, &comp);
                ck_assert(!isfinite(scale));
                k->quantize(x, 64, 64, 64, q, &scale, &comp);
                ck_assert(!isfinite(scale));
            }
        }
}
END_TEST

START_TEST(silu_is_equal_and_right)
{
    for (size_t c = 0; c < N_LENGTHS; c++) {
        size_t n = lengths[c];
        float g[2048], u[2048], want[2048];
        struct guarded y = guarded_new(n * 4, 4);
        rnd_floats(g, n);
        rnd_floats(u, n);
        for (size_t i = 0; i < n; i++)
            g[i] *= i % 5 ? 8.0f : 200.0f;
        kernels_at(0)->silu_mul(g, u, want, n);
        for (size_t i = 0; i < n; i++) {
            double right = (double)g[i] / (1.0 + exp(-(double)g[i])) * u[i];
            ck_assert_double_le(fabs(right - want[i]), 1e-6 * fabs(right) + 1e-30);
        }
        FOR_EACH_SET(k)
        {
            memset(y.p, GUARD_BYTE, n * 4);
            k->silu_mul(g, u, y.p, n);
            same_bits("silu_mul", k, y.p, want, n * 4, n);
            guarded_check(&y);
        }
        guarded_free(&y);
    }
}
END_TEST

START_TEST(rope_is_equal_and_turns_pairs)
{
    for (size_t pairs = 1; pairs <= 64; pairs++)
        for (int halves = 0; halves < 2; halves++) {
            float x[128], c[128], s[128], want[128];
            struct guarded y = guarded_new(pairs * 8, 4);
            rnd_floats(x, 2 * pairs);
            for (size_t i = 0; i < pairs; i++) {
                size_t first = halves ? i : 2 * i, second = halves ? i + pairs : 2 * i + 1;
                double a = (double)(rnd() % 6283) / 1000.0;
                c[first] = c[second] = (float)cos(a);
                s[first] = (float)-sin(a);
                s[second] = (float)sin(a);
            }
            memcpy(want, x, sizeof(want));
            kernels_at(0)->rope(want, c, s, 2 * pairs, halves);
            for (size_t i = 0; i < pairs; i++) {
                size_t a = halves ? i : 2 * i, b = halves ? i + pairs : 2 * i + 1;
                ck_assert_double_le(fabs((double)x[a] * c[a] - (double)x[b] * s[b] - want[a]),
                                    1e-5);
                ck_assert_double_le(fabs((double)x[a] * s[b] + (double)x[b] * c[b] - want[b]),
                                    1e-5);
            }
            FOR_EACH_SET(k)
            {
                memcpy(y.p, x, pairs * 8);
                k->rope(y.p, c, s, 2 * pairs, halves);
                same_bits("rope", k, y.p, want, pairs * 8, pairs);
                guarded_check(&y);
            }
            guarded_free(&y);
        }
}
END_TEST

START_TEST(argmax_finds_the_first_largest_and_sees_broken_rows)
{
    const size_t sizes[] = {1, 15, 16, 17, 1023, 1024, 1025, 5000};
    for (size_t c = 0; c < 8; c++) {
        size_t n = sizes[c];
        struct guarded x = guarded_new(n * 4, 4);
        float *p = x.p;
        for (int round = 0; round < 50; round++) {
            for (size_t i = 0; i < n; i++)
                p[i] = (float)(int)(rnd() % 100) - 120.0f; /* many ties, all negative */
            size_t want = 0;
            for (size_t i = 1; i < n; i++)
                want = p[i] > p[want] ? i : want;
            FOR_EACH_SET(k)
            ck_assert_uint_eq(k->argmax(p, n), want);
            p[rnd() % n] = round % 3 == 0 ? NAN : round % 3 == 1 ? INFINITY : -INFINITY;
            FOR_EACH_SET(k)
            ck_assert_uint_eq(k->argmax(p, n), n);
        }
        guarded_free(&x);
    }
}
END_TEST

START_TEST(exp_sum_is_equal_and_right)
{
    for (size_t c = 0; c < N_LENGTHS; c++) {
        size_t n = lengths[c];
        float x[2048], want[2048], max = -FLT_MAX, t = 1.0f / 0.7f;
        struct guarded y = guarded_new(n * 4, 4);
        for (size_t i = 0; i < n; i++) {
            x[i] = rnd_float() * 30.0f;
            max = fmaxf(max, x[i]);
        }
        if (n > 3)
            x[n / 2] = -FLT_MAX;
        float sum = kernels_at(0)->exp_sum(x, max, t, want, n);
        double right_sum = 0;
        for (size_t i = 0; i < n; i++) {
            double right = exp(((double)x[i] - max) * t);
            right_sum += right;
            ck_assert_double_le(fabs(right - want[i]), 2e-5 * right + 1e-37);
            if (x[i] == -FLT_MAX)
                ck_assert(want[i] == 0.0f);
        }
        ck_assert_double_le(fabs(right_sum - sum), 1e-4 * right_sum);
        FOR_EACH_SET(k)
        {
            memset(y.p, GUARD_BYTE, n * 4);
            float s = k->exp_sum(x, max, t, y.p, n);
            same_bits("exp_sum", k, y.p, want, n * 4, n);
            same_bits("exp_sum's sum", k, &s, &sum, 4, n);
            guarded_check(&y);
        }
        guarded_free(&y);
    }
}
END_TEST

START_TEST(sets_are_found_by_name)
{
    ck_assert_str_eq(kernels_at(0)->name, "generic");
    ck_assert_ptr_eq(kernels_named("generic"), kernels_at(0));
    ck_assert_ptr_null(kernels_named("no such set"));
    FOR_EACH_SET(k)
    ck_assert_ptr_eq(kernels_named(k->name), k);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {norm_is_equal_and_right,
                                  hadamard_is_equal_orthonormal_and_its_own_inverse,
                                  quantize_is_equal_and_within_half_a_step,
                                  quantize_keeps_broken_values_visible,
                                  affine_is_equal_and_within_half_a_step,
                                  affine_keeps_broken_values_visible,
                                  silu_is_equal_and_right,
                                  rope_is_equal_and_turns_pairs,
                                  argmax_finds_the_first_largest_and_sees_broken_rows,
                                  exp_sum_is_equal_and_right,
                                  sets_are_found_by_name,
                                  NULL};
    return suite_run("kernels", tests, 120);
}
