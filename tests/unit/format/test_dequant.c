/* Oracles: golden.gguf, made by the Python package gguf (make_golden.py), and ldexp in double for
 * the halves. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/format/dequant.h"
#include "model/format/gguf.h"

static uint32_t bits_of(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

/* A finite half by the book: sign * fraction * 2^exponent. */
static double half_value(unsigned h)
{
    unsigned exponent = h >> 10 & 31, fraction = h & 0x3ff;
    double mag = exponent ? ldexp(1024 + fraction, (int)exponent - 25) : ldexp(fraction, -24);

    return h & 0x8000 ? -mag : mag;
}

/* Quicker than ck_assert, which reports each success to its parent. */
static void check_bits(unsigned got, unsigned want)
{
    if (got != want)
        ck_abort_msg("got %08x, not %08x", got, want);
}

START_TEST(every_half_to_float)
{
    for (unsigned h = 0; h < 65536; h++) {
        float f = f16_to_f32((uint16_t)h);

        if ((h & 0x7c00) != 0x7c00) {
            check_bits(bits_of(f), bits_of((float)half_value(h)));
        } else if (h & 0x3ff) {
            check_bits(bits_of(f), (h & 0x8000) << 16 | 0x7fc00000 | (h & 0x3ff) << 13);
        } else {
            check_bits(bits_of(f), (h & 0x8000) << 16 | 0x7f800000);
        }
    }
}
END_TEST

START_TEST(every_half_comes_back)
{
    for (unsigned h = 0; h < 65536; h++) {
        int is_nan = (h & 0x7fff) > 0x7c00;

        check_bits(f32_to_f16(f16_to_f32((uint16_t)h)), is_nan ? h | 0x200 : h);
    }
}
END_TEST

/* Between each two neighbours lies their middle, a float too: it goes to the even one, what lies
 * beside it to the nearer one. As rounding is monotonic, this is all of rounding. The neighbour of
 * the largest is 2^16, infinity. */
START_TEST(between_halves_the_nearest_even_one)
{
    for (unsigned h = 0; h < 0x7c00; h++) {
        double next = h + 1 < 0x7c00 ? half_value(h + 1) : 65536.0;
        float middle = (float)((half_value(h) + next) / 2);
        unsigned even = h & 1 ? h + 1 : h;

        for (unsigned sign = 0; sign <= 0x8000; sign += 0x8000) {
            float s = sign ? -1.0f : 1.0f;

            check_bits(f32_to_f16(s * middle), sign | even);
            check_bits(f32_to_f16(s * nextafterf(middle, 0)), sign | h);
            check_bits(f32_to_f16(s * nextafterf(middle, INFINITY)), sign | (h + 1));
        }
    }
}
END_TEST

START_TEST(floats_far_from_any_half)
{
    float tiny = 0x1p-149f, huge = 3.4e38f, nan_low;
    uint32_t bits = 0xff800001;

    memcpy(&nan_low, &bits, sizeof(nan_low));
    ck_assert_uint_eq(f32_to_f16(tiny), 0);
    ck_assert_uint_eq(f32_to_f16(-tiny), 0x8000);
    ck_assert_uint_eq(f32_to_f16(huge), 0x7c00);
    ck_assert_uint_eq(f32_to_f16(-huge), 0xfc00);
    ck_assert_uint_eq(f32_to_f16(-INFINITY), 0xfc00);
    ck_assert_uint_eq(f32_to_f16(nan_low), 0xfe00);
}
END_TEST

static const uint32_t types[] = {GGUF_F32,  GGUF_F16,  GGUF_BF16, GGUF_I8,   GGUF_Q8_0, GGUF_Q4_0,
                                 GGUF_Q4_1, GGUF_Q5_0, GGUF_Q5_1, GGUF_Q4_K, GGUF_Q5_K, GGUF_Q6_K};

START_TEST(equals_the_reference)
{
    uint32_t type = types[_i];
    char name[32];
    struct error err;
    struct gguf *g;
    ck_assert_msg(gguf_open("tests/unit/format/golden.gguf", NULL, &g, &err) == ST_OK, "%s",
                  err.text);
    const struct gguf_tensor *raw = gguf_find(g, gguf_type_name(type));
    snprintf(name, sizeof(name), "%s.f32", gguf_type_name(type));
    const struct gguf_tensor *wanted = gguf_find(g, name);
    ck_assert(raw && wanted && raw->type == type && wanted->type == GGUF_F32 &&
              raw->n_elems == wanted->n_elems);

    /* An exact copy at an odd address: any alignment goes, and the sanitizer sees a byte too far.
     */
    uint8_t *src = malloc(raw->n_bytes + 1);
    float *got = malloc(raw->n_elems * sizeof(*got));
    ck_assert(src && got);
    memcpy(src + 1, raw->data, raw->n_bytes);
    dequant_row(type, src + 1, got, raw->n_elems);
    for (size_t i = 0; i < raw->n_elems; i++) {
        float want;

        memcpy(&want, (const uint8_t *)wanted->data + i * sizeof(want), sizeof(want));
        ck_assert_msg(isnan(want) ? isnan(got[i]) : bits_of(want) == bits_of(got[i]),
                      "%s element %zu: %a, not %a", gguf_type_name(type), i, (double)got[i],
                      (double)want);
    }
    dequant_row(type, src + 1, got, 0);
    free(src);
    free(got);
    gguf_close(g);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dequant");
    TCase *tc = tcase_create("dequant");

    tcase_add_test(tc, every_half_to_float);
    tcase_add_test(tc, every_half_comes_back);
    tcase_add_test(tc, between_halves_the_nearest_even_one);
    tcase_add_test(tc, floats_far_from_any_half);
    tcase_add_loop_test(tc, equals_the_reference, 0, sizeof(types) / sizeof(*types));
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
