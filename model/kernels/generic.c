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

/* One row times one panel. */
static void gemm_panel(const struct packed_i8 *w, const struct quant_rows *a, size_t r,
                       const uint8_t *panel, float *out)
{
    size_t n_groups = w->k / w->group;

    for (size_t c = 0; c < PANEL; c++)
        out[c] = 0.0f;
    for (size_t g = 0; g < n_groups; g++) {
        const uint8_t *b = panel + g * (PANEL * 2 + w->group * PANEL);
        const int8_t *x = a->q + r * a->k + g * w->group;
        float sa = a->scale[r * n_groups + g];
        uint16_t half[PANEL];
        int32_t acc[PANEL];

        memcpy(half, b, sizeof(half));
        b += sizeof(half);
        for (size_t c = 0; c < PANEL; c++)
            acc[c] = a->comp[r * n_groups + g];
        for (size_t k = 0; k < w->group; k += 4, b += 4 * PANEL)
            for (size_t c = 0; c < PANEL; c++)
                acc[c] += b[4 * c] * x[k] + b[4 * c + 1] * x[k + 1] + b[4 * c + 2] * x[k + 2] +
                          b[4 * c + 3] * x[k + 3];
        for (size_t c = 0; c < PANEL; c++)
            out[c] = fmaf((float)acc[c], half_to_float(half[c]) * sa, out[c]);
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
