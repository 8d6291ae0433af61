/* The kernels that round: every set equals generic bit for bit, stays in its buffers, and is right by
 * double arithmetic. */
#include <float.h>
#include <math.h>

#include "kernels/guard.h"
#include "kernels/sets.h"
#include "model/kernels/kernels.h"
#include "unit/suite.h"

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

/* Whole steps, halves and far more than there are integers, by a step and a zero point an input. */
static void static_fill(size_t n, int kind, float lowest, float *x, float *inv, float *zero)
{
    for (size_t i = 0; i < n; i++) {
        inv[i] = kind == 0 ? 3.0f : 1.0f / (0.01f + fabsf(rnd_float()));
        zero[i] = lowest == -127.0f ? 0.0f
                  : kind == 0       ? 128.0f
                                    : (float)(int)(rnd() % 256) - 127.0f;
        x[i] = kind == 2 ? ((float)(int)(rnd() % 601 - 300) + 0.5f) / inv[i]
                         : rnd_float() * (i % 9 ? 1.0f : 1e15f);
        inv[i] = i % 31 ? inv[i] : 0.0f;
    }
}

static size_t static_wrong(const float *t, const float *inv, const float *zero, float lowest,
                           const struct quant_rows *to, size_t group, size_t groups)
{
    size_t wrong = 0;

    for (size_t g = 0; g < groups; g++) {
        int32_t sum = 0;
        for (size_t i = g * group; i < (g + 1) * group; i++) {
            float q = rintf(t[i] * inv[i]) - zero[i];
            q = q > 127.0f ? 127.0f : q < lowest ? lowest : q;
            wrong += (float)to->q[i] != q;
            sum += to->q[i];
        }
        wrong += to->comp[g] != -128 * sum || to->scale[g] != 0.25f;
    }
    return wrong;
}

START_TEST(static_is_equal_and_by_the_steps_it_is_given)
{
    const size_t shapes[][3] = {
        {64, 0, 64}, {576, 64, 64}, {96, 32, 96}, {1536, 64, 1536}, {64, 64, 32}};
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
        for (int kind = 0; kind < 6; kind++) {
            const size_t n = shapes[s][0], block = shapes[s][1], group = shapes[s][2];
            float x[2048], t[2048], inv[2048], zero[2048], ws[64], scale[64];
            const float lowest = kind / 3 ? -128.0f : -127.0f;
            const struct quant_steps by = {inv, zero, lowest, 0.25f};
            int8_t want[2048];
            int32_t wc[64], comp[64];
            struct guarded q = guarded_new(n, 16);
            const struct quant_rows first = {.q = want, .scale = ws, .comp = wc},
                                    to = {.q = q.p, .scale = scale, .comp = comp};
            static_fill(n, kind % 3, lowest, x, inv, zero);
            memcpy(t, x, sizeof(t));
            if (block) /* sums are to stay floats */
                for (size_t i = 0; i < n; i++)
                    x[i] = t[i] = t[i] * 1e-3f;
            kernels_at(0)->quantize_static(t, n, block, group, &by, &first);
            ck_assert_uint_eq(static_wrong(t, inv, zero, lowest, &first, group, n / group), 0);
            FOR_EACH_SET(k)
            {
                memcpy(t, x, sizeof(t));
                k->quantize_static(t, n, block, group, &by, &to);
                same_bits("quantize_static", k, q.p, want, n, n);
                same_bits("its scale", k, scale, ws, n / group * 4, n);
                same_bits("its sums", k, comp, wc, n / group * 4, n);
                guarded_check(&q);
            }
            guarded_free(&q);
        }
}
END_TEST

START_TEST(affine_and_static_keep_broken_values_visible)
{
    const float zeros[64] = {0};
    const struct quant_steps by = {zeros, zeros, -127.0f, 1.0f};
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
            scale = 0.0f;
            k->quantize_static(x, 64, 0, 64, &by, &to);
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

START_TEST(rounding_errors_are_equal_and_those_of_rounding)
{
    for (size_t n = 1; n <= 257; n += n < 20 ? 1 : 59) {
        float x[257], energy[257], want[16], got[16];
        struct kernel_grids grids;
        rnd_floats(x, n);
        rnd_floats(energy, n);
        for (size_t i = 0; i < n; i++)
            energy[i] *= energy[i];
        for (size_t i = 0; i < 16; i++) {
            grids.scale[i] = i == 3 ? 0.0f : (i % 2 ? -0.01f : 0.003f) * (float)(i + 1);
            grids.low[i] = i % 4 ? -8.0f : -127.0f;
            grids.high[i] = i % 4 ? 7.0f : 127.0f;
        }
        for (int weighed = 0; weighed < 2; weighed++) {
            const float *by = weighed ? energy : NULL;
            kernels_at(0)->rounding_errors(x, by, n, &grids, want);
            for (size_t i = 0; i < 16; i++) {
                double sum = 0.0, per = grids.scale[i] != 0.0f ? 1.0 / (double)grids.scale[i] : 0.0;
                for (size_t j = 0; j < n; j++) {
                    double q = rint(fmax(fmin((double)x[j] * per, (double)grids.high[i]),
                                         (double)grids.low[i]));
                    double e = (double)x[j] - q * (double)grids.scale[i];
                    sum += e * e * (by ? (double)by[j] : 1.0);
                }
                ck_assert_double_le(fabs(sum - (double)want[i]), 1e-4 * sum + 1e-9);
            }
            FOR_EACH_SET(k)
            {
                k->rounding_errors(x, by, n, &grids, got);
                same_bits("rounding_errors", k, got, want, sizeof(want), n);
            }
        }
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {quantize_is_equal_and_within_half_a_step,
                                  quantize_keeps_broken_values_visible,
                                  affine_is_equal_and_within_half_a_step,
                                  static_is_equal_and_by_the_steps_it_is_given,
                                  affine_and_static_keep_broken_values_visible,
                                  rounding_errors_are_equal_and_those_of_rounding,
                                  NULL};
    return suite_run("quantize", tests, 120);
}
