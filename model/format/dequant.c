#include "model/format/dequant.h"

#include <assert.h>
#include <string.h>

#include "model/format/gguf.h"

/* Block layouts, in bytes. Integers are little-endian, d and m are f16.
 *
 *   Q4_0  d 2, nibbles 16                    x = d (q - 8)
 *   Q4_1  d 2, m 2, nibbles 16               x = d q + m
 *   Q5_0  d 2, fifth bits 4, nibbles 16      x = d (q - 16)
 *   Q5_1  d 2, m 2, fifth bits 4, nibbles 16 x = d q + m
 *   Q8_0  d 2, q 32                          x = d q
 *   Q4_K  d 2, m 2, sixes 12, nibbles 128            x = (d scale) q - (m min), 8 parts of 32
 *   Q5_K  d 2, m 2, sixes 12, fifth bits 32, nibbles 128
 *   Q6_K  nibbles 128, upper bits 64, scales 16, d 2 x = (d scale) (q - 32), 16 parts of 16
 *
 * The order of the float operations is part of the contract: each one rounds. */
enum { SMALL = 32, SUPER = 256 };

static uint16_t load_u16(const uint8_t *at)
{
    uint16_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static uint32_t load_u32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static float load_f16(const uint8_t *at)
{
    return f16_to_f32(load_u16(at));
}

static float bits_to_float(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

/* ---- floats of half the width ---- */

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 0x3ff;

    if (exponent == 0) { /* zero and denormals: fraction * 2^-24 is exact */
        float f = (float)fraction * 0x1p-24f;
        return sign ? -f : f;
    }
    if (exponent == 31) /* a NaN is made quiet, as hardware does */
        return bits_to_float(sign | 0x7f800000 | (fraction ? 0x400000 : 0) | fraction << 13);
    return bits_to_float(sign | (exponent + 127 - 15) << 23 | fraction << 13);
}

uint16_t f32_to_f16(float f)
{
    uint32_t bits, sign, mag, out;

    memcpy(&bits, &f, sizeof(bits));
    sign = bits >> 16 & 0x8000;
    mag = bits & 0x7fffffff;
    if (mag > 0x7f800000) { /* NaN */
        out = 0x7e00 | (mag >> 13 & 0x3ff);
    } else if (mag >= 0x477ff000) { /* 65520, half way beyond the largest, and more */
        out = 0x7c00;
    } else if (mag >= 0x38800000) { /* 2^-14, the least normal, and more */
        out = (mag + 0xfff + (mag >> 13 & 1) - ((127 - 15) << 23)) >> 13;
    } else if (mag > 0x33000000) {
        /* Beyond 2^-25, which is half of the least denormal: count units of 2^-24. */
        uint32_t fraction = (mag & 0x7fffff) | 0x800000, shift = 126 - (mag >> 23);
        uint32_t rest = fraction & ((1u << shift) - 1), half = 1u << (shift - 1);

        out = fraction >> shift;
        out += rest > half || (rest == half && (out & 1));
    } else {
        out = 0;
    }
    return (uint16_t)(sign | out);
}

static void dequant_f32(const uint8_t *src, float *dst, size_t n)
{
    memcpy(dst, src, n * sizeof(*dst));
}

static void dequant_f16(const uint8_t *src, float *dst, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = load_f16(src + 2 * i);
}

static void dequant_bf16(const uint8_t *src, float *dst, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = bits_to_float((uint32_t)load_u16(src + 2 * i) << 16);
}

static void dequant_i8(const uint8_t *src, float *dst, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = (float)(int8_t)src[i];
}

/* ---- blocks of 32: element i in the low nibble of byte i, element 16 + i in the high one ---- */

static void dequant_q8_0(const uint8_t *src, float *dst, size_t n)
{
    for (; n; n -= SMALL, src += 34, dst += SMALL) {
        float d = load_f16(src);

        for (int i = 0; i < 32; i++)
            dst[i] = d * (float)(int8_t)src[2 + i];
    }
}

static void dequant_q4_0(const uint8_t *src, float *dst, size_t n)
{
    for (; n; n -= SMALL, src += 18, dst += SMALL) {
        float d = load_f16(src);

        for (int i = 0; i < 16; i++) {
            dst[i] = d * (float)((src[2 + i] & 15) - 8);
            dst[16 + i] = d * (float)((src[2 + i] >> 4) - 8);
        }
    }
}

static void dequant_q4_1(const uint8_t *src, float *dst, size_t n)
{
    for (; n; n -= SMALL, src += 20, dst += SMALL) {
        float d = load_f16(src), m = load_f16(src + 2);

        for (int i = 0; i < 16; i++) {
            dst[i] = d * (float)(src[4 + i] & 15) + m;
            dst[16 + i] = d * (float)(src[4 + i] >> 4) + m;
        }
    }
}

/* Bit i of fifth is the upper bit of element i. */
static int five_bits(unsigned nibble, uint32_t fifth, int i)
{
    return (int)(nibble | (fifth >> i & 1) << 4);
}

static void dequant_q5_0(const uint8_t *src, float *dst, size_t n)
{
    for (; n; n -= SMALL, src += 22, dst += SMALL) {
        float d = load_f16(src);
        uint32_t fifth = load_u32(src + 2);

        for (int i = 0; i < 16; i++) {
            dst[i] = d * (float)(five_bits(src[6 + i] & 15, fifth, i) - 16);
            dst[16 + i] = d * (float)(five_bits(src[6 + i] >> 4, fifth, 16 + i) - 16);
        }
    }
}

static void dequant_q5_1(const uint8_t *src, float *dst, size_t n)
{
    for (; n; n -= SMALL, src += 24, dst += SMALL) {
        float d = load_f16(src), m = load_f16(src + 2);
        uint32_t fifth = load_u32(src + 4);

        for (int i = 0; i < 16; i++) {
            dst[i] = d * (float)five_bits(src[8 + i] & 15, fifth, i) + m;
            dst[16 + i] = d * (float)five_bits(src[8 + i] >> 4, fifth, 16 + i) + m;
        }
    }
}

/* ---- blocks of 256 ---- */

/* Six bits each of scale and minimum of parts 0 … 7 in 12 bytes: those of parts 0 to 3 are the low
 * six bits of bytes 0 to 3 and 4 to 7; those of parts 4 to 7 have their low four in bytes 8 to 11
 * and their upper two above the first. */
static void scale_min(const uint8_t *sixes, int part, int *scale, int *min)
{
    if (part < 4) {
        *scale = sixes[part] & 63;
        *min = sixes[part + 4] & 63;
    } else {
        *scale = (sixes[part + 4] & 15) | (sixes[part - 4] >> 6) << 4;
        *min = sixes[part + 4] >> 4 | (sixes[part] >> 6) << 4;
    }
}

/* Parts 2 j and 2 j + 1 are the low and the high nibbles of bytes 32 j … 32 j + 31. */
static void dequant_q4_k(const uint8_t *src, float *dst, size_t n)
{
    for (; n; n -= SUPER, src += 144) {
        float d = load_f16(src), m = load_f16(src + 2);

        for (int part = 0; part < 8; part++, dst += 32) {
            const uint8_t *nibbles = src + 16 + part / 2 * 32;
            int scale, min, shift = part % 2 * 4;

            scale_min(src + 4, part, &scale, &min);
            const float part_d = d * (float)scale, part_m = m * (float)min;
            for (int i = 0; i < 32; i++)
                dst[i] = part_d * (float)(nibbles[i] >> shift & 15) - part_m;
        }
    }
}

/* As Q4_K, and bit part of byte i of the fifth bits belongs to element i of the part. */
static void dequant_q5_k(const uint8_t *src, float *dst, size_t n)
{
    for (; n; n -= SUPER, src += 176) {
        float d = load_f16(src), m = load_f16(src + 2);
        const uint8_t *fifths = src + 16;

        for (int part = 0; part < 8; part++, dst += 32) {
            const uint8_t *nibbles = src + 48 + part / 2 * 32;
            int scale, min, shift = part % 2 * 4;

            scale_min(src + 4, part, &scale, &min);
            const float part_d = d * (float)scale, part_m = m * (float)min;
            for (int i = 0; i < 32; i++)
                dst[i] =
                    part_d * (float)five_bits(nibbles[i] >> shift & 15, fifths[i], part) - part_m;
        }
    }
}

/* Two halves of 128 elements, each four quarters of 32: quarters 0 and 1 are the low nibbles of the
 * half's 64 bytes, 2 and 3 the high ones; quarter k takes bits 2 k and 2 k + 1 of the half's 32
 * upper bytes. */
static void dequant_q6_k(const uint8_t *src, float *dst, size_t n)
{
    for (; n; n -= SUPER, src += 210) {
        float d = load_f16(src + 208);

        for (int k = 0; k < 8; k++, dst += 32) {
            const uint8_t *nibbles = src + k / 4 * 64 + k % 2 * 32,
                          *uppers = src + 128 + k / 4 * 32;
            const int8_t *scales = (const int8_t *)src + 192 + 2 * k;
            int nibble_shift = k % 4 / 2 * 4, upper_shift = k % 4 * 2;

            for (int i = 0; i < 32; i++) {
                int q = (nibbles[i] >> nibble_shift & 15) | (uppers[i] >> upper_shift & 3) << 4;
                dst[i] = d * (float)scales[i / 16] * (float)(q - 32);
            }
        }
    }
}

void dequant_row(uint32_t type, const void *src, float *dst, size_t n)
{
    static void (*const rows[])(const uint8_t *src, float *dst, size_t n) = {
        [GGUF_F32] = dequant_f32,   [GGUF_F16] = dequant_f16,   [GGUF_BF16] = dequant_bf16,
        [GGUF_I8] = dequant_i8,     [GGUF_Q8_0] = dequant_q8_0, [GGUF_Q4_0] = dequant_q4_0,
        [GGUF_Q4_1] = dequant_q4_1, [GGUF_Q5_0] = dequant_q5_0, [GGUF_Q5_1] = dequant_q5_1,
        [GGUF_Q4_K] = dequant_q4_k, [GGUF_Q5_K] = dequant_q5_k, [GGUF_Q6_K] = dequant_q6_k,
    };

    assert(type < sizeof(rows) / sizeof(*rows) && rows[type] && n % gguf_type_block(type) == 0);
    rows[type](src, dst, n);
}
