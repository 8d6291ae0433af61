/* vec_neon.h - the operations of vec_generic.h on four NEON registers. */
#ifndef OCTET_MODEL_KERNELS_VEC_H
#define OCTET_MODEL_KERNELS_VEC_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    float32x4_t a, b, c, d;
} v16;
typedef struct {
    int32x4_t a, b, c, d;
} i16;

enum { V16_REGS = 8 };

#define EACH_1(type, f, x)                                                                         \
    (type)                                                                                         \
    {                                                                                              \
        f((x).a), f((x).b), f((x).c), f((x).d)                                                     \
    }
#define EACH_2(type, f, x, y)                                                                      \
    (type)                                                                                         \
    {                                                                                              \
        f((x).a, (y).a), f((x).b, (y).b), f((x).c, (y).c), f((x).d, (y).d)                         \
    }
#define EACH_3(type, f, x, y, z)                                                                   \
    (type)                                                                                         \
    {                                                                                              \
        f((x).a, (y).a, (z).a), f((x).b, (y).b, (z).b), f((x).c, (y).c, (z).c),                    \
            f((x).d, (y).d, (z).d)                                                                 \
    }

static inline v16 v16_set1(float x)
{
    float32x4_t v = vdupq_n_f32(x);
    return (v16){v, v, v, v};
}
static inline v16 v16_load(const float *p)
{
    return (v16){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
static inline v16 v16_loadn(const float *p, size_t n)
{
    float t[16] = {0};
    if (n >= 16)
        return v16_load(p);
    memcpy(t, p, n * sizeof(float));
    return v16_load(t);
}
static inline float32x4_t v16_load_half4(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
static inline v16 v16_load_half(const uint16_t *p)
{
    return (v16){v16_load_half4(p), v16_load_half4(p + 4), v16_load_half4(p + 8),
                 v16_load_half4(p + 12)};
}
static inline void v16_store(float *p, v16 x)
{
    vst1q_f32(p, x.a);
    vst1q_f32(p + 4, x.b);
    vst1q_f32(p + 8, x.c);
    vst1q_f32(p + 12, x.d);
}
static inline void v16_storen(float *p, v16 x, size_t n)
{
    float t[16];
    if (n >= 16) {
        v16_store(p, x);
        return;
    }
    v16_store(t, x);
    memcpy(p, t, n * sizeof(float));
}
static inline v16 v16_add(v16 x, v16 y)
{
    return EACH_2(v16, vaddq_f32, x, y);
}
static inline v16 v16_sub(v16 x, v16 y)
{
    return EACH_2(v16, vsubq_f32, x, y);
}
static inline v16 v16_mul(v16 x, v16 y)
{
    return EACH_2(v16, vmulq_f32, x, y);
}
static inline v16 v16_div(v16 x, v16 y)
{
    return EACH_2(v16, vdivq_f32, x, y);
}
static inline v16 v16_fma(v16 x, v16 y, v16 z)
{
    return EACH_3(v16, vfmaq_f32, z, x, y);
}
/* Not vmaxq_f32, which gives a NaN where x86's maxps gives the second operand. */
static inline float32x4_t v16_max4(float32x4_t x, float32x4_t y)
{
    return vbslq_f32(vcgtq_f32(x, y), x, y);
}
static inline float32x4_t v16_min4(float32x4_t x, float32x4_t y)
{
    return vbslq_f32(vcltq_f32(x, y), x, y);
}
static inline v16 v16_max(v16 x, v16 y)
{
    return EACH_2(v16, v16_max4, x, y);
}
static inline v16 v16_min(v16 x, v16 y)
{
    return EACH_2(v16, v16_min4, x, y);
}
static inline v16 v16_first(v16 x, v16 y, size_t n)
{
    static const uint32_t lanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    uint32x4_t m = vdupq_n_u32(n < 16 ? (uint32_t)n : 16);
    return (v16){vbslq_f32(vcltq_u32(vld1q_u32(lanes), m), x.a, y.a),
                 vbslq_f32(vcltq_u32(vld1q_u32(lanes + 4), m), x.b, y.b),
                 vbslq_f32(vcltq_u32(vld1q_u32(lanes + 8), m), x.c, y.c),
                 vbslq_f32(vcltq_u32(vld1q_u32(lanes + 12), m), x.d, y.d)};
}
static inline i16 v16_rint(v16 x)
{
    return EACH_1(i16, vcvtnq_s32_f32, x);
}
static inline v16 i16_float(i16 x)
{
    return EACH_1(v16, vcvtq_f32_s32, x);
}
static inline float32x4_t v16_scale2_4(float32x4_t x, int32x4_t n)
{
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), vshlq_n_s32(n, 23)));
}
static inline v16 v16_scale2(v16 x, i16 n)
{
    return EACH_2(v16, v16_scale2_4, x, n);
}
/* Strides 1 and 2 stay inside a register. x + -y is x - y, to the bit. */
static inline float32x4_t v16_butterfly1(float32x4_t x)
{
    float32x4_t other = vrev64q_f32(x);
    return vtrn1q_f32(vaddq_f32(other, x), vsubq_f32(x, other));
}
static inline float32x4_t v16_butterfly2(float32x4_t x)
{
    float32x4_t other = vextq_f32(x, x, 2);
    return vcombine_f32(vget_low_f32(vaddq_f32(other, x)), vget_high_f32(vsubq_f32(other, x)));
}
static inline v16 v16_butterfly(v16 x, int s)
{
    if (s == 1)
        return EACH_1(v16, v16_butterfly1, x);
    if (s == 2)
        return EACH_1(v16, v16_butterfly2, x);
    if (s == 4)
        return (v16){vaddq_f32(x.b, x.a), vsubq_f32(x.a, x.b), vaddq_f32(x.d, x.c),
                     vsubq_f32(x.c, x.d)};
    return (v16){vaddq_f32(x.c, x.a), vaddq_f32(x.d, x.b), vsubq_f32(x.a, x.c),
                 vsubq_f32(x.b, x.d)};
}
static inline v16 v16_swap(v16 x)
{
    return EACH_1(v16, vrev64q_f32, x);
}
static inline float v16_sum(v16 x)
{
    float32x4_t q = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
    float32x2_t p = vadd_f32(vget_low_f32(q), vget_high_f32(q));
    return vget_lane_f32(p, 0) + vget_lane_f32(p, 1);
}
static inline float v16_hmax(v16 x)
{
    float32x4_t q = v16_max4(v16_max4(x.a, x.c), v16_max4(x.b, x.d));
    q = v16_max4(q, vextq_f32(q, q, 2));
    q = v16_max4(q, vextq_f32(q, q, 1));
    return vgetq_lane_f32(q, 0);
}
static inline i16 i16_set1(int32_t x)
{
    int32x4_t v = vdupq_n_s32(x);
    return (i16){v, v, v, v};
}
static inline i16 i16_load(const int32_t *p)
{
    return (i16){vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)};
}
static inline i16 i16_add(i16 x, i16 y)
{
    return EACH_2(i16, vaddq_s32, x, y);
}
static inline int32x4_t v16_abs_bits4(float32x4_t x)
{
    return vbicq_s32(vreinterpretq_s32_f32(x), vdupq_n_s32(INT32_MIN));
}
static inline i16 v16_abs_bits(v16 x)
{
    return EACH_1(i16, v16_abs_bits4, x);
}
static inline i16 i16_max(i16 x, i16 y)
{
    return EACH_2(i16, vmaxq_s32, x, y);
}
static inline int32_t i16_hmax(i16 x)
{
    return vmaxvq_s32(vmaxq_s32(vmaxq_s32(x.a, x.b), vmaxq_s32(x.c, x.d)));
}
static inline int32_t i16_sum(i16 x)
{
    return vaddvq_s32(vaddq_s32(vaddq_s32(x.a, x.b), vaddq_s32(x.c, x.d)));
}
static inline void i16_store8(void *p, i16 x)
{
    int16x8_t lo = vcombine_s16(vmovn_s32(x.a), vmovn_s32(x.b)),
              hi = vcombine_s16(vmovn_s32(x.c), vmovn_s32(x.d));
    vst1q_s8(p, vcombine_s8(vmovn_s16(lo), vmovn_s16(hi)));
}

#undef EACH_1
#undef EACH_2
#undef EACH_3
#endif
