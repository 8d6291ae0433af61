#include "model/quant/gram.h"

#include <assert.h>
#include <string.h>

enum { TILE = 64 }; /* the largest block */

/* Where panel p of H begins: the panels before it have k, k - PANEL, ... rows. */
static size_t panel_at(size_t k, size_t p)
{
    return (p * k - PANEL * (p * (p - (p > 0)) / 2)) * PANEL;
}

size_t gram_floats(size_t k)
{
    return panel_at(k, packed_panels(k));
}

size_t gram_rows_floats(size_t k, size_t t)
{
    return packed_panels(k) * PANEL * t;
}

void gram_put_row(float *rows, size_t k, size_t t, size_t r, const float *x)
{
    for (size_t p = 0; p < packed_panels(k); p++) {
        float *to = rows + (p * t + r) * PANEL;
        size_t n = k - p * PANEL < PANEL ? k - p * PANEL : PANEL;
        memcpy(to, x + p * PANEL, n * sizeof(*x));
        memset(to + n, 0, (PANEL - n) * sizeof(*x));
    }
}

void gram_add(const struct kernels *kernels, float *h, const float *rows, size_t k, size_t t,
              size_t first, size_t step, float *turned)
{
    for (size_t i = first * PANEL; i < k; i++)
        for (size_t r = 0; r < t; r++)
            turned[i * t + r] = rows[(i / PANEL * t + r) * PANEL + i % PANEL];
    for (size_t p = first; p < packed_panels(k); p += step) {
        const struct packed_f32 w = {.w = rows + p * PANEL * t, .n = PANEL, .k = t};
        const struct gemm_out to = {.out = h + panel_at(k, p), .ld = PANEL, .add = true};
        kernels->gemm_f32(&w, turned + p * PANEL * t, k - p * PANEL, 0, 1, &to);
    }
}

static void turn_rows(const struct kernels *kernels, size_t k, size_t block, size_t to, float *out)
{
    for (size_t i = 0; i < k; i++)
        kernels->hadamard(out + i * to, k, block);
}

static void mirror(float *out, size_t k, size_t to)
{
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < i; j++) {
            float lower = out[i * to + j];
            out[i * to + j] = out[j * to + i];
            out[j * to + i] = lower;
        }
}

/* H_ij, j <= i. */
static float entry(const float *h, size_t k, size_t i, size_t j)
{
    const size_t p = j / PANEL;

    return h[panel_at(k, p) + (i - p * PANEL) * PANEL + j % PANEL];
}

void gram_mean(const struct kernels *kernels, const float *h, size_t k, double n_rows,
               const float *by, size_t block, size_t to, float *out)
{
    const float scale = n_rows > 0.0 ? (float)(1.0 / n_rows) : 0.0f;

    memset(out, 0, to * to * sizeof(*out));
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j <= i; j++) {
            float v = entry(h, k, i, j) * scale;
            out[i * to + j] = out[j * to + i] = by ? v / by[i] / by[j] : v;
        }
    if (block < 2)
        return;
    /* T H T, T = T^t: rows, then columns as the rows of the transpose. */
    turn_rows(kernels, k, block, to, out);
    mirror(out, k, to);
    turn_rows(kernels, k, block, to, out);
    for (size_t i = 0; i < k; i++) /* symmetric to the last bit */
        for (size_t j = 0; j < i; j++)
            out[i * to + j] = out[j * to + i];
}

void gram_energy(const struct kernels *kernels, const float *h, size_t k, double n_rows,
                 const float *by, size_t block, float *out)
{
    const float scale = n_rows > 0.0 ? (float)(1.0 / n_rows) : 0.0f;
    const size_t step = block < 2 ? 1 : block;
    float tile[TILE * TILE];

    assert(step <= TILE && k % step == 0);
    for (size_t at = 0; at < k; at += step) {
        for (size_t i = 0; i < step; i++)
            for (size_t j = 0; j <= i; j++) {
                float v = entry(h, k, at + i, at + j) * scale;
                tile[i * step + j] = tile[j * step + i] = by ? v / by[at + i] / by[at + j] : v;
            }
        turn_rows(kernels, step, block, step, tile);
        mirror(tile, step, step);
        turn_rows(kernels, step, block, step, tile);
        for (size_t i = 0; i < step; i++) /* what is 0 may have become less by rounding */
            out[at + i] = tile[i * step + i] > 0.0f ? tile[i * step + i] : 0.0f;
    }
}
