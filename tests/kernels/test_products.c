/* The integer product: right by 64-bit integers and doubles, equal in every set, row by row whatever
 * the batch, for every group size and form of weights that the model file allows. */
#include <math.h>

#include "kernels/guard.h"
#include "model/kernels/half.h"
#include "model/kernels/kernels.h"
#include "unit/suite.h"

enum kind { RANDOM, EXTREMES, ZEROS, ALIKE };

/* Flags: 4-bit weights; f32 scales and zero points of the weights; zero points of the rows too. */
enum form { PLAIN = 0, NIBBLES = 1, WIDE = 2, ZERO_A = 4 };

struct shape {
    size_t n, k, group, rows;
    enum kind kind;
    unsigned form;
};

struct problem {
    struct shape s;
    int8_t *w;      /* [n][k] */
    float *w_scale; /* [n][k / group]; each is an f16 too */
    int *w_zero;    /* [n][k / group] */
    struct guarded q, scale, comp, zero;
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

/* Weights: the whole range of their bits. */
static void new_weights(struct problem *p)
{
    const struct shape *s = &p->s;
    const size_t groups = s->n * (s->k / s->group);
    const int top = s->form & NIBBLES ? 8 : 128;

    p->w = malloc(s->n * s->k);
    p->w_scale = malloc(groups * sizeof(*p->w_scale));
    p->w_zero = calloc(groups, sizeof(*p->w_zero));
    ck_assert(p->w && p->w_scale && p->w_zero);
    for (size_t i = 0; i < s->n * s->k; i++) {
        int w = integer(s->kind == ZEROS ? RANDOM : s->kind, -128);
        p->w[i] = (int8_t)(top == 8 ? w >> 4 : w);
    }
    for (size_t i = 0; i < groups; i++) { /* 1e-4 .. 0.1 */
        bool none = s->kind == ZEROS && rnd() % 2;
        p->w_scale[i] = half_to_float((uint16_t)(none ? 0 : 0x1000 + rnd() % 0x2800));
        if (s->form & WIDE)
            p->w_zero[i] = s->kind == ALIKE ? top - 1 : (int)(rnd() % (2u * (unsigned)top)) - top;
    }
}

static struct problem problem_new(const struct shape *s)
{
    const size_t groups = s->k / s->group;
    struct problem p = {.s = *s};

    new_weights(&p);
    p.q = guarded_new(s->rows * s->k, 1);
    p.scale = guarded_new(s->rows * groups * 4, 4);
    p.comp = guarded_new(s->rows * groups * 4, 4);
    p.zero = guarded_new(s->rows * groups * 4, 4);
    int8_t *q = p.q.p;
    for (size_t i = 0; i < s->rows * groups; i++) {
        int32_t sum = 0;
        for (size_t k = 0; k < s->group; k++, q++) {
            *q = integer(s->kind, s->form & ZERO_A ? -128 : -127);
            sum += *q;
        }
        ((float *)p.scale.p)[i] = s->kind == ZEROS ? 0.0f : fabsf(rnd_float()) + 1e-3f;
        ((int32_t *)p.comp.p)[i] = -128 * sum;
        ((int32_t *)p.zero.p)[i] = s->form & ZERO_A ? (int32_t)(rnd() % 256) - 127 : 0;
    }
    p.a = (struct quant_rows){.q = p.q.p,
                              .scale = p.scale.p,
                              .comp = p.comp.p,
                              .zero = s->form & ZERO_A ? p.zero.p : NULL,
                              .k = s->k,
                              .group = s->group};
    return p;
}

static void problem_free(struct problem *p)
{
    free(p->w);
    free(p->w_scale);
    free(p->w_zero);
    guarded_free(&p->q);
    guarded_free(&p->scale);
    guarded_free(&p->comp);
    guarded_free(&p->zero);
}

static size_t panels_of(const struct shape *s)
{
    return (s->n + PANEL - 1) / PANEL;
}

/* Output i's column of the head of group g. */
static void put_head(const struct problem *p, size_t i, size_t g, const struct packing *how,
                     uint8_t *head)
{
    const size_t c = i % PANEL, at = i * (p->s.k / p->s.group) + g;
    const bool nibbles = p->s.form & NIBBLES;
    const int32_t bias = how->bias ? nibbles ? 8 : 128 : 0, z = p->w_zero[at] + bias;
    int32_t sum = 0;

    if (!(p->s.form & WIDE)) {
        uint16_t half = 0; /* the one that it came from */
        while (half_to_float(half) != p->w_scale[at])
            half++;
        memcpy(head + 2 * c, &half, 2);
        return;
    }
    for (size_t k = 0; k < p->s.group; k++)
        sum += p->w[i * p->s.k + g * p->s.group + k] - p->w_zero[at];
    memcpy(head + 4 * c, &p->w_scale[at], 4);
    memcpy(head + 4 * (PANEL + c), &z, 4);
    memcpy(head + 4 * (2 * PANEL + c), &sum, 4);
}

static void put_weight(uint8_t *bytes, size_t c, size_t k, int w, const struct packing *how)
{
    bytes[k / how->step * how->step * PANEL + c * how->step + k % how->step] =
        (uint8_t)(w + (int)how->bias);
}

static void put_nibble(uint8_t *bytes, size_t c, size_t k, int w)
{
    uint8_t *at = bytes + k / 8 * 4 * PANEL + 4 * c + k % 4;
    *at = (uint8_t)(k % 8 < 4 ? (*at & 0xF0) | (w + 8) : (*at & 0x0F) | (w + 8) << 4);
}

/* As kernels.h says for this packing; what lies beyond output n is rubbish. */
static struct guarded pack(const struct problem *p, const struct packing *how,
                           struct packed_i8 *ret_packed)
{
    const struct shape *s = &p->s;
    const bool nibbles = s->form & NIBBLES, wide = s->form & WIDE;
    const size_t groups = s->k / s->group, head = PANEL * (wide ? 12 : 2),
                 block = head + s->group * PANEL / (nibbles ? 2 : 1);
    struct guarded g = guarded_new(panels_of(s) * groups * block, 64);
    uint8_t *to = g.p;

    for (size_t i = 0; i < g.bytes; i++)
        to[i] = (uint8_t)rnd();
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->k; k++) {
            uint8_t *at = to + (i / PANEL * groups + k / s->group) * block;
            size_t in = k % s->group;
            if (in == 0)
                put_head(p, i, k / s->group, how, at);
            if (nibbles)
                put_nibble(at + head, i % PANEL, in, p->w[i * s->k + k]);
            else
                put_weight(at + head, i % PANEL, in, p->w[i * s->k + k], how);
        }
    *ret_packed = (struct packed_i8){.w = g.p,
                                     .n = s->n,
                                     .k = s->k,
                                     .group = s->group,
                                     .panel_bytes = groups * block,
                                     .nibbles = nibbles,
                                     .wide = wide};
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
        const size_t at = n * (k / group) + g;
        int32_t zero = p->a.zero ? p->a.zero[r * (k / group) + g] : 0;
        int64_t sum = 0;
        for (size_t i = g * group; i < (g + 1) * group; i++)
            sum += (int64_t)(p->w[n * k + i] - p->w_zero[at]) * (p->a.q[r * k + i] + zero);
        double part =
            (double)sum * (double)p->w_scale[at] * (double)p->a.scale[r * (k / group) + g];
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
            if (one.zero)
                one.zero += r * groups;
            set->gemm_i8(w, &one, 1, b, b + 1, &to);
        }
}

static void check_form(unsigned form, size_t n, size_t k, size_t group, size_t rows, enum kind kind)
{
    const struct shape s = {n, k, group, rows, kind, form};
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
                          "%s differs: n %zu k %zu group %zu rows %zu kind %d form %u", set->name,
                          n, k, group, rows, (int)kind, form);
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

static void check_problem(size_t n, size_t k, size_t group, size_t rows, enum kind kind)
{
    check_form(PLAIN, n, k, group, rows, kind);
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

START_TEST(nibbles_in_every_group)
{
    const size_t groups[] = {32, 64, 96, 128, 192, 256}, ns[] = {1, 17, 32, 33, 100};
    for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
        for (size_t i = 0; i < sizeof(ns) / sizeof(ns[0]); i++)
            for (size_t rows = 1; rows <= 14; rows += rows < 8 ? 1 : 5) {
                unsigned form = rows % 2 ? NIBBLES : NIBBLES | WIDE | (i % 2 ? ZERO_A : 0);
                check_form(form, ns[i], groups[g] * (1 + i % 3), groups[g], rows, RANDOM);
                check_form(form, 8, groups[g], groups[g], rows,
                           (enum kind[]){EXTREMES, ZEROS, ALIKE}[i % 3]);
            }
}
END_TEST

START_TEST(zero_points_of_either_side)
{
    const size_t groups[] = {32, 64, 128, 576}, ns[] = {1, 31, 32, 40, 100};
    for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
        for (size_t i = 0; i < sizeof(ns) / sizeof(ns[0]); i++)
            for (size_t rows = 1; rows <= 14; rows += rows < 8 ? 1 : 5) {
                unsigned form = WIDE | (rows % 2 ? ZERO_A : 0);
                check_form(form, ns[i], groups[g] * (1 + i % 3), groups[g], rows, RANDOM);
                check_form(form, 8, groups[g], groups[g], rows,
                           (enum kind[]){EXTREMES, ZEROS, ALIKE}[i % 3]);
            }
    check_form(WIDE, 17, GROUP_MAX, GROUP_MAX, 2, ALIKE);
    check_form(WIDE | ZERO_A, 17, GROUP_MAX / 2, GROUP_MAX / 2, 2, ALIKE);
}
END_TEST

START_TEST(zero_rows_write_nothing)
{
    const struct shape s = {40, 64, 64, 1, RANDOM, PLAIN};
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
                                  nibbles_in_every_group,
                                  zero_points_of_either_side,
                                  zero_rows_write_nothing,
                                  NULL};
    return suite_run("products", tests, 300);
}
