/* The float kernels: every set equals generic bit for bit, stays in its buffers, and is right by
 * double arithmetic. */
#include <float.h>
#include <math.h>

#include "kernels/guard.h"
#include "kernels/sets.h"
#include "model/kernels/kernels.h"
#include "unit/suite.h"

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
                                  silu_is_equal_and_right,
                                  rope_is_equal_and_turns_pairs,
                                  argmax_finds_the_first_largest_and_sees_broken_rows,
                                  exp_sum_is_equal_and_right,
                                  sets_are_found_by_name,
                                  NULL};
    return suite_run("kernels", tests, 120);
}
