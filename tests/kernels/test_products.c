/* The INT8 product: right by 64-bit integers and doubles, equal in every set, row by row whatever
 * the batch, for every group size that the model file allows. */
#include <math.h>

#include "kernels/guard.h"
#include "model/kernels/half.h"
#include "model/kernels/kernels.h"
#include "unit/suite.h"

enum kind { RANDOM, EXTREMES, ZEROS, ALIKE };

struct shape {
    size_t n, k, group, rows;
    enum kind kind;
};

struct problem {
    struct shape s;
    int8_t *w;         /* [n][k] */
    uint16_t *w_scale; /* [n][k / group] */
    struct guarded q, scale, comp;
    struct quant_rows a;
};

static int8_t integer(enum kind kind, int low)
{
    switch (kind) {
    case EXTREMES:
        return (int8_t)(rnd() % 2 ? 127 : low);
    case ALIKE: /* the longest sums there are */
        return (int8_t)low;
    case ZEROS:
        return 0;
    default:
        return (int8_t)((int)(rnd() % (uint64_t)(128 - low)) + low);
    }
}

static struct problem problem_new(const struct shape *s)
{
    const size_t groups = s->k / s->group;
    struct problem p = {.s = *s};

    p.w = malloc(s->n * s->k);
    p.w_scale = malloc(s->n * groups * sizeof(*p.w_scale));
    ck_assert(p.w && p.w_scale);
    for (size_t i = 0; i < s->n * s->k; i++)
        p.w[i] = integer(s->kind == ZEROS ? RANDOM : s->kind, -128);
    for (size_t i = 0; i < s->n * groups; i++) /* 1e-4 .. 0.1 */
        p.w_scale[i] = (uint16_t)(s->kind == ZEROS && rnd() % 2 ? 0 : 0x1000 + rnd() % 0x2800);
    p.q = guarded_new(s->rows * s->k, 1);
    p.scale = guarded_new(s->rows * groups * 4, 4);
    p.comp = guarded_new(s->rows * groups * 4, 4);
    int8_t *q = p.q.p;
    for (size_t i = 0; i < s->rows * groups; i++) {
        int32_t sum = 0;
        for (size_t k = 0; k < s->group; k++, q++) {
            *q = integer(s->kind, -127);
            sum += *q;
        }
        ((float *)p.scale.p)[i] = s->kind == ZEROS ? 0.0f : fabsf(rnd_float()) + 1e-3f;
        ((int32_t *)p.comp.p)[i] = -128 * sum;
    }
    p.a = (struct quant_rows){
        .q = p.q.p, .scale = p.scale.p, .comp = p.comp.p, .k = s->k, .group = s->group};
    return p;
}

static void problem_free(struct problem *p)
{
    free(p->w);
    free(p->w_scale);
    guarded_free(&p->q);
    guarded_free(&p->scale);
    guarded_free(&p->comp);
}

static size_t panels_of(const struct shape *s)
{
    return (s->n + PANEL - 1) / PANEL;
}

/* As kernels.h says for this packing; what lies beyond output n is rubbish. */
static struct guarded pack(const struct problem *p, const struct packing *how,
                           struct packed_i8 *ret_packed)
{
    const struct shape *s = &p->s;
    const size_t groups = s->k / s->group, block = 2 * PANEL + s->group * PANEL;
    struct guarded g = guarded_new(panels_of(s) * groups * block, 64);
    uint8_t *to = g.p;

    for (size_t i = 0; i < g.bytes; i++)
        to[i] = (uint8_t)rnd();
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->k; k++) {
            uint8_t *at = to + (i / PANEL * groups + k / s->group) * block;
            size_t in = k % s->group;
            memcpy(at + 2 * (i % PANEL), &p->w_scale[i * groups + k / s->group], 2);
            at += 2 * PANEL + in / how->step * how->step * PANEL + i % PANEL * how->step;
            at[in % how->step] = (uint8_t)(p->w[i * s->k + k] + (int)how->bias);
        }
    *ret_packed = (struct packed_i8){
        .w = g.p, .n = s->n, .k = s->k, .group = s->group, .panel_bytes = groups * block};
    return g;
}

/* Straight from the definition, in doubles. ret_size: the sum of what is added, each made positive:
 * floats are off by a share of that. */
static double right_answer(const struct problem *p, size_t r, size_t n, double *ret_size)
{
    const size_t k = p->s.k, group = p->s.group;
    double y = 0;

    *ret_size = 0;
    for (size_t g = 0; g < k / group; g++) {
        int64_t sum = 0;
        for (size_t i = g * group; i < (g + 1) * group; i++)
            sum += (int64_t)p->w[n * k + i] * p->a.q[r * k + i];
        double part = (double)sum * (double)half_to_float(p->w_scale[n * (k / group) + g]) *
                      (double)p->a.scale[r * (k / group) + g];
        y += part;
        *ret_size += fabs(part);
    }
    return y;
}

/* Checks are counted first and asserted once: Check notes each assertion in a file. */
static void check_right(const struct problem *p, const float *y)
{
    size_t wrong = 0;
    for (size_t r = 0; r < p->s.rows; r++)
        for (size_t c = 0; c < p->s.n; c++) {
            double size, right = right_answer(p, r, c, &size);
            wrong += !(fabs(right - (double)y[r * p->s.n + c]) <= 4e-6 * size);
        }
    ck_assert_uint_eq(wrong, 0);
}

static bool same(const float *a, const float *b, size_t n)
{
    size_t differ = 0;
    for (size_t i = 0; i < n; i++)
        differ += a[i] != b[i];
    return differ == 0;
}

/* Row by row, panel by panel, added to zeros: the batch must not matter. */
static void run_piecewise(const struct kernels *set, const struct problem *p,
                          const struct packed_i8 *w, float *y)
{
    const size_t groups = p->s.k / p->s.group;

    memset(y, 0, p->s.rows * p->s.n * sizeof(*y));
    for (size_t r = 0; r < p->s.rows; r++)
        for (size_t b = 0; b < panels_of(&p->s); b++) {
            struct quant_rows one = p->a;
            struct gemm_out to = {.out = y + r * p->s.n, .ld = p->s.n, .add = true};
            one.q += r * p->s.k;
            one.scale += r * groups;
            one.comp += r * groups;
            set->gemm_i8(w, &one, 1, b, b + 1, &to);
        }
}

static void check_problem(size_t n, size_t k, size_t group, size_t rows, enum kind kind)
{
    const struct shape s = {n, k, group, rows, kind};
    struct problem p = problem_new(&s);
    struct guarded y = guarded_new(rows * n * 4, 4), z = guarded_new(rows * n * 4, 4);

    for (size_t i = 0; kernels_at(i); i++) {
        const struct kernels *set = kernels_at(i);
        struct packed_i8 w;
        struct guarded packed = pack(&p, &set->pack, &w);
        const uint8_t *const runs[] = {w.w, w.w + 64, packed.p};
        /* What it fetches meanwhile changes nothing; below, it fetches nothing. */
        struct gemm_out to = {.out = i ? z.p : y.p,
                              .ld = n,
                              .prefetch = {runs, (rows + k) % 4, packed.bytes},
                              .next = w.w};

        memset(to.out, 0xFF, rows * n * 4); /* not what the set before left there */
        set->gemm_i8(&w, &p.a, rows, 0, panels_of(&s), &to);
        if (!i)
            check_right(&p, y.p);
        else
            ck_assert_msg(memcmp(y.p, z.p, rows * n * 4) == 0,
                          "%s differs: n %zu k %zu group %zu rows %zu kind %d", set->name, n, k,
                          group, rows, (int)kind);
        guarded_check(&z);
        run_piecewise(set, &p, &w, z.p);
        ck_assert_msg(same(z.p, y.p, rows * n), "%s depends on the batch", set->name);
        guarded_check(&z);
        guarded_free(&packed);
    }
    guarded_check(&y);
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
                check_problem(ns[i], group * (1 + rnd() % 4), group, rows, RANDOM);
                check_problem(ns[i], group, group, rows, rnd() % 2 ? EXTREMES : ZEROS);
            }
}
END_TEST

START_TEST(every_group_size)
{
    const size_t shapes[][2] = {/* k, group */
                                {1536, 32}, {1536, 64},  {256, 128}, {1536, 128},
                                {256, 256}, {1536, 256}, {576, 576}, {1536, 1536},
                                {288, 96},  {160, 160},  {32, 32},   {4096, 4096}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        for (size_t rows = 1; rows <= 7; rows += 2) {
            check_problem(33, shapes[i][0], shapes[i][1], rows, RANDOM);
            check_problem(5, shapes[i][0], shapes[i][1], rows, EXTREMES);
            check_problem(8, shapes[i][0], shapes[i][1], rows, ALIKE);
        }
}
END_TEST

/* Where sets go from one tile of rows to several. */
START_TEST(many_rows)
{
    const size_t rows[] = {8, 15, 16, 17, 31, 32, 33, 48, 65, 70};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t group = 32; group <= 128; group += group < 64 ? 32 : 64) {
            check_problem(40, 2 * group, group, rows[i], RANDOM);
            check_problem(33, group, group, rows[i], EXTREMES);
        }
}
END_TEST

/* A row of the longest group allowed: -128 x -127 all along is just inside 31 bits. */
START_TEST(the_longest_group_does_not_overflow)
{
    check_problem(17, GROUP_MAX, GROUP_MAX, 2, ALIKE);
    check_problem(17, GROUP_MAX, GROUP_MAX, 3, EXTREMES);
}
END_TEST

START_TEST(zero_rows_write_nothing)
{
    const struct shape s = {40, 64, 64, 1, RANDOM};
    struct problem p = problem_new(&s);
    for (size_t i = 0; kernels_at(i); i++) {
        struct packed_i8 w;
        struct guarded packed = pack(&p, &kernels_at(i)->pack, &w);
        float y = 7.0f;
        struct gemm_out to = {.out = &y, .ld = 40};
        kernels_at(i)->gemm_i8(&w, &p.a, 0, 0, 2, &to);
        kernels_at(i)->gemm_i8(&w, &p.a, 1, 1, 1, &to);
        ck_assert(y == 7.0f);
        guarded_free(&packed);
    }
    problem_free(&p);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {every_set_equals_generic,
                                  every_group_size,
                                  many_rows,
                                  the_longest_group_does_not_overflow,
                                  zero_rows_write_nothing,
                                  NULL};
    return suite_run("products", tests, 300);
}
