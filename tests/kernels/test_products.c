/* The INT8 product: right by 64-bit integers and doubles, equal in every set, row by row whatever
 * the batch. */
#include <math.h>

#include "kernels/guard.h"
#include "model/kernels/half.h"
#include "model/kernels/kernels.h"
#include "unit/suite.h"

struct problem {
    struct guarded w, q, scale, comp;
    struct packed_i8 packed;
    struct quant_rows a;
    size_t rows;
};

/* kind 0: random; 1: the extremes of both sides; 2: all-zero groups. */
static struct problem problem_new(size_t n, size_t k, size_t group, size_t rows, int kind)
{
    size_t panels = (n + PANEL - 1) / PANEL, panel = k / group * (PANEL * 2 + group * PANEL);
    struct problem p = {.rows = rows};

    p.w = guarded_new(panels * panel, 64);
    p.q = guarded_new(rows * k, 1);
    p.scale = guarded_new(rows * (k / group) * 4, 4);
    p.comp = guarded_new(rows * (k / group) * 4, 4);
    uint8_t *w = p.w.p;
    for (size_t i = 0; i < panels * (k / group); i++) {
        for (size_t c = 0; c < PANEL; c++, w += 2) {
            uint16_t h =
                (uint16_t)(kind == 2 && rnd() % 2 ? 0 : 0x1000 + rnd() % 0x2800); /* 1e-4 .. 0.1 */
            memcpy(w, &h, 2);
        }
        for (size_t c = 0; c < group * PANEL; c++)
            *w++ = (uint8_t)(kind == 1 ? (rnd() % 2 ? 255 : 0) : rnd() % 255 + 1);
    }
    int8_t *q = p.q.p;
    for (size_t r = 0; r < rows; r++)
        for (size_t g = 0; g < k / group; g++) {
            int32_t sum = 0;
            for (size_t i = 0; i < group; i++, q++) {
                *q = (int8_t)(kind == 1   ? (rnd() % 2 ? 127 : -127)
                              : kind == 2 ? 0
                                          : (int)(rnd() % 255) - 127);
                sum += *q;
            }
            ((float *)p.scale.p)[r * (k / group) + g] =
                kind == 2 ? 0.0f : fabsf(rnd_float()) + 1e-3f;
            ((int32_t *)p.comp.p)[r * (k / group) + g] = -128 * sum;
        }
    p.packed = (struct packed_i8){.w = p.w.p, .n = n, .k = k, .group = group, .panel_bytes = panel};
    p.a = (struct quant_rows){
        .q = p.q.p, .scale = p.scale.p, .comp = p.comp.p, .k = k, .group = group};
    return p;
}

static void problem_free(struct problem *p)
{
    guarded_free(&p->w);
    guarded_free(&p->q);
    guarded_free(&p->scale);
    guarded_free(&p->comp);
}

/* Straight from the definition, in doubles. */
static double right_answer(const struct problem *p, size_t r, size_t n)
{
    const struct packed_i8 *w = &p->packed;
    double y = 0;
    for (size_t g = 0; g < w->k / w->group; g++) {
        const uint8_t *at = w->w + n / PANEL * w->panel_bytes + g * (PANEL * 2 + w->group * PANEL);
        int64_t sum = 0;
        uint16_t h;
        memcpy(&h, at + 2 * (n % PANEL), 2);
        for (size_t k = 0; k < w->group; k++)
            sum += ((int64_t)at[PANEL * 2 + k / 4 * 4 * PANEL + 4 * (n % PANEL) + k % 4] - 128) *
                   p->a.q[r * w->k + g * w->group + k];
        y += (double)sum * (double)half_to_float(h) * (double)p->a.scale[r * (w->k / w->group) + g];
    }
    return y;
}

static void check_problem(size_t n, size_t k, size_t group, size_t rows, int kind)
{
    struct problem p = problem_new(n, k, group, rows, kind);
    struct guarded y = guarded_new(rows * n * 4, 4), z = guarded_new(rows * n * 4, 4);
    size_t panels = (n + PANEL - 1) / PANEL;
    struct gemm_out to = {.out = y.p, .ld = n};

    kernels_at(0)->gemm_i8(&p.packed, &p.a, rows, 0, panels, &to);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < n; c++) {
            double right = right_answer(&p, r, c), got = ((float *)y.p)[r * n + c];
            ck_assert_double_le(fabs(right - got), 1e-3 + 1e-4 * fabs(right));
        }
    for (size_t i = 0; kernels_at(i); i++) {
        const struct kernels *s = kernels_at(i);
        to = (struct gemm_out){.out = z.p, .ld = n};
        s->gemm_i8(&p.packed, &p.a, rows, 0, panels, &to);
        ck_assert_msg(memcmp(y.p, z.p, rows * n * 4) == 0,
                      "%s differs: n %zu k %zu group %zu rows %zu kind %d", s->name, n, k, group,
                      rows, kind);
        guarded_check(&z);
        /* Row by row, panel by panel: the batch must not matter. Added to what is there. */
        memset(z.p, 0, rows * n * 4);
        for (size_t r = 0; r < rows; r++)
            for (size_t b = 0; b < panels; b++) {
                struct quant_rows one = p.a;
                one.q += r * k;
                one.scale += r * (k / group);
                one.comp += r * (k / group);
                to = (struct gemm_out){.out = (float *)z.p + r * n, .ld = n, .add = true};
                s->gemm_i8(&p.packed, &one, 1, b, b + 1, &to);
            }
        for (size_t e = 0; e < rows * n; e++)
            ck_assert(((float *)z.p)[e] == ((float *)y.p)[e]);
        guarded_check(&z);
    }
    guarded_free(&y);
    guarded_free(&z);
    problem_free(&p);
}

START_TEST(every_set_equals_generic)
{
    const size_t ns[] = {1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 96, 100};
    for (size_t i = 0; i < sizeof(ns) / sizeof(ns[0]); i++)
        for (size_t rows = 1; rows <= 14; rows += rows < 8 ? 1 : 5)
            for (size_t group = 32; group <= 64; group *= 2) {
                check_problem(ns[i], group * (1 + rnd() % 4), group, rows, 0);
                check_problem(ns[i], group, group, rows, (int)(rnd() % 3));
            }
    check_problem(64, 1536, 64, 7, 1); /* the longest sums at the largest values */
    check_problem(64, 1536, 32, 7, 1);
    check_problem(33, 576, 64, 3, 2);
}
END_TEST

START_TEST(zero_rows_write_nothing)
{
    struct problem p = problem_new(40, 64, 64, 1, 0);
    for (size_t i = 0; kernels_at(i); i++) {
        float y = 7.0f;
        struct gemm_out to = {.out = &y, .ld = 40};
        kernels_at(i)->gemm_i8(&p.packed, &p.a, 0, 0, 2, &to);
        kernels_at(i)->gemm_i8(&p.packed, &p.a, 1, 1, 1, &to);
        ck_assert(y == 7.0f);
    }
    problem_free(&p);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {every_set_equals_generic, zero_rows_write_nothing, NULL};
    return suite_run("products", tests, 300);
}
