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
    struct linear_desc d[8];
    const char *const says[8] = {"4-bit",
                                 "groups of 40",
                                 "f32 scales",
                                 "scales and zero points",
                                 "activations with zero",
                                 "static",
                                 "dynamic per token",
                                 "blocks of 128"};
    for (size_t i = 0; i < 8; i++)
        d[i] = int8;
    d[0].w_bits = 4;
    d[1].group = 40;
    d[2].scale = SCALE_F32;
    d[3].w_zero = true;
    d[4].a_zero = true;
    d[5].act = ACT_STATIC;
    d[6].act = ACT_DYNAMIC_TOKEN;
    d[7].block_in = 128;
    for (size_t i = 0; i < 8; i++) {
        struct error err = {""};
        struct linear l;
        ck_assert_int_eq(linear_open(&l, &d[i], kernels_at(0), "blk.3.attn_q.weight", &err),
                         ST_UNSUPPORTED);
        ck_assert_msg(strstr(err.text, "blk.3.attn_q.weight") && strstr(err.text, says[i]), "%s",
                      err.text);
        linear_done(&l);
    }
}
END_TEST

START_TEST(a_packed_row_reads_back)
{
    struct linear l;
    int8_t q[128];
    uint16_t scales[2] = {f32_to_f16(0.5f), f32_to_f16(0.125f)};
    float row[128];

    ck_assert_int_eq(linear_open(&l, &int8, kernels_at(0), "x", NULL), ST_OK);
    for (size_t pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < 37; i++) {
            for (size_t k = 0; k < 128; k++)
                q[k] = (int8_t)((int)(i * 31 + k * 17) % 255 - 127);
            if (!pass) {
                linear_set_row_i8(&l, i, q, scales);
                continue;
            }
            linear_get_row(&l, i, row);
            for (size_t k = 0; k < 128; k++)
                ck_assert(row[k] == (k < 64 ? 0.5f : 0.125f) * (float)q[k]);
        }
    linear_done(&l);
}
END_TEST

/* Rotated weights times a rotated input: the plain product, within rounding. */
START_TEST(the_rotation_cancels)
{
    struct linear l;
    float x[128], w[128], y[37];
    int8_t q[128];
    uint16_t scales[2];
    _Alignas(64) int8_t xq[128];
    float xs[2];
    int32_t comp[2];
    double right[37] = {0}, norm = 0;

    ck_assert_int_eq(linear_open(&l, &int8, kernels_at(0), "x", NULL), ST_OK);
    for (size_t k = 0; k < 128; k++)
        x[k] = sinf((float)k) + (k == 70 ? 9.0f : 0.0f);
    for (size_t i = 0; i < 37; i++) {
        for (size_t k = 0; k < 128; k++) {
            w[k] = cosf((float)(k * 5 + i)) * 0.1f;
            right[i] += (double)w[k] * x[k];
        }
        kernels_at(0)->hadamard(w, 128, 64);
        kernels_at(0)->quantize(w, 128, 0, 64, q, xs, comp);
        scales[0] = f32_to_f16(xs[0]);
        scales[1] = f32_to_f16(xs[1]);
        linear_set_row_i8(&l, i, q, scales);
        norm += right[i] * right[i];
    }
    struct linear_input in = {.x = x, .q = {.q = xq, .scale = xs, .comp = comp}};
    linear_quantize_row(&l, kernels_at(0), &in, 0);
    struct gemm_out out = {.out = y, .ld = 37};
    for (unsigned worker = 0; worker < 3; worker++)
        linear_run(&l, kernels_at(0), &in, 1, &out, worker, 3);
    double off = 0;
    for (size_t i = 0; i < 37; i++)
        off += (right[i] - y[i]) * (right[i] - y[i]);
    ck_assert_double_le(off / norm, 4e-4);
    linear_done(&l);
}
END_TEST

/* Floats come back as they went in, and multiply as they should, whoever shares the outputs. */
START_TEST(floats_read_back_and_multiply)
{
    enum { N = 70, K = 45, ROWS = 3 };
    const struct linear_desc desc = {.n = N, .k = K, .w_bits = 32};
    struct linear l;
    float w[N][K], x[ROWS * K], y[ROWS * N], row[K];

    ck_assert_int_eq(linear_open(&l, &desc, kernels_at(0), "x", NULL), ST_OK);
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
        for (unsigned worker = 0; worker < 2; worker++)
            linear_run(&l, kernels_at(s), &in, ROWS, &out, worker, 2);
        for (size_t r = 0; r < ROWS; r++)
            for (size_t i = 0; i < N; i++) {
                double right = 0;
                for (size_t k = 0; k < K; k++)
                    right += (double)w[i][k] * x[r * K + k];
                ck_assert_double_le(fabs(right - y[r * N + i]), 1e-5);
            }
    }
    linear_done(&l);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {unbuilt_combinations_are_named, a_packed_row_reads_back,
                                  the_rotation_cancels, floats_read_back_and_multiply, NULL};
    return suite_run("linear", tests, 60);
}
