/* gemm_i8_kernels.h - a product's panels and tiles, for sets whose tiles need nothing else.
 *
 * The including set has defined, before this, TILE_ROWS <= 6 and gemm_rows(w, a, r0, p, rows, out):
 * rows [r0, r0 + rows) of panel p, rows a constant where it is inlined. */
#ifndef OCTET_MODEL_KERNELS_GEMM_I8_KERNELS_H
#define OCTET_MODEL_KERNELS_GEMM_I8_KERNELS_H

#include "model/kernels/kernels.h"
#include "model/kernels/rows.h"

static void gemm_i8(const struct packed_i8 *w, const struct quant_rows *a, size_t rows, size_t p0,
                    size_t p1, const struct gemm_out *out)
{
    /* Tiles of nearly equal height: 8 rows are 4 + 4, not 6 + 2. */
    const size_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;

    for (size_t p = p0; p < p1; p++)
        for (size_t t = 0; t < tiles; t++) {
            size_t r = rows * t / tiles, n = rows * (t + 1) / tiles - r;
            ROWS_TO_6(n, gemm_rows(w, a, r, p, ROWS, out))
        }
}

#endif
