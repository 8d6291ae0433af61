#include "model/net/linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/format/dequant.h"
#include "unit/suite.h"

static const struct linear_desc int8 = {.n = 37,
                                        .k = 128,
                                        .w_bits = 8,
                                        .group = 64,
                                        .scale = SCALE_F16,
                                        .act = ACT_DYNAMIC_GROUP,
                                        .block_in = 64,
                                        .online = true};

/* What is not built is refused by name, never run some other way. */
START_TEST(unbuilt_combinations_are_named)
{
    struct linear_desc d[9];
    const char *const says[9] = {"16-bit",
                                 "groups of 40",
                                 "no scales",
                                 "groups of 512",
                                 "in groups of 96",
                                 "static activations in groups of 48",
                                 "float activations",
                                 "blocks of 128",
                                 "blocks of 64, in rows of 96"};
    for (size_t i = 0; i < 9; i++)
        d[i] = int8;
    d[0].w_bits = 16;
    d[1].group = 40;
    d[2].scale = SCALE_NONE;
    d[3].w_bits = 4;
    d[3].group = d[3].k = 512;
    d[4].act_group = 96;
    d[5].act = ACT_STATIC;
    d[5].act_group = 48;
    d[6].act = ACT_FLOAT;
    d[7].block_in = 128;
    d[8].group = d[8].k = 96;
    for (size_t i = 0; i < 9; i++) {
        struct error err = {""};
        struct linear l;
        struct arena arena = {0};
        ck_assert_int_eq(linear_open(&l, &d[i], kernels_at(0), &arena, "blk.3.attn_q.weight", &err),
                         ST_UNSUPPORTED);
        ck_assert_msg(strstr(err.text, "blk.3.attn_q.weight") && strstr(err.text, says[i]), "%s",
                      err.text);
        arena_done(&arena);
    }
}
END_TEST

/* What set_row writes lies where kernels.h says and reads back, whatever the packing and group. */
static void check_packing(struct packing how, uint32_t group)
{
    const struct kernels set = {.pack = how};
    struct linear_desc desc = int8;
    struct linear l;
    struct arena arena;
    int8_t q[37][256];
    float scales[8];
    float row[256];

    desc.k = 256;
    desc.block_in = 32;
    desc.group = group;
    ck_assert_int_eq(arena_open(&arena, 1 << 20), ST_OK);
    ck_assert_int_eq(linear_open(&l, &desc, &set, &arena, "x", NULL), ST_OK);
    for (size_t i = 0; i < 37; i++) {
        for (size_t k = 0; k < 256; k++)
            q[i][k] = (int8_t)((int)(i * 31 + k * 17) % 256 - 128);
        for (size_t g = 0; g < 256 / group; g++)
            scales[g] = f16_to_f32(f32_to_f16(1.0f / (float)(1 + g)));
        linear_set_row(&l, i, &(struct quant_row){q[i], scales, NULL});
    }
    for (size_t i = 0; i < 37; i++) {
        linear_get_row(&l, i, row);
        const uint8_t *panel = l.packed.w + i / PANEL * l.packed.panel_bytes;
        size_t wrong = 0;
        for (size_t k = 0; k < 256; k++) {
            const uint8_t *at = panel + k / group * (2 * PANEL + group * PANEL) + 2 * PANEL;
            at += k % group / how.step * how.step * PANEL + i % PANEL * how.step + k % how.step;
            wrong += *at != (uint8_t)(q[i][k] + (int)how.bias);
            wrong += row[k] != f16_to_f32(f32_to_f16(1.0f / (float)(1 + k / group))) * q[i][k];
        }
        ck_assert_uint_eq(wrong, 0);
    }
    arena_done(&arena);
}

START_TEST(a_packed_row_reads_back)
{
    for (uint32_t group = 32; group <= 256; group *= 2) {
        check_packing((struct packing){4, 128}, group);
        check_packing((struct packing){4, 0}, group);
        check_packing((struct packing){8, 0}, group);
    }
}
END_TEST

/* Rotated weights times a rotated input: the plain product, within rounding. */
static void check_rotation(const struct kernels *set, uint32_t group, float *y)
{
    struct linear_desc desc = int8;
    struct linear l;
    struct arena arena;
    float x[128], w[128], xs[4];
    int8_t q[128];
    _Alignas(64) int8_t xq[128];
    int32_t comp[4];
    double right[37] = {0}, norm = 0, off = 0;

    desc.group = group;
    ck_assert_int_eq(arena_open(&arena, 1 << 20), ST_OK);
    ck_assert_int_eq(linear_open(&l, &desc, set, &arena, "x", NULL), ST_OK);
    for (size_t k = 0; k < 128; k++)
        x[k] = sinf((float)k) + (k == 70 ? 9.0f : 0.0f);
    for (size_t i = 0; i < 37; i++) {
        for (size_t k = 0; k < 128; k++) {
            w[k] = cosf((float)(k * 5 + i)) * 0.1f;
            right[i] += (double)w[k] * x[k];
        }
        set->hadamard(w, 128, 64);
        set->quantize(w, 128, 0, group, q, xs, comp);
        for (size_t g = 0; g < 128 / group; g++)
            xs[g] = f16_to_f32(f32_to_f16(xs[g]));
        linear_set_row(&l, i, &(struct quant_row){q, xs, NULL});
        norm += right[i] * right[i];
    }
    struct linear_input in = {.q = {.q = xq, .scale = xs, .comp = comp}};
    linear_quantize(&l, set, x, &in, 0, 0, 128);
    struct gemm_out out = {.out = y, .ld = 37};
    for (unsigned worker = 0; worker < 3; worker++) {
        struct share share = {0, 1, worker, 3};
        linear_run(&l, set, &in, &share, &out);
    }
    for (size_t i = 0; i < 37; i++)
        off += (right[i] - y[i]) * (right[i] - y[i]);
    ck_assert_double_le(off / norm, 4e-4);
    arena_done(&arena);
}

START_TEST(the_rotation_cancels)
{
    for (uint32_t group = 64; group <= 128; group *= 2)
        for (size_t i = 0; kernels_at(i); i++) {
            float want[37], y[37];
            check_rotation(kernels_at(0), group, want);
            check_rotation(kernels_at(i), group, y);
            ck_assert(memcmp(y, want, sizeof(y)) == 0);
        }
}
END_TEST

enum { FORM_N = 37, FORM_K = 384, FORM_ROWS = 3 };

/* What a form's product is checked against: the weights and the inputs that its integers mean. */
struct form_problem {
    struct linear_desc desc;
    int8_t q[FORM_N][FORM_K], zeros[FORM_N][FORM_K / 32];
    float scales[FORM_N][FORM_K / 32], x[FORM_ROWS][FORM_K];
    size_t n_steps; /* static activations: 1 or FORM_K */
    float steps[FORM_K], points[FORM_K];
};

static void form_fill(struct form_problem *p, const struct linear_desc *desc)
{
    const size_t group = desc->group;
    const int top = desc->w_bits == 4 ? 8 : 128;

    p->desc = *desc;
    for (size_t i = 0; i < FORM_N; i++) {
        for (size_t k = 0; k < FORM_K; k++)
            p->q[i][k] = (int8_t)((int)((i * 31 + k * 17 + k / 7) % (2 * (size_t)top)) - top);
        for (size_t g = 0; g < FORM_K / group; g++) {
            p->scales[i][g] = f16_to_f32(f32_to_f16(0.01f / (float)(1 + g + i)));
            p->zeros[i][g] =
                (int8_t)(desc->w_zero ? (int)((i * 5 + g) % (size_t)top) - top / 2 : 0);
        }
    }
    for (size_t r = 0; r < FORM_ROWS; r++)
        for (size_t k = 0; k < FORM_K; k++)
            p->x[r][k] = sinf((float)(r * FORM_K + k)) * (k % 50 == 9 ? 20.0f : 1.0f) + 0.4f;
}

/* Too small for the largest inputs, which are cut then. */
static void form_steps(struct form_problem *p, size_t n)
{
    p->n_steps = n;
    for (size_t k = 0; k < FORM_K; k++) {
        p->steps[k] = n == 1 ? 0.03f : 0.005f * (float)(1 + k % 13);
        p->points[k] = !p->desc.a_zero ? 0.0f : n == 1 ? -128.0f : (float)(int)(k % 200) - 100.0f;
    }
}

static float form_weight(const struct form_problem *p, size_t i, size_t k)
{
    size_t g = k / p->desc.group;
    return p->scales[i][g] * (float)(p->q[i][k] - p->zeros[i][g]);
}

/* Static: input k of row r as its integer has it, where all have the largest step; that integer is the
 * next one to it. */
static double form_static(const struct form_problem *p, int8_t q, float x, size_t k, size_t *wrong)
{
    const double largest = p->n_steps == 1 ? 0.03 : 0.005 * 13, step = (double)p->steps[k];
    double zero = (double)p->points[k], low = p->desc.a_zero ? -128.0 : -127.0;
    double want = (double)x < step * (low - zero)     ? step * (low - zero)
                  : (double)x > step * (127.0 - zero) ? step * (127.0 - zero)
                                                      : (double)x;

    *wrong += !(fabs(step * (q - zero) - want) <= step * 0.5001);
    return largest * (q - zero);
}

/* Inputs within half a step of what they were, outputs what those inputs and weights give. */
static size_t form_wrong(const struct form_problem *p, const struct quant_rows *q, size_t group,
                         const float *y)
{
    size_t wrong = 0;

    for (size_t r = 0; r < FORM_ROWS; r++) {
        double x[FORM_K];
        for (size_t k = 0; k < FORM_K; k++) {
            size_t at = r * FORM_K + k, g = at / group;
            double step = (double)q->scale[g];
            x[k] = step * (q->q[at] + (p->desc.a_zero ? q->zero[g] : 0));
            if (p->desc.act == ACT_STATIC)
                x[k] = form_static(p, q->q[at], p->x[r][k], k, &wrong);
            else
                wrong += !(fabs(x[k] - (double)p->x[r][k]) <= step * 0.5001);
        }
        for (size_t i = 0; i < FORM_N; i++) {
            double right = 0, size = 0;
            for (size_t k = 0; k < FORM_K; k++) {
                right += x[k] * (double)form_weight(p, i, k);
                size += fabs(x[k] * (double)form_weight(p, i, k));
            }
            wrong += !(fabs(right - (double)y[r * FORM_N + i]) <= 1e-5 * size);
        }
    }
    return wrong;
}

static void form_run(const struct kernels *set, const struct form_problem *p, float *y)
{
    _Alignas(64) static int8_t xq[FORM_ROWS * FORM_K];
    static float scale[FORM_ROWS * FORM_K / 32], row[FORM_K];
    static int32_t comp[FORM_ROWS * FORM_K / 32], zero[FORM_ROWS * FORM_K / 32];
    const struct linear_input in = {.q = {xq, scale, comp, zero, FORM_K, 0}};
    struct linear l;
    struct arena arena;
    size_t wrong = 0;

    ck_assert_int_eq(arena_open(&arena, 1 << 20), ST_OK);
    ck_assert_int_eq(linear_open(&l, &p->desc, set, &arena, "x", NULL), ST_OK);
    if (p->desc.act == ACT_STATIC)
        linear_set_steps(&l, p->steps, p->desc.a_zero ? p->points : NULL, p->n_steps);
    for (size_t i = 0; i < FORM_N; i++) {
        struct quant_row from = {(int8_t *)p->q[i], (float *)p->scales[i], (int8_t *)p->zeros[i]};
        linear_set_row(&l, i, &from);
    }
    for (size_t i = 0; i < FORM_N; i++) {
        linear_get_row(&l, i, row);
        for (size_t k = 0; k < FORM_K; k++)
            wrong += row[k] != form_weight(p, i, k);
    }
    for (size_t r = 0; r < FORM_ROWS; r++) {
        memcpy(row, p->x[r], sizeof(row));
        linear_quantize(&l, set, row, &in, r, 0, FORM_K);
    }
    linear_run(&l, set, &in, &(struct share){0, FORM_ROWS, 0, 1},
               &(struct gemm_out){.out = y, .ld = FORM_N});
    wrong += form_wrong(p, &in.q, l.packed.group, y);
    ck_assert_msg(wrong == 0, "%s: %zu wrong, %u bits, groups of %u and %u", set->name, wrong,
                  p->desc.w_bits, p->desc.group, p->desc.act_group);
    arena_done(&arena);
}

/* Every form of weights and activations in every set: read back, right, and alike. */
START_TEST(every_form_multiplies)
{
    static struct form_problem p;
    const uint32_t groups[][2] = {{32, 0},   {64, 0},  {64, FORM_K}, {FORM_K, 0}, {FORM_K, 64},
                                  {128, 32}, {96, 64}, {32, FORM_K}, {64, 128}};
    for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
        for (unsigned f = 0; f < 48; f++) {
            struct linear_desc desc = {.n = FORM_N,
                                       .k = FORM_K,
                                       .w_bits = f & 1 ? 4 : 8,
                                       .group = groups[g][0],
                                       .scale = f & 2 ? SCALE_F32 : SCALE_F16,
                                       .w_zero = f & 4,
                                       .a_zero = f & 8,
                                       .act = f < 16 ? ACT_DYNAMIC_GROUP : ACT_STATIC,
                                       .act_group = groups[g][1]};
            float want[FORM_ROWS * FORM_N], y[FORM_ROWS * FORM_N];
            if ((desc.w_bits == 4 && desc.group > NIBBLE_GROUP_MAX) ||
                (desc.act == ACT_STATIC && desc.act_group))
                continue;
            form_fill(&p, &desc);
            form_steps(&p, f < 32 ? 1 : FORM_K);
            form_run(kernels_at(0), &p, want);
            for (size_t i = 1; kernels_at(i); i++) {
                form_run(kernels_at(i), &p, y);
                ck_assert(memcmp(y, want, sizeof(y)) == 0);
            }
        }
}
END_TEST

enum { MIX_K = 192, MIX_ROWS = 5, MIX_N = 256 };

/* Parts of 8 and 4 bits and of floats, 128, 64 and 64 outputs: the last two take turns of 32. */
static void mix_open(struct linear_part parts[3], const struct kernels *set, struct arena *arena)
{
    struct linear_desc d[3] = {{.n = 128, .w_bits = 8, .group = 64, .scale = SCALE_F16},
                               {.n = 64, .w_bits = 4, .group = 96, .scale = SCALE_F32},
                               {.n = 64, .w_bits = 16}};
    int8_t q[MIX_K], zeros[6] = {0};
    float scales[6], w[MIX_K];

    for (size_t p = 0; p < 3; p++) {
        d[p].k = MIX_K;
        d[p].in_group = 32;
        if (p < 2) {
            d[p].act = ACT_DYNAMIC_GROUP;
            d[p].act_group = 64;
            d[p].block_in = 64;
            d[p].online = true;
        }
        ck_assert_int_eq(linear_open(&parts[p].linear, &d[p], set, arena, "x", NULL), ST_OK);
        for (size_t i = 0; i < d[p].n; i++) {
            for (size_t k = 0; k < MIX_K; k++) {
                q[k] = (int8_t)((int)(i * 7 + k * 5 + p) % 15 - 7);
                w[k] = (float)q[k] / 8.0f;
            }
            for (size_t g = 0; g < 6; g++)
                scales[g] = 1.0f / (float)(1 + g);
            if (p < 2)
                linear_set_row(&parts[p].linear, i, &(struct quant_row){q, scales, zeros});
            else
                linear_set_row_f32(&parts[p].linear, i, w);
        }
    }
    parts[0].unit = parts[0].step = 128;
    parts[1].at = 128;
    parts[2].at = 160;
    parts[1].unit = parts[2].unit = 32;
    parts[1].step = parts[2].step = 64;
}

/* y as each part by itself gives it, put where the whole has it. */
static void mix_apart(const struct linear_part *parts, const struct kernels *set,
                      const struct linear_input *in, float *y)
{
    float own[MIX_ROWS * 128];

    for (size_t p = 0; p < 3; p++) {
        const size_t n = parts[p].linear.desc.n;
        linear_run(&parts[p].linear, set, in, &(struct share){0, MIX_ROWS, 0, 1},
                   &(struct gemm_out){.out = own, .ld = n});
        for (size_t r = 0; r < MIX_ROWS; r++)
            for (size_t i = 0; i < n; i++)
                y[r * MIX_N + parts[p].at + i / parts[p].unit * parts[p].step + i % parts[p].unit] =
                    own[r * n + i];
    }
}

/* A layer of parts that are stored unlike: each output is its part's, whoever shares them; integers
 * read integers, floats the floats that came. */
START_TEST(parts_make_one_layer)
{
    for (size_t s = 0; kernels_at(s); s++) {
        const struct kernels *set = kernels_at(s);
        float x[MIX_ROWS * MIX_K], floats[MIX_ROWS * MIX_K], row[MIX_K], scale[MIX_ROWS * 6];
        float want[MIX_ROWS * MIX_N], y[MIX_ROWS * MIX_N];
        _Alignas(64) int8_t xq[MIX_ROWS * MIX_K];
        int32_t comp[MIX_ROWS * 6], zero[MIX_ROWS * 6];
        struct linear_input in = {.x = floats, .q = {xq, scale, comp, zero, MIX_K, 0}};
        struct linear_part parts[3];
        struct linear l;
        struct arena arena;

        ck_assert_int_eq(arena_open(&arena, 1 << 20), ST_OK);
        mix_open(parts, set, &arena);
        linear_join(&l, parts, 3, MIX_N);
        ck_assert_uint_eq(linear_bytes(&l), arena.used);
        for (size_t i = 0; i < MIX_ROWS * MIX_K; i++)
            x[i] = sinf((float)i * 0.7f);
        for (size_t r = 0; r < MIX_ROWS; r++) {
            float *at = linear_stage(&l, &in, row, r, 0);
            memcpy(at, x + r * MIX_K, sizeof(row));
            linear_quantize(&l, set, at, &in, r, 0, MIX_K);
        }
        ck_assert(memcmp(floats, x, sizeof(x)) == 0);
        mix_apart(parts, set, &in, want);
        for (unsigned n_cols = 1; n_cols <= 9; n_cols++) {
            memset(y, 0, sizeof(y));
            for (unsigned col = 0; col < n_cols; col++) {
                linear_run(&l, set, &in, &(struct share){0, 2, col, n_cols},
                           &(struct gemm_out){.out = y, .ld = MIX_N});
                linear_run(&l, set, &in, &(struct share){2, MIX_ROWS, col, n_cols},
                           &(struct gemm_out){.out = y, .ld = MIX_N});
            }
            ck_assert_msg(memcmp(y, want, sizeof(y)) == 0, "%s, %u shares", set->name, n_cols);
        }
        arena_done(&arena);
    }
}
END_TEST

/* Floats come back as they went in, and multiply as they should, whoever shares the outputs. */
START_TEST(floats_read_back_and_multiply)
{
    enum { N = 70, K = 45, ROWS = 3 };
    const struct linear_desc desc = {.n = N, .k = K, .w_bits = 32};
    struct linear l;
    struct arena arena;
    float w[N][K], x[ROWS * K], y[ROWS * N], row[K];

    ck_assert_int_eq(arena_open(&arena, 1 << 20), ST_OK);
    ck_assert_int_eq(linear_open(&l, &desc, kernels_at(0), &arena, "x", NULL), ST_OK);
    ck_assert_uint_eq(linear_bytes(&l), 96 * K * sizeof(float));
    for (size_t i = 0; i < N; i++) {
        for (size_t k = 0; k < K; k++)
            w[i][k] = cosf((float)(i * K + k));
        linear_set_row_f32(&l, i, w[i]);
    }
    for (size_t i = 0; i < N; i++) {
        linear_get_row(&l, i, row);
        ck_assert(memcmp(row, w[i], sizeof(row)) == 0);
    }
    for (size_t i = 0; i < ROWS * K; i++)
        x[i] = sinf((float)i);
    const struct linear_input in = {.x = x};
    const struct gemm_out out = {.out = y, .ld = N};
    for (size_t s = 0; kernels_at(s); s++) {
        memset(y, 0, sizeof(y));
        for (unsigned col = 0; col < 2; col++) {
            linear_run(&l, kernels_at(s), &in, &(struct share){0, 1, col, 2}, &out);
            linear_run(&l, kernels_at(s), &in, &(struct share){1, ROWS, col, 2}, &out);
        }
        for (size_t r = 0; r < ROWS; r++)
            for (size_t i = 0; i < N; i++) {
                double right = 0;
                for (size_t k = 0; k < K; k++)
                    right += (double)w[i][k] * x[r * K + k];
                ck_assert_double_le(fabs(right - y[r * N + i]), 1e-5);
            }
    }
    arena_done(&arena);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {unbuilt_combinations_are_named,
                                  a_packed_row_reads_back,
                                  the_rotation_cancels,
                                  every_form_multiplies,
                                  floats_read_back_and_multiply,
                                  parts_make_one_layer,
                                  NULL};
    return suite_run("linear", tests, 60);
}
