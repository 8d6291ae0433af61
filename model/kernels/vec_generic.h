/* vec_generic.h - sixteen floats (v16) and sixteen int32 (i16) in plain C: the definition of every
 * operation.
 *
 * vec_avx2.h and vec_avx512.h give the same operations, lane by lane equal. Include exactly one. */
#ifndef OCTET_MODEL_KERNELS_VEC_H
#define OCTET_MODEL_KERNELS_VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "model/kernels/half.h"

typedef struct {
    float f[16];
} v16;
typedef struct {
    int32_t i[16];
} i16;

/* How many v16 the registers hold; 8 where they are four of 16 bytes, or pairs of 32. */
enum { V16_REGS = 8 };

#define V16_EACH(expr)                                                                             \
    v16 y;                                                                                         \
    for (int i = 0; i < 16; i++)                                                                   \
        y.f[i] = (expr);                                                                           \
    return y

static inline v16 v16_set1(float a)
{
    V16_EACH(a);
}
static inline v16 v16_load(const float *p)
{
    V16_EACH(p[i]);
}
/* n <= 16 floats; the other lanes are 0. */
static inline v16 v16_loadn(const float *p, size_t n)
{
    V16_EACH((size_t)i < n ? p[i] : 0.0f);
}
static inline v16 v16_load_half(const uint16_t *p)
{
    V16_EACH(half_to_float(p[i]));
}
static inline void v16_store(float *p, v16 a)
{
    memcpy(p, a.f, sizeof(a.f));
}
static inline void v16_storen(float *p, v16 a, size_t n)
{
    memcpy(p, a.f, n * sizeof(float));
}
static inline v16 v16_add(v16 a, v16 b)
{
    V16_EACH(a.f[i] + b.f[i]);
}
static inline v16 v16_sub(v16 a, v16 b)
{
    V16_EACH(a.f[i] - b.f[i]);
}
static inline v16 v16_mul(v16 a, v16 b)
{
    V16_EACH(a.f[i] * b.f[i]);
}
static inline v16 v16_div(v16 a, v16 b)
{
    V16_EACH(a.f[i] / b.f[i]);
}
/* a * b + c, rounded once. */
static inline v16 v16_fma(v16 a, v16 b, v16 c)
{
    V16_EACH(fmaf(a.f[i], b.f[i], c.f[i]));
}
/* The second where they compare unordered or equal, as x86's maxps does. */
static inline v16 v16_max(v16 a, v16 b)
{
    V16_EACH(a.f[i] > b.f[i] ? a.f[i] : b.f[i]);
}
static inline v16 v16_min(v16 a, v16 b)
{
    V16_EACH(a.f[i] < b.f[i] ? a.f[i] : b.f[i]);
}
/* Lanes below n from a, the others from b. */
static inline v16 v16_first(v16 a, v16 b, size_t n)
{
    V16_EACH((size_t)i < n ? a.f[i] : b.f[i]);
}
/* To the nearest integer, ties to even; |a| < 2^22 (larger ones give any integer). */
static inline i16 v16_rint(v16 a)
{
    i16 y;
    for (int i = 0; i < 16; i++) {
        const float magic = 12582912.0f; /* 1.5 * 2^23: the sum's last bit is worth 1 */
        float t = a.f[i] + magic;
        int32_t bits;
        memcpy(&bits, &t, sizeof(bits));
        y.i[i] = bits - 0x4B400000;
    }
    return y;
}
static inline v16 i16_float(i16 a)
{
    V16_EACH((float)a.i[i]);
}
/* a * 2^n by adding to the exponent; the result must be a normal number. */
static inline v16 v16_scale2(v16 a, i16 n)
{
    v16 y;
    for (int i = 0; i < 16; i++) {
        uint32_t bits;
        memcpy(&bits, &a.f[i], sizeof(bits));
        bits += (uint32_t)n.i[i] << 23;
        memcpy(&y.f[i], &bits, sizeof(bits));
    }
    return y;
}
/* Lane l of the result: x[l ^ s] + (bit s of l set ? -x[l] : x[l]): one butterfly of stride s in
 * {1, 2, 4, 8}. */
static inline v16 v16_butterfly(v16 a, int s)
{
    V16_EACH(a.f[i ^ s] + ((i & s) ? -a.f[i] : a.f[i]));
}
/* Neighbours (2i, 2i + 1) change places. */
static inline v16 v16_swap(v16 a)
{
    V16_EACH(a.f[i ^ 1]);
}
/* The fixed tree: 16 lanes by halves, (i) + (i + 8), then 4, 2, 1. */
static inline float v16_sum(v16 a)
{
    for (int h = 8; h > 0; h /= 2)
        for (int i = 0; i < h; i++)
            a.f[i] = a.f[i] + a.f[i + h];
    return a.f[0];
}
static inline float v16_hmax(v16 a)
{
    for (int h = 8; h > 0; h /= 2)
        for (int i = 0; i < h; i++)
            a.f[i] = a.f[i] > a.f[i + h] ? a.f[i] : a.f[i + h];
    return a.f[0];
}

static inline i16 i16_set1(int32_t a)
{
    i16 y;
    for (int i = 0; i < 16; i++)
        y.i[i] = a;
    return y;
}
static inline i16 i16_load(const int32_t *p)
{
    i16 y;
    memcpy(y.i, p, sizeof(y.i));
    return y;
}
static inline i16 i16_add(i16 a, i16 b)
{
    for (int i = 0; i < 16; i++) /* wraps, as the hardware does; only broken (NaN) rows get there */
        a.i[i] = (int32_t)((uint32_t)a.i[i] + (uint32_t)b.i[i]);
    return a;
}
/* |a| as bits: as integers they order like the values, and a NaN is above all, so no maximum can
 * lose it. */
static inline i16 v16_abs_bits(v16 a)
{
    i16 y;
    memcpy(y.i, a.f, sizeof(y.i));
    for (int i = 0; i < 16; i++)
        y.i[i] &= 0x7FFFFFFF;
    return y;
}
static inline i16 i16_max(i16 a, i16 b)
{
    for (int i = 0; i < 16; i++)
        a.i[i] = a.i[i] > b.i[i] ? a.i[i] : b.i[i];
    return a;
}
static inline int32_t i16_hmax(i16 a)
{
    int32_t m = a.i[0];
    for (int i = 1; i < 16; i++)
        m = a.i[i] > m ? a.i[i] : m;
    return m;
}
/* Sum of the 16 lanes; integers do not mind the order. */
static inline int32_t i16_sum(i16 a)
{
    uint32_t s = 0;
    for (int i = 0; i < 16; i++)
        s += (uint32_t)a.i[i];
    return (int32_t)s;
}
/* Low bytes of the lanes; the values fit (-128 .. 255). */
static inline void i16_store8(void *p, i16 a)
{
    uint8_t b[16];
    for (int i = 0; i < 16; i++)
        b[i] = (uint8_t)a.i[i];
    memcpy(p, b, sizeof(b));
}

#undef V16_EACH
#endif
