/* float_kernels.h - every float step of the network, written once over the v16 of the including
 * file.
 *
 * Each set's file includes one vec_*.h, then this. Because the operations of vec_*.h are equal lane
 * by lane, so are these. Contracts are in kernels.h. */
#ifndef OCTET_MODEL_KERNELS_FLOAT_KERNELS_H
#define OCTET_MODEL_KERNELS_FLOAT_KERNELS_H

#include <math.h>

#include "model/kernels/kernels.h"

/* 2^r on [-1/2, 1/2]: 1 + r * p(r), p of degree 5 by weighted least squares driven to minimax;
 * relative error 8e-8. The constant 1 is exact, so 2^0 is. */
static inline v16 exp2_fraction(v16 r)
{
    v16 p = v16_set1(0x1.41fbbap-13f);
    p = v16_fma(p, r, v16_set1(0x1.5f3e54p-10f));
    p = v16_fma(p, r, v16_set1(0x1.3b2d4cp-7f));
    p = v16_fma(p, r, v16_set1(0x1.c6aee8p-5f));
    p = v16_fma(p, r, v16_set1(0x1.ebfbdcp-3f));
    p = v16_fma(p, r, v16_set1(0x1.62e430p-1f));
    return v16_fma(p, r, v16_set1(1.0f));
}

/* 2^x for x <= 0, held to -126 from below. A NaN stays one (max gives its second operand then). */
static inline v16 exp2_v16(v16 x)
{
    x = v16_max(v16_set1(-126.0f), x);
    i16 n = v16_rint(x);
    return v16_scale2(exp2_fraction(v16_sub(x, i16_float(n))), n);
}

/* e^x, x held to [-87, 88]. log2(e) in two parts keeps the fraction exact to the last bits. */
static inline v16 exp_v16(v16 x)
{
    const v16 hi = v16_set1(0x1.715476p+0f), lo = v16_set1(0x1.4ae0bep-26f);
    x = v16_min(v16_set1(88.0f), v16_max(v16_set1(-87.0f), x));
    i16 n = v16_rint(v16_mul(x, hi));
    v16 r = v16_fma(x, hi, v16_mul(i16_float(n), v16_set1(-1.0f)));
    return v16_scale2(exp2_fraction(v16_fma(x, lo, r)), n);
}

static void rms_norm(const float *x, const float *gain, float eps, float *y, size_t n)
{
    v16 ss = v16_set1(0.0f);
    for (size_t i = 0; i < n; i += 16) {
        v16 a = v16_loadn(x + i, n - i);
        ss = v16_fma(a, a, ss);
    }
    v16 r = v16_set1(1.0f / sqrtf(v16_sum(ss) / (float)n + eps));
    for (size_t i = 0; i < n; i += 16) {
        v16 a = v16_mul(v16_loadn(x + i, n - i), r);
        v16_storen(y + i, v16_mul(a, v16_loadn(gain + i, n - i)), n - i < 16 ? n - i : 16);
    }
}

#define KERNEL_INLINE static inline __attribute__((always_inline))

/* n_vec <= 4 vectors (64 floats) through blocks of `block`: log2(block) butterflies, then 1 /
 * sqrt(block). Inlined with constants, so that the vectors stay in registers. */
KERNEL_INLINE void fwht64(v16 *v, const size_t n_vec, const size_t block)
{
    static const float inv_sqrt[7] = {1.0f,  0x1.6a09e6p-1f, 0.5f,  0x1.6a09e6p-2f,
                                      0.25f, 0x1.6a09e6p-3f, 0.125f};
    float norm = inv_sqrt[__builtin_ctzll(block)];

    for (size_t j = 0; j < n_vec; j++) {
        if (block > 1)
            v[j] = v16_butterfly(v[j], 1);
        if (block > 2)
            v[j] = v16_butterfly(v[j], 2);
        if (block > 4)
            v[j] = v16_butterfly(v[j], 4);
        if (block > 8)
            v[j] = v16_butterfly(v[j], 8);
    }
    for (size_t s = 1; s * 16 < block; s *= 2)
        for (size_t j = 0; j < n_vec; j++)
            if (!(j & s)) {
                v16 a = v[j], b = v[j + s];
                v[j] = v16_add(a, b);
                v[j + s] = v16_sub(a, b);
            }
    for (size_t j = 0; j < n_vec; j++)
        v[j] = v16_mul(v[j], v16_set1(norm));
}

static void hadamard_64(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 64) {
        v16 v[4];
        for (size_t j = 0; j < 4; j++)
            v[j] = v16_load(x + i + 16 * j);
        fwht64(v, 4, 64);
        for (size_t j = 0; j < 4; j++)
            v16_store(x + i + 16 * j, v[j]);
    }
}

static void hadamard(float *x, size_t n, size_t block)
{
    if (block < 2)
        return;
    if (block == 64) {
        hadamard_64(x, n);
        return;
    }
    size_t unit = block < 16 ? 16 : block, n_vec = unit / 16;
    for (size_t i = 0; i < n; i += unit) {
        v16 v[4];
        for (size_t j = 0; j < n_vec; j++)
            v[j] = v16_loadn(x + i + 16 * j, n - i - 16 * j);
        fwht64(v, n_vec, block);
        for (size_t j = 0; j < n_vec; j++) {
            size_t left = n - i - 16 * j;
            v16_storen(x + i + 16 * j, v[j], left < 16 ? left : 16);
        }
    }
}

/* From the largest |x| (as bits) of a group: what its values are multiplied by, and its scale. */
static inline float group_scale(int32_t top_bits, float *ret_inv)
{
    float max;
    memcpy(&max, &top_bits, sizeof(max));
    /* Below 1e-30, where 127 / max would leave the floats, a group is zeros. A NaN or infinity
     * stays in the scale. */
    *ret_inv = max >= 1e-30f && max < INFINITY ? 127.0f / max : 0.0f;
    return max < 1e-30f ? 0.0f : max / 127.0f;
}

/* -128 * sum(q); wraps only for a broken group. */
static inline int32_t group_comp(i16 sum)
{
    return (int32_t)(-128u * (uint32_t)i16_sum(sum));
}

/* Groups of n_vec <= 4 vectors, rotated and quantized without leaving the registers. */
KERNEL_INLINE void quantize_small(const float *x, size_t n, const size_t block, const size_t n_vec,
                                  int8_t *q, float *scale, int32_t *comp)
{
    for (; n >= 16 * n_vec; n -= 16 * n_vec, x += 16 * n_vec, q += 16 * n_vec) {
        v16 v[4];
        i16 top = i16_set1(0), sum = i16_set1(0);
        float inv;
        for (size_t j = 0; j < n_vec; j++)
            v[j] = v16_load(x + 16 * j);
        if (block > 1)
            fwht64(v, n_vec, block);
        for (size_t j = 0; j < n_vec; j++)
            top = i16_max(top, v16_abs_bits(v[j]));
        *scale++ = group_scale(i16_hmax(top), &inv);
        for (size_t j = 0; j < n_vec; j++) {
            i16 a = v16_rint(v16_mul(v[j], v16_set1(inv)));
            sum = i16_add(sum, a);
            i16_store8(q + 16 * j, a);
        }
        *comp++ = group_comp(sum);
    }
}

/* One group t[n] of any size. q gets n bytes rounded up to 16. */
static void quantize_group(const float *t, size_t n, int8_t *q, float *scale, int32_t *comp)
{
    i16 top = i16_set1(0), sum = i16_set1(0);
    float inv;

    for (size_t i = 0; i < n; i += 16)
        top = i16_max(top, v16_abs_bits(v16_loadn(t + i, n - i)));
    *scale = group_scale(i16_hmax(top), &inv);
    for (size_t i = 0; i < n; i += 16) {
        i16 a = v16_rint(v16_mul(v16_loadn(t + i, n - i), v16_set1(inv)));
        sum = i16_add(sum, a);
        i16_store8(q + i, a);
    }
    *comp = group_comp(sum);
}

static void quantize(float *x, size_t n, size_t block, size_t group, int8_t *q, float *scale,
                     int32_t *comp)
{
    if (group == 64 && block == 64) {
        quantize_small(x, n, 64, 4, q, scale, comp);
    } else if (group == 64 && block < 2) {
        quantize_small(x, n, 0, 4, q, scale, comp);
    } else if (group == 32 && block == 32) {
        quantize_small(x, n, 32, 2, q, scale, comp);
    } else if (group == 32 && block < 2) {
        quantize_small(x, n, 0, 2, q, scale, comp);
    } else {
        hadamard(x, n, block);
        for (size_t g = 0; g * group < n; g++)
            quantize_group(x + g * group, group, q + g * group, scale + g, comp + g);
    }
}

/* One group of whole vectors of 16. lo, hi: what it reaches to either side of 0. */
static void affine_group(const float *x, size_t n, float lo, float hi, int8_t *q, int32_t *ret_zero,
                         int32_t *ret_comp)
{
    const bool fits = hi - lo >= 1e-30f && hi - lo < INFINITY;
    const float inv = fits ? 255.0f / (hi - lo) : 0.0f;
    /* q = rint(x * inv) - zero, and lo's is -128. */
    const int32_t zero = 128 + (fits ? (int32_t)rintf(lo * inv) : -128);
    const v16 most = v16_set1((float)(127 + zero)); /* a tie at either end may be one step more */
    i16 sum = i16_set1(0);

    for (size_t i = 0; i < n; i += 16) {
        i16 a = v16_rint(v16_min(v16_mul(v16_load(x + i), v16_set1(inv)), most));
        a = i16_add(a, i16_set1(-zero));
        sum = i16_add(sum, a);
        i16_store8(q + i, a);
    }
    *ret_zero = zero;
    *ret_comp = group_comp(sum);
}

static void quantize_affine(float *x, size_t n, size_t block, size_t group,
                            const struct quant_rows *to)
{
    hadamard(x, n, block);
    for (size_t g = 0; g * group < n; g++) {
        const float *t = x + g * group;
        v16 hi = v16_set1(0.0f), lo = v16_set1(0.0f), broken = v16_set1(0.0f);
        for (size_t i = 0; i < group; i += 16) {
            v16 a = v16_load(t + i);
            hi = v16_max(a, hi);
            lo = v16_max(v16_mul(a, v16_set1(-1.0f)), lo);
            broken = v16_fma(a, v16_set1(0.0f), broken);
        }
        const float top = v16_hmax(hi), bottom = -v16_hmax(lo), range = top - bottom;
        affine_group(t, group, bottom, top, to->q + g * group, &to->zero[g], &to->comp[g]);
        /* A NaN or an infinity stays in the scale. */
        to->scale[g] = (range < 1e-30f ? 0.0f : range / 255.0f) + v16_sum(broken);
    }
}

/* Groups of whole vectors of 16. */
static void quantize_static(float *x, size_t n, size_t block, size_t group,
                            const struct quant_steps *by, const struct quant_rows *to)
{
    const v16 lowest = v16_set1(by->lowest), highest = v16_set1(127.0f), minus = v16_set1(-1.0f);

    hadamard(x, n, block);
    for (size_t g = 0; g * group < n; g++) {
        v16 broken = v16_set1(0.0f);
        i16 sum = i16_set1(0);
        for (size_t i = g * group; i < (g + 1) * group; i += 16) {
            v16 a = v16_load(x + i), zero = v16_load(by->zero + i);
            broken = v16_fma(a, v16_set1(0.0f), broken);
            a = v16_max(v16_mul(a, v16_load(by->inv + i)), v16_add(lowest, zero));
            a = v16_min(a, v16_add(highest, zero));
            i16 q = i16_add(v16_rint(a), v16_rint(v16_mul(zero, minus)));
            sum = i16_add(sum, q);
            i16_store8(to->q + i, q);
        }
        to->comp[g] = group_comp(sum);
        /* A NaN or an infinity stays in the scale. */
        to->scale[g] = by->scale + v16_sum(broken);
    }
}

/* Lanes are grids. */
static void rounding_errors(const float *x, const float *energy, size_t n,
                            const struct kernel_grids *grids, float errors[16])
{
    const v16 magic = v16_set1(12582912.0f); /* x + magic - magic is rint(x) for |x| < 2^22 */
    const v16 scale = v16_load(grids->scale), low = v16_load(grids->low),
              high = v16_load(grids->high);
    v16 per, sum = v16_set1(0.0f);
    float inverse[16];

    for (size_t i = 0; i < 16; i++)
        inverse[i] = grids->scale[i] != 0.0f ? 1.0f / grids->scale[i] : 0.0f;
    per = v16_load(inverse);
    for (size_t i = 0; i < n; i++) {
        const v16 value = v16_set1(x[i]);
        const v16 q = v16_max(v16_min(v16_mul(value, per), high), low);
        const v16 e = v16_sub(value, v16_mul(v16_sub(v16_add(q, magic), magic), scale));
        sum = v16_fma(energy ? v16_mul(e, v16_set1(energy[i])) : e, e, sum);
    }
    v16_store(errors, sum);
}

static void silu_mul(const float *gate, const float *up, float *y, size_t n)
{
    const v16 one = v16_set1(1.0f), minus = v16_set1(-1.0f);
    for (size_t i = 0; i < n; i += 16) {
        v16 g = v16_loadn(gate + i, n - i);
        v16 s = v16_div(g, v16_add(one, exp_v16(v16_mul(g, minus))));
        v16_storen(y + i, v16_mul(s, v16_loadn(up + i, n - i)), n - i < 16 ? n - i : 16);
    }
}

static void add(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

/* x * cos + partner * sin, products and sums rounded one by one. */
static inline v16 turn(v16 x, v16 partner, const float *cosv, const float *sinv, size_t left)
{
    return v16_add(v16_mul(x, v16_loadn(cosv, left)), v16_mul(partner, v16_loadn(sinv, left)));
}

static void rope(float *x, const float *cosv, const float *sinv, size_t n, bool halves)
{
    size_t h = halves ? n / 2 : n;

    for (size_t i = 0; i < h; i += 16) {
        size_t left = h - i < 16 ? h - i : 16;
        v16 a = v16_loadn(x + i, left);
        if (halves) {
            v16 b = v16_loadn(x + h + i, left);
            v16_storen(x + i, turn(a, b, cosv + i, sinv + i, left), left);
            v16_storen(x + h + i, turn(b, a, cosv + h + i, sinv + h + i, left), left);
        } else {
            v16_storen(x + i, turn(a, v16_swap(a), cosv + i, sinv + i, left), left);
        }
    }
}

static size_t argmax(const float *x, size_t n)
{
    enum { CHUNK = 1024 };
    size_t best_at = 0;
    float best = -INFINITY;
    v16 broken = v16_set1(0.0f);

    if (n == 0)
        return 0;
    for (size_t c = 0; c < n; c += CHUNK) {
        size_t end = n - c < CHUNK ? n : c + CHUNK;
        v16 top = v16_set1(-INFINITY);
        for (size_t i = c; i < end; i += 16) {
            v16 a = v16_loadn(x + i, end - i);
            broken = v16_fma(a, v16_set1(0.0f), broken); /* 0 x NaN and 0 x infinity are NaN */
            top = v16_max(v16_first(a, top, end - i), top);
        }
        float max = v16_hmax(top);
        if (max > best) {
            best = max;
            best_at = c;
        }
    }
    if (!(v16_sum(broken) == 0.0f))
        return n;
    while (x[best_at] != best)
        best_at++;
    return best_at;
}

static float exp_sum(const float *x, float max, float inv_t, float *p, size_t n)
{
    const v16 m = v16_set1(max), k = v16_set1(inv_t), zero = v16_set1(0.0f),
              tiny = v16_set1(2e-38f);
    v16 sum = zero;
    for (size_t i = 0; i < n; i += 16) {
        size_t left = n - i < 16 ? n - i : 16;
        v16 e = exp_v16(v16_mul(v16_sub(v16_loadn(x + i, left), m), k));
        /* e^-87, which stands for all below it, becomes 0; what is above 1e-30 does not change. */
        e = v16_first(v16_max(zero, v16_sub(e, tiny)), zero, left);
        sum = v16_add(sum, e);
        v16_storen(p + i, e, left);
    }
    return v16_sum(sum);
}

#endif
