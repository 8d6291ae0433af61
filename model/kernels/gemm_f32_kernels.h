/* gemm_f32_kernels.h - the float product, written once over v16 (see float_kernels.h).
 *
 * A tile of rows x columns stays in registers over all of k: a step loads a line or two of the
 * panel and multiplies them with one activation a row. The sum of an output is one chain of fma in
 * ascending k, so a row's result depends neither on the tile it falls into nor on the set. Weights
 * that are f16 are widened on their way, which is exact. */
#ifndef OCTET_MODEL_KERNELS_GEMM_F32_KERNELS_H
#define OCTET_MODEL_KERNELS_GEMM_F32_KERNELS_H

#include <string.h>

#include "model/kernels/float_kernels.h"
#include "model/kernels/rows.h"

/* Rows of a tile, two accumulators each; the other registers hold its operands. clang would spill
 * the sums of a third row of ymm pairs: 24 G a second, not 50. */
#ifdef __clang__
#define F32_ROWS (V16_REGS >= 32 ? 12 : 2)
#else
#define F32_ROWS (V16_REGS >= 32 ? 12 : 3)
#endif

/* y[rows][16 * vecs] (+)= x[rows][k] w[k][16 * vecs]; ldw, ldx: from row to row. */
struct f32_product {
    const void *w; /* f16 if half, else f32 */
    const float *x;
    size_t ldw, ldx, k;
    struct gemm_out y;
};

KERNEL_INLINE v16 f32_load(const void *w, size_t i, const bool half)
{
    return half ? v16_load_half((const uint16_t *)w + i) : v16_load((const float *)w + i);
}

/* rows (up to F32_ROWS), vecs (up to 2) and half are constants where this is inlined. */
KERNEL_INLINE void f32_tile(const struct f32_product *p, const size_t rows, const size_t vecs,
                            const bool half)
{
    const size_t ldw = p->ldw, ldx = p->ldx, k = p->k;
    const void *const w = p->w;
    const float *const x = p->x;
    v16 f[F32_ROWS][2], b[2];

    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < vecs; j++)
            f[i][j] = p->y.add ? v16_load(p->y.out + i * p->y.ld + 16 * j) : v16_set1(0.0f);
    for (size_t c = 0; c < k; c++) {
        for (size_t j = 0; j < vecs; j++)
            b[j] = f32_load(w, c * ldw + 16 * j, half);
        for (size_t i = 0; i < rows; i++) {
            v16 a = v16_set1(x[i * ldx + c]);
            for (size_t j = 0; j < vecs; j++)
                f[i][j] = v16_fma(b[j], a, f[i][j]);
        }
    }
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < vecs; j++)
            v16_store(p->y.out + i * p->y.ld + 16 * j, f[i][j]);
}

/* One tile of a panel. Of the last one, when it is not full, n columns: through a buffer, so that
 * the tiles need no masks. */
KERNEL_INLINE void f32_panel(const struct f32_product *p, size_t rows, size_t n, const bool half)
{
    float t[F32_ROWS][PANEL];
    struct f32_product to = *p;

    if (n < PANEL) {
        memset(t, 0, sizeof(t));
        for (size_t i = 0; i < rows && p->y.add; i++)
            memcpy(t[i], p->y.out + i * p->y.ld, n * sizeof(float));
        to.y.out = t[0];
        to.y.ld = PANEL;
    }
    ROWS_TO_12(rows, f32_tile(&to, ROWS <= F32_ROWS ? ROWS : 0, 2, half))
    for (size_t i = 0; i < rows && n < PANEL; i++)
        memcpy(p->y.out + i * p->y.ld, t[i], n * sizeof(float));
}

static void f32_panel_f32(const struct f32_product *p, size_t rows, size_t n)
{
    f32_panel(p, rows, n, false);
}

static void f32_panel_f16(const struct f32_product *p, size_t rows, size_t n)
{
    f32_panel(p, rows, n, true);
}

static void gemm_f32(const struct packed_f32 *w, const float *x, size_t rows, size_t p0, size_t p1,
                     const struct gemm_out *out)
{
    /* Tiles of nearly equal height: 16 rows are 8 + 8, not 12 + 4. */
    const size_t tiles = (rows + F32_ROWS - 1) / F32_ROWS;

    for (size_t p = p0; p < p1; p++)
        for (size_t t = 0; t < tiles; t++) {
            size_t r = rows * t / tiles, n = w->n - p * PANEL;
            const struct f32_product tile = {
                .w = (const char *)w->w + p * w->k * PANEL * (w->half ? 2 : 4),
                .x = x + r * w->k,
                .ldw = PANEL,
                .ldx = w->k,
                .k = w->k,
                .y = {.out = out->out + r * out->ld + p * PANEL, .ld = out->ld, .add = out->add}};
            if (w->half)
                f32_panel_f16(&tile, rows * (t + 1) / tiles - r, n < PANEL ? n : PANEL);
            else
                f32_panel_f32(&tile, rows * (t + 1) / tiles - r, n < PANEL ? n : PANEL);
        }
}

#endif
