/* gemm_f32_kernels.h - the float product, written once over v16 (see float_kernels.h).
 *
 * A tile of rows x columns stays in registers over all of k: a step loads a line or two of the
 * panel and multiplies them with one activation a row. The sum of an output is one chain of fma in
 * ascending k, so a row's result depends neither on the tile it falls into nor on the set. */
#ifndef OCTET_MODEL_KERNELS_GEMM_F32_KERNELS_H
#define OCTET_MODEL_KERNELS_GEMM_F32_KERNELS_H

#include <string.h>

#include "model/kernels/kernels.h"
#include "model/kernels/rows.h"

/* Rows of a tile: two accumulators each in three quarters of the registers, its operands in the
 * rest. */
#define F32_ROWS (V16_REGS * 3 / 8)

/* y[rows][PANEL] (+)= x[rows][k] w[k][PANEL]. rows is a constant where this is inlined. */
static inline __attribute__((always_inline)) void
f32_tile(const float *w, const float *x, size_t k, const size_t rows, const struct gemm_out *y)
{
    v16 f[F32_ROWS][2];

    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < 2; j++)
            f[i][j] = y->add ? v16_load(y->out + i * y->ld + 16 * j) : v16_set1(0.0f);
    for (size_t c = 0; c < k; c++) {
        v16 b0 = v16_load(w + c * PANEL), b1 = v16_load(w + c * PANEL + 16);
        for (size_t i = 0; i < rows; i++) {
            v16 a = v16_set1(x[i * k + c]);
            f[i][0] = v16_fma(b0, a, f[i][0]);
            f[i][1] = v16_fma(b1, a, f[i][1]);
        }
    }
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < 2; j++)
            v16_store(y->out + i * y->ld + 16 * j, f[i][j]);
}

static void f32_rows(const float *w, const float *x, size_t k, size_t rows,
                     const struct gemm_out *y)
{
    ROWS_TO_12(rows, f32_tile(w, x, k, ROWS <= F32_ROWS ? ROWS : 0, y))
}

/* The last panel when it is not full: through a buffer, so that the tiles need no masks. */
static void f32_rows_tail(const float *w, const float *x, size_t k, size_t rows, size_t n,
                          const struct gemm_out *y)
{
    float t[F32_ROWS][PANEL];
    const struct gemm_out to = {.out = t[0], .ld = PANEL, .add = y->add};

    memset(t, 0, sizeof(t));
    for (size_t i = 0; i < rows && y->add; i++)
        memcpy(t[i], y->out + i * y->ld, n * sizeof(float));
    f32_rows(w, x, k, rows, &to);
    for (size_t i = 0; i < rows; i++)
        memcpy(y->out + i * y->ld, t[i], n * sizeof(float));
}

static void gemm_f32(const struct packed_f32 *w, const float *x, size_t rows, size_t p0, size_t p1,
                     const struct gemm_out *out)
{
    /* Tiles of nearly equal height: 16 rows are 8 + 8, not 12 + 4. */
    const size_t tiles = (rows + F32_ROWS - 1) / F32_ROWS, panel = w->k * PANEL;

    for (size_t p = p0; p < p1; p++)
        for (size_t t = 0; t < tiles; t++) {
            size_t r = rows * t / tiles, n = rows * (t + 1) / tiles - r, left = w->n - p * PANEL;
            const struct gemm_out y = {out->out + r * out->ld + p * PANEL, out->ld, out->add};
            if (left >= PANEL)
                f32_rows(w->w + p * panel, x + r * w->k, w->k, n, &y);
            else
                f32_rows_tail(w->w + p * panel, x + r * w->k, w->k, n, left, &y);
        }
}

#endif
