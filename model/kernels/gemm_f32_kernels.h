/* gemm_f32_kernels.h - the float product, written once over v16 (see float_kernels.h).
 *
 * A tile of rows x columns stays in registers over all of k: a step loads a line or two of the
 * panel and multiplies them with one activation a row. The sum of an output is one chain of fma in
 * ascending k, so a row's result depends neither on the tile it falls into nor on the set. */
#ifndef OCTET_MODEL_KERNELS_GEMM_F32_KERNELS_H
#define OCTET_MODEL_KERNELS_GEMM_F32_KERNELS_H

#include <string.h>

#include "model/kernels/kernels.h"

/* Accumulators of a tile; the other registers hold its operands. Where 24 fit a full tile is two
 * vectors wide, where 6 do, one. */
enum { F32_ACCS = V16_REGS * 3 / 4, F32_ROWS = F32_ACCS >= 24 ? 12 : 6 };

#define F32_INLINE static inline __attribute__((always_inline))

/* y[rows][16 * vecs] (+)= x[rows][k] w[k][PANEL], w's first 16 * vecs columns. */
F32_INLINE void f32_tile(const float *w, const float *x, size_t k, const size_t rows,
                         const size_t vecs, const struct gemm_out *y)
{
    v16 f[F32_ROWS][2];

    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < vecs; j++)
            f[i][j] = y->add ? v16_load(y->out + i * y->ld + 16 * j) : v16_set1(0.0f);
    for (size_t c = 0; c < k; c++) {
        v16 b[2];
        for (size_t j = 0; j < vecs; j++)
            b[j] = v16_load(w + c * PANEL + 16 * j);
        for (size_t i = 0; i < rows; i++) {
            v16 a = v16_set1(x[i * k + c]);
            for (size_t j = 0; j < vecs; j++)
                f[i][j] = v16_fma(b[j], a, f[i][j]);
        }
    }
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < vecs; j++)
            v16_store(y->out + i * y->ld + 16 * j, f[i][j]);
}

/* The whole width of a panel: at once where the accumulators fit. */
F32_INLINE void f32_width(const float *w, const float *x, size_t k, const size_t rows,
                          const struct gemm_out *y)
{
    if (2 * rows <= F32_ACCS) {
        f32_tile(w, x, k, rows, 2, y);
        return;
    }
    struct gemm_out half = *y;
    f32_tile(w, x, k, rows, 1, &half);
    half.out += 16;
    f32_tile(w + 16, x, k, rows, 1, &half);
}

static void f32_rows(const float *w, const float *x, size_t k, size_t rows,
                     const struct gemm_out *y)
{
    switch (rows) {
#define F32_CASE(n)                                                                                \
    case n:                                                                                        \
        f32_width(w, x, k, n <= F32_ROWS ? n : 0, y);                                              \
        break
        F32_CASE(1);
        F32_CASE(2);
        F32_CASE(3);
        F32_CASE(4);
        F32_CASE(5);
        F32_CASE(6);
        F32_CASE(7);
        F32_CASE(8);
        F32_CASE(9);
        F32_CASE(10);
        F32_CASE(11);
        F32_CASE(12);
#undef F32_CASE
    default:
        break;
    }
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
    const size_t tiles = (rows + F32_ROWS - 1) / F32_ROWS;

    for (size_t p = p0; p < p1; p++)
        for (size_t t = 0; t < tiles; t++) {
            const float *panel = w->w + p * w->k * PANEL;
            size_t r = rows * t / tiles, n = rows * (t + 1) / tiles - r, left = w->n - p * PANEL;
            const struct gemm_out y = {out->out + r * out->ld + p * PANEL, out->ld, out->add};
            if (left >= PANEL)
                f32_rows(panel, x + r * w->k, w->k, n, &y);
            else
                f32_rows_tail(panel, x + r * w->k, w->k, n, left, &y);
        }
}

#endif
