/* kernels.h - the arithmetic of the network, one table an instruction set.
 *
 * The generic C set is the definition. Every other set equals it bit for bit, integers and floats
 * alike: sums run over 16 virtual lanes reduced in one fixed tree, exp is our own polynomial, fma
 * is explicit. The float kernels are therefore written once (*_kernels.h) over a 16-lane vector type
 * that each set defines (vec_*.h); only the integer products are written per set.
 *
 * Owner:   pure functions over the caller's buffers; any thread.
 * Memory:  nothing is allocated. Weights and scratch are 64-byte aligned where said.
 * Errors:  none: shapes were checked when the model was loaded.
 * Not here: what a layer is (model/net/), how scales are chosen for weights (model/quant/). */
#ifndef OCTET_MODEL_KERNELS_KERNELS_H
#define OCTET_MODEL_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Columns of a weight panel: two 16-lane accumulators, and 32 f16 scales are one cache line. */
#define PANEL 32u
/* Positions of a key/value block: the unit of softmax, of P's quantization, and of a page. */
#define KV_BLOCK 64u
/* Largest head; bounds buffers on the stack. */
#define HEAD_MAX 256u

/* How a set wants the bytes of a weight panel. Weights of 4 bits: u4, w + 8, and then it multiplies
 * 0 .. 15 where bias is 128, -8 .. 7 where it is 0. */
struct packing {
    uint32_t step; /* 4 or 8: inputs of one output that lie side by side */
    uint32_t bias; /* 128: bytes are u8, w + 128 (activations stay signed, and the correction -128 *
                      sum(a) is one number a row and group, not one a column); 0: they are s8 */
};

/* Largest group: K * 255 * 127 stays below 2^31, so no order of summing can overflow. */
#define GROUP_MAX 65536u

/* Weights of one linear layer, packed for the integer product of one set.
 *
 * w: panels of PANEL output columns. A panel is K / group groups; a group is a head, then
 *      bytes: [group / step][PANEL][step] as its set's packing says, or
 *      nibbles: [group / 8][PANEL][4], inputs 0-3 of eight in the low ones and 4-7 in the
 *      high ones of the same four bytes.
 * The head is PANEL f16 scales, or, wide,
 *      PANEL f32 scales, then PANEL int32 zero points: what is to be subtracted of each byte to give
 *      the weight, then PANEL int32 sums of the group's weights.
 * Rows beyond N in the last panel have scale 0. 64-byte aligned. */
struct packed_i8 {
    const uint8_t *w;
    size_t n, k;  /* outputs; inputs, a multiple of group */
    size_t group; /* a multiple of 32 up to GROUP_MAX: 32, 64, 128, 256, all of K; nibbles: up to
                     NIBBLE_GROUP_MAX */
    size_t panel_bytes;
    bool nibbles, wide;
};

/* Sets that have no product of nibbles spread a group's on the stack. */
#define NIBBLE_GROUP_MAX 256u

/* Of n outputs. */
static inline size_t packed_panels(size_t n)
{
    return (n + PANEL - 1) / PANEL;
}
static inline size_t packed_head_bytes(bool wide)
{
    return PANEL * (wide ? 12u : 2u);
}
static inline size_t packed_group_bytes(size_t group, bool nibbles, bool wide)
{
    return packed_head_bytes(wide) + (nibbles ? group / 2 : group) * PANEL;
}

/* Weights of one linear layer as floats: panels of [k][PANEL], zeros beyond n in the last one.
 * 64-byte aligned. */
struct packed_f32 {
    const void *w; /* f16 if half, else f32 */
    size_t n, k;   /* outputs, inputs */
    bool half;
};

/* Activations quantized per row and group: x' = scale * (q + zero). */
struct quant_rows {
    int8_t *q;     /* [rows][k] */
    float *scale;  /* [rows][k / group] */
    int32_t *comp; /* [rows][k / group]: -128 * sum of the group's q */
    int32_t *zero; /* [rows][k / group], or NULL: zeros. Read by wide products only */
    size_t k, group;
};

/* Steps of n inputs, each its own: x' = (q + zero) / inv. */
struct quant_steps {
    const float *inv, *zero; /* [n]; zero: an integer of -127 .. 128 */
    float lowest;            /* of q: -128 with zero points, -127 without */
    float scale;             /* of every group: where inv differ, weights hold the rest */
};

/* What the caller reads after a product: n runs of so many bytes, which the product may fetch into the
 * second cache in between its multiply-adds. */
struct prefetch {
    const uint8_t *const *runs;
    size_t n, bytes;
};

/* Where a product goes: out[row * ld + col], added to what is there if add. */
struct gemm_out {
    float *out;
    size_t ld;
    bool add;
    struct prefetch prefetch;
    const uint8_t *next; /* where the caller's next product begins: fetched beside the last panel */
};

/* One key/value block as the INT8 cache stores it. */
struct kv_block_i8 {
    const uint8_t *k; /* [KV_BLOCK / 16][dk / 4][16][4]: k + 128 */
    const int8_t *v;  /* [KV_BLOCK / 4][dv][4] */
    const float *ks;  /* [KV_BLOCK] scale of a position's key */
    const float *vs;  /* [KV_BLOCK] of its value */
    ptrdiff_t ahead;  /* bytes from here to a block that will be read soon, 0: none is known */
};
/* The same with float keys and values (f16 or f32). */
struct kv_block_f {
    const void *k; /* [d][KV_BLOCK] */
    const void *v; /* [KV_BLOCK][dv] */
    bool half;     /* f16, else f32 */
};

/* One query head of one row on its way over the blocks: flash-style running softmax in base 2. */
struct attn_query {
    const int8_t *q8; /* INT8: [dk], quantized after rotation */
    const float *qf;  /* float: [d], already times log2(e) / sqrt(d) */
    float scale;      /* INT8: q's scale times log2(e) / sqrt(d) */
    int32_t comp;     /* INT8: -128 * sum(q8) */
    uint32_t n_pos;   /* positions it may see */
    float m, l;       /* running maximum (base-2 logits) and sum */
    float *o;         /* [dv] running weighted values, 64-byte aligned */
};

/* Sixteen ways to round: x' = scale * q, low <= q <= high. */
struct kernel_grids {
    float scale[16], low[16], high[16];
};

struct kernels {
    const char *name;
    struct packing pack;

    /* out[r][n] (+)= sum over groups g of f32(sum_k (q + zero_a)*w) * (scale_w[g][n] *
     * scale_a[r][g]), g ascending, by fmaf. Panels [p0, p1). Rows [0, rows). */
    void (*gemm_i8)(const struct packed_i8 *w, const struct quant_rows *a, size_t rows, size_t p0,
                    size_t p1, const struct gemm_out *out);
    /* out[r][n] (or 0) + sum over k, ascending, of x[r][k] * w[n][k], an fmaf a step: the same
     * whatever the other rows are. x: [rows][k]. Panels [p0, p1). */
    void (*gemm_f32)(const struct packed_f32 *w, const float *x, size_t rows, size_t p0, size_t p1,
                     const struct gemm_out *out);

    /* y = x / sqrt(mean(x^2) + eps) * gain (Zhang and Sennrich 2019, RMSNorm, eq. 4). y may be x.
     */
    void (*rms_norm)(const float *x, const float *gain, float eps, float *y, size_t n);
    /* In place: x times the block-diagonal orthonormal Hadamard matrix (Sylvester), block a power
     * of two <= 64 that divides n; 0 or 1: nothing. */
    void (*hadamard)(float *x, size_t n, size_t block);
    /* x[n] → Hadamard (0: none), then per group (n is whole groups) q = rint(x * (127 / max|x|)),
     * its scale, and comp = -128 * sum(q). A group is whole blocks, or n is. x may be overwritten if
     * there is a block. q gets n bytes rounded up to 16. */
    void (*quantize)(float *x, size_t n, size_t block, size_t group, int8_t *q, float *scale,
                     int32_t *comp);
    /* The same with zero points: the range from min to max, widened to hold 0, in 255 steps, so that
     * x' = scale * (q + zero), zero in [-127, 128]. */
    void (*quantize_affine)(float *x, size_t n, size_t block, size_t group,
                            const struct quant_rows *to);
    /* The same by steps that are known before: q = rint(x * inv) - zero, held to its ends; each group
     * gets the one scale. to->zero is not written. */
    void (*quantize_static)(float *x, size_t n, size_t block, size_t group,
                            const struct quant_steps *by, const struct quant_rows *to);
    /* Of each of 16 grids: sum over i of energy[i] (x[i] - x'[i])^2 (energy NULL: 1), x'[i] being x[i]
     * held to the grid's ends and rounded to it, ties to even. A scale of 0: all x' are 0. */
    void (*rounding_errors)(const float *x, const float *energy, size_t n,
                            const struct kernel_grids *grids, float errors[16]);
    /* y = silu(gate) * up, silu(x) = x / (1 + exp(-x)) (Shazeer 2020, SwiGLU). y may be gate. */
    void (*silu_mul)(const float *gate, const float *up, float *y, size_t n);
    /* y += x */
    void (*add)(float *y, const float *x, size_t n);
    /* Rotate one head (Su et al. 2021, RoPE, eq. 34): x[i] * cosv[i] + x[partner] * sinv[i], i <
     * n. Partners are neighbours (2i, 2i+1), or halves (i, i + n/2); the first one's sine has a
     * minus (model/net/rope.h makes the tables). */
    void (*rope)(float *x, const float *cosv, const float *sinv, size_t n, bool halves);

    /* Feed one block of positions [pos0, pos0 + KV_BLOCK) to n queries of one key/value head. dk:
     * key bytes a position, a multiple of 4; dv: a multiple of 16. A query that sees none of it is
     * left alone. */
    void (*attn_i8)(const struct kv_block_i8 *b, struct attn_query *q, size_t n, uint32_t pos0,
                    size_t dk, size_t dv);
    void (*attn_f)(const struct kv_block_f *b, struct attn_query *q, size_t n, uint32_t pos0,
                   size_t d, size_t dv);

    /* Add what `part` has seen (other positions) to `sum`. Nothing seen: m is -infinity. */
    void (*attn_merge)(struct attn_query *sum, const struct attn_query *part, size_t dv);

    /* Index of the first largest of x[n]; n if there is a NaN. */
    size_t (*argmax)(const float *x, size_t n);
    /* p[i] = exp((x[i] - max) * inv_t); returns the sum over 16 lanes. -infinity gives 0. */
    float (*exp_sum)(const float *x, float max, float inv_t, float *p, size_t n);

    /* Multiply-adds that `turns` of a loop on registers alone have done: the set's 8-bit dot
     * products, and its fused multiply-adds. For the limits of this machine. */
    double (*peak_i8)(size_t turns);
    double (*peak_f32)(size_t turns);
};

/* The set for this CPU and OS, or the one that OCTET_CPU names. NULL with a sentence in err if the
 * name is unknown or the CPU lacks it (ST_INVALID). Chosen once, at the first call. */
struct error;
const struct kernels *kernels_get(struct error *err);
/* By name; NULL: unknown here or not supported by this CPU. For tests. */
const struct kernels *kernels_named(const char *name);
/* i-th set that this machine can run, generic first; NULL after the last. For tests. */
const struct kernels *kernels_at(size_t i);

#endif
