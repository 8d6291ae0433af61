/* The float product: right by doubles, equal in every set, row by row whatever the batch. */
#include <math.h>

#include "kernels/guard.h"
#include "model/kernels/half.h"
#include "model/kernels/kernels.h"
#include "unit/suite.h"

struct problem {
    struct guarded w, x, y;
    struct packed_f32 packed;
    size_t rows;
};

/* NaN fills what lies beyond n in the last panel: it must reach no output. */
static struct problem problem_new(size_t n, size_t k, size_t rows)
{
    size_t panels = (n + PANEL - 1) / PANEL;
    struct problem p = {.rows = rows};

    p.w = guarded_new(panels * k * PANEL * 4, 64);
    p.x = guarded_new(rows * k * 4, 4);
    p.y = guarded_new(rows * n * 4, 4);
    rnd_floats(p.w.p, panels * k * PANEL);
    rnd_floats(p.x.p, rows * k);
    rnd_floats(p.y.p, rows * n);
    for (size_t c = n; c < panels * PANEL; c++)
        for (size_t i = 0; i < k; i++)
            ((float *)p.w.p)[(c / PANEL * k + i) * PANEL + c % PANEL] = NAN;
    p.packed = (struct packed_f32){.w = p.w.p, .n = n, .k = k};
    return p;
}

static void problem_free(struct problem *p)
{
    guarded_free(&p->w);
    guarded_free(&p->x);
    guarded_free(&p->y);
}

static float weight(const struct problem *p, size_t n, size_t k)
{
    return ((const float *)p->packed.w)[(n / PANEL * p->packed.k + k) * PANEL + n % PANEL];
}

/* k roundings of sums no larger than that of the magnitudes (Higham 2002, section 3.1), in the
 * smallest steps there are at least. */
static void check_right(const struct problem *p, const float *got, bool add)
{
    size_t n = p->packed.n, k = p->packed.k;

    for (size_t r = 0; r < p->rows; r++)
        for (size_t c = 0; c < n; c++) {
            double right = add ? ((float *)p->y.p)[r * n + c] : 0.0, size = fabs(right);
            for (size_t i = 0; i < k; i++) {
                double step = (double)((float *)p->x.p)[r * k + i] * weight(p, c, i);
                right += step;
                size += fabs(step);
            }
            ck_assert_double_le(fabs(right - got[r * n + c]),
                                (double)(k + 1) * (0x1p-24 * size + 0x1p-150));
        }
}

static void check_problem(size_t n, size_t k, size_t rows, bool add)
{
    struct problem p = problem_new(n, k, rows);
    struct guarded want = guarded_new(rows * n * 4, 4), got = guarded_new(rows * n * 4, 4);
    size_t panels = (n + PANEL - 1) / PANEL, bytes = rows * n * 4;
    struct gemm_out to = {.out = want.p, .ld = n, .add = add};

    memcpy(want.p, p.y.p, bytes);
    kernels_at(0)->gemm_f32(&p.packed, p.x.p, rows, 0, panels, &to);
    check_right(&p, want.p, add);
    for (size_t i = 0; kernels_at(i); i++) {
        const struct kernels *s = kernels_at(i);
        to.out = got.p;
        memcpy(got.p, p.y.p, bytes);
        s->gemm_f32(&p.packed, p.x.p, rows, 0, panels, &to);
        ck_assert_msg(memcmp(want.p, got.p, bytes) == 0, "%s differs: n %zu k %zu rows %zu",
                      s->name, n, k, rows);
        guarded_check(&got);
        /* Row by row, panel by panel. */
        memcpy(got.p, p.y.p, bytes);
        for (size_t r = 0; r < rows; r++)
            for (size_t b = 0; b < panels; b++) {
                to.out = (float *)got.p + r * n;
                s->gemm_f32(&p.packed, (float *)p.x.p + r * k, 1, b, b + 1, &to);
            }
        ck_assert_msg(memcmp(want.p, got.p, bytes) == 0, "%s differs alone: n %zu k %zu rows %zu",
                      s->name, n, k, rows);
        guarded_check(&got);
    }
    guarded_free(&want);
    guarded_free(&got);
    problem_free(&p);
}

START_TEST(every_set_equals_generic)
{
    const size_t ns[] = {1, 15, 16, 17, 31, 32, 33, 64, 100};
    for (size_t i = 0; i < sizeof(ns) / sizeof(ns[0]); i++)
        for (size_t rows = 1; rows <= 40; rows++)
            check_problem(ns[i], 1 + rnd() % 70, rows, rows & 1);
    check_problem(64, 1536, 13, false);
    check_problem(40, 1000, 7, true);
    check_problem(33, 577, 200, false);
}
END_TEST

/* Wider rows than n: what lies between them is another's. */
START_TEST(only_its_columns_are_written)
{
    enum { N = 40, K = 24, ROWS = 17, LD = 48 };
    struct problem p = problem_new(N, K, ROWS);
    struct guarded y = guarded_new(ROWS * LD * 4, 4);

    for (size_t i = 0; kernels_at(i); i++) {
        struct gemm_out to = {.out = y.p, .ld = LD};
        memset(y.p, GUARD_BYTE, y.bytes);
        kernels_at(i)->gemm_f32(&p.packed, p.x.p, ROWS, 0, 2, &to);
        for (size_t r = 0; r < ROWS; r++)
            for (size_t b = (r * LD + N) * 4; b < (r + 1) * LD * 4; b++)
                ck_assert(((uint8_t *)y.p)[b] == GUARD_BYTE);
    }
    guarded_free(&y);
    problem_free(&p);
}
END_TEST

START_TEST(broken_numbers_stay_visible)
{
    enum { N = 33, K = 30, ROWS = 14 };

    for (size_t i = 0; kernels_at(i); i++) {
        struct problem p = problem_new(N, K, ROWS);
        struct gemm_out to = {.out = p.y.p, .ld = N};
        ((float *)p.x.p)[3 * K + 29] = NAN;
        ((float *)p.x.p)[13 * K] = INFINITY;
        for (size_t c = 0; c < PANEL; c++) /* infinity x 0 is NaN */
            ((float *)p.w.p)[c] = c == 5 ? 0.0f : 1.0f;
        kernels_at(i)->gemm_f32(&p.packed, p.x.p, ROWS, 0, 2, &to);
        for (size_t r = 0; r < ROWS; r++)
            for (size_t c = 0; c < N; c++) {
                float y = ((float *)p.y.p)[r * N + c];
                if (r == 3 || (r == 13 && c == 5))
                    ck_assert(isnan(y));
                else if (r != 13)
                    ck_assert(isfinite(y));
                else if (c < PANEL)
                    ck_assert(isinf(y));
            }
        problem_free(&p);
    }
}
END_TEST

START_TEST(zero_rows_write_nothing)
{
    struct problem p = problem_new(40, 8, 1);
    for (size_t i = 0; kernels_at(i); i++) {
        float y = 7.0f;
        struct gemm_out to = {.out = &y, .ld = 40};
        kernels_at(i)->gemm_f32(&p.packed, p.x.p, 0, 0, 2, &to);
        kernels_at(i)->gemm_f32(&p.packed, p.x.p, 1, 1, 1, &to);
        ck_assert(y == 7.0f);
    }
    problem_free(&p);
}
END_TEST

/* f16 weights give the very bits that their values as f32 give. */
START_TEST(halves_are_widened)
{
    enum { N = 75, K = 61, ROWS = 29 };
    struct problem p = problem_new(N, K, ROWS);
    const size_t n = 96 * K;
    struct guarded half = guarded_new(n * 2, 64), want = guarded_new(ROWS * N * 4, 4);
    struct packed_f32 halves = {.w = half.p, .n = N, .k = K, .half = true};

    for (size_t i = 0; i < n; i++) { /* subnormal ones too; beyond n NaN */
        const size_t column = i / PANEL / K * PANEL + i % PANEL;
        uint16_t h = (uint16_t)rnd();
        h = column >= N ? 0x7e00 : (h & 0x7c00) == 0x7c00 ? h ^ 0x4000 : h;
        float wide = half_to_float(h);
        memcpy((uint16_t *)half.p + i, &h, sizeof(h));
        memcpy((float *)p.w.p + i, &wide, sizeof(wide));
    }
    kernels_at(0)->gemm_f32(&p.packed, p.x.p, ROWS, 0, 3,
                            &(struct gemm_out){.out = want.p, .ld = N});
    for (size_t i = 0; kernels_at(i); i++) {
        struct gemm_out to = {.out = p.y.p, .ld = N};
        kernels_at(i)->gemm_f32(&halves, p.x.p, ROWS, 0, 3, &to);
        ck_assert_msg(memcmp(want.p, p.y.p, ROWS * N * 4) == 0, "%s differs", kernels_at(i)->name);
        guarded_check(&p.y);
        guarded_check(&half);
    }
    guarded_free(&half);
    guarded_free(&want);
    problem_free(&p);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {every_set_equals_generic,    only_its_columns_are_written,
                                  broken_numbers_stay_visible, zero_rows_write_nothing,
                                  halves_are_widened,          NULL};
    return suite_run("gemm_f32", tests, 300);
}
