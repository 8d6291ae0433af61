/* generic.c - the definition: plain C, built everywhere, what every other set must equal bit for
 * bit. */
#include "model/kernels/sets.h"
#include "model/kernels/vec_generic.h"

enum { ATTN_TILE = 4 };

static void qk_rows(const uint8_t *k, size_t dk, ptrdiff_t ahead, size_t seen,
                    const struct attn_query *q, size_t n, int32_t (*s)[KV_BLOCK])
{
    (void)ahead;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; 16 * j < seen; j++) {
            int32_t *acc = s[i] + 16 * j;
            for (size_t t = 0; t < 16; t++)
                acc[t] = q[i].comp;
            for (size_t c = 0; c < dk; c += 4)
                for (size_t t = 0; t < 16; t++)
                    for (size_t e = 0; e < 4; e++)
                        acc[t] += k[(j * dk + c) * 16 + 4 * t + e] * q[i].q8[c + e];
        }
}

static void pv_rows(const int8_t *v, size_t dv, ptrdiff_t ahead, size_t seen,
                    const uint8_t (*u)[KV_BLOCK], size_t n, int32_t (*acc)[HEAD_MAX])
{
    (void)ahead;
    for (size_t i = 0; i < n; i++) {
        memset(acc[i], 0, dv * sizeof(acc[i][0]));
        for (size_t t = 0; t < seen; t += 4)
            for (size_t d = 0; d < dv; d++)
                for (size_t e = 0; e < 4; e++)
                    acc[i][d] += u[i][t + e] * v[t * dv + 4 * d + e];
    }
}

#include "model/kernels/attention_kernels.h"

_Static_assert((uint64_t)GROUP_MAX * 255 * 127 < (uint64_t)1 << 31, "a group's sum is an int32");

/* What the sums of column c start from, of a row whose group has this correction and zero point. */
static int32_t start(const struct packed_i8 *w, const uint8_t *head, size_t c, int32_t comp,
                     int32_t zero)
{
    int32_t z, sum;

    if (!w->wide)
        return w->nibbles ? comp / 16 : comp;
    memcpy(&z, head + 4 * (PANEL + c), sizeof(z));
    memcpy(&sum, head + 4 * (2 * PANEL + c), sizeof(sum));
    return (int32_t)((uint32_t)(comp / 128) * (uint32_t)z + (uint32_t)zero * (uint32_t)sum);
}

static float scale_of(const struct packed_i8 *w, const uint8_t *head, size_t c)
{
    uint16_t half;
    float whole;

    memcpy(&half, head + 2 * c, sizeof(half));
    if (!w->wide)
        return half_to_float(half);
    memcpy(&whole, head + 4 * c, sizeof(whole));
    return whole;
}

/* acc[c] = a group's bytes b of column c times x. */
static void group_sums(const struct packed_i8 *w, const uint8_t *b, const int8_t *x, int32_t *acc)
{
    for (size_t c = 0; c < PANEL; c++)
        acc[c] = 0;
    if (!w->nibbles) {
        for (size_t k = 0; k < w->group; k += 4, b += 4 * PANEL)
            for (size_t c = 0; c < PANEL; c++)
                acc[c] += b[4 * c] * x[k] + b[4 * c + 1] * x[k + 1] + b[4 * c + 2] * x[k + 2] +
                          b[4 * c + 3] * x[k + 3];
        return;
    }
    for (size_t k = 0; k < w->group; k += 8, b += 4 * PANEL)
        for (size_t c = 0; c < PANEL; c++)
            for (size_t e = 0; e < 4; e++)
                acc[c] += (b[4 * c + e] & 15) * x[k + e] + (b[4 * c + e] >> 4) * x[k + 4 + e];
}

/* One row times one panel. */
static void gemm_panel(const struct packed_i8 *w, const struct quant_rows *a, size_t r,
                       const uint8_t *panel, float *out)
{
    size_t n_groups = w->k / w->group;

    for (size_t c = 0; c < PANEL; c++)
        out[c] = 0.0f;
    for (size_t g = 0; g < n_groups; g++) {
        const int32_t zero = a->zero ? a->zero[r * n_groups + g] : 0,
                      comp = a->comp[r * n_groups + g];
        float sa = a->scale[r * n_groups + g];
        int32_t acc[PANEL];

        group_sums(w, panel + packed_head_bytes(w->wide), a->q + r * a->k + g * w->group, acc);
        for (size_t c = 0; c < PANEL; c++) {
            /* On the way it may leave an int32 and come back. */
            uint32_t sum = (uint32_t)acc[c] + (uint32_t)start(w, panel, c, comp, zero);
            out[c] = fmaf((float)(int32_t)sum, scale_of(w, panel, c) * sa, out[c]);
        }
        panel += packed_group_bytes(w->group, w->nibbles, w->wide);
    }
}

static void gemm_i8(const struct packed_i8 *w, const struct quant_rows *a, size_t rows, size_t p0,
                    size_t p1, const struct gemm_out *out)
{
    for (size_t p = p0; p < p1; p++) {
        size_t n = w->n - p * PANEL < PANEL ? w->n - p * PANEL : PANEL;
        for (size_t r = 0; r < rows; r++) {
            float y[PANEL], *to = out->out + r * out->ld + p * PANEL;
            gemm_panel(w, a, r, w->w + p * w->panel_bytes, y);
            for (size_t c = 0; c < n; c++)
                to[c] = out->add ? to[c] + y[c] : y[c];
        }
    }
}

enum { PEAK_CHAINS = 6, DOT_MACS = 16 };

static inline i16 dot_step(i16 sum, i16 a, i16 b)
{
    __asm__ volatile("" : "+m"(a));
    for (size_t i = 0; i < 16; i++)
        sum.i[i] += a.i[i] * b.i[i];
    return sum;
}

#include "model/kernels/peak_kernels.h"

const struct kernels kernels_generic = {
    .name = "generic", .pack = {4, 128}, .gemm_i8 = gemm_i8, KERNELS_SHARED, KERNELS_PEAK};
