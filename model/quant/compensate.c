#include "model/quant/compensate.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "config/status.h"
#include "model/quant/grid.h"

enum {
    BLOCK = 64, /* columns that are factored together */
    STEP = 256  /* most columns that are rounded before their errors reach those after them */
};

struct compensate {
    const struct kernels *kernels;
    size_t k;
    float *r; /* R as panels of columns, [k][PANEL] each; zeros beyond k */
    float *d; /* [k]: D */
};

/* The diagonal block of a: lower triangular factor in place. */
static bool factor_block(float *a, size_t ld, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        double d = (double)a[j * ld + j];
        for (size_t t = 0; t < j; t++)
            d -= (double)a[j * ld + t] * (double)a[j * ld + t];
        if (!(d > 0.0 && isfinite(d)))
            return false;
        d = sqrt(d);
        a[j * ld + j] = (float)d;
        for (size_t i = j + 1; i < n; i++) {
            double s = (double)a[i * ld + j];
            for (size_t t = 0; t < j; t++)
                s -= (double)a[i * ld + t] * (double)a[j * ld + t];
            a[i * ld + j] = (float)(s / d);
        }
    }
    return true;
}

/* The n columns under the diagonal block l, m rows of them: x L^T = a, in place. */
static void solve_below(const float *l, float *a, size_t ld, size_t n, size_t m)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            float s = a[i * ld + j];
            for (size_t t = 0; t < j; t++)
                s -= a[i * ld + t] * l[j * ld + t];
            a[i * ld + j] = s / l[j * ld + j];
        }
}

/* rest[m][m] -= below[m][n] below^T, the lower half. packed: [2 m + PANEL][n]. */
static void update_rest(const struct kernels *kernels, const float *below, float *rest, size_t ld,
                        size_t n, size_t m, float *packed)
{
    float *minus = packed, *panel = packed + m * n;

    for (size_t i = 0; i < m; i++)
        for (size_t t = 0; t < n; t++)
            minus[i * n + t] = -below[i * ld + t];
    for (size_t p = 0; p < m; p += PANEL) {
        const size_t cols = m - p < PANEL ? m - p : PANEL;
        const struct packed_f32 w = {.w = panel, .n = cols, .k = n};
        const struct gemm_out to = {.out = rest + p * ld + p, .ld = ld, .add = true};
        memset(panel, 0, n * PANEL * sizeof(*panel));
        for (size_t c = 0; c < cols; c++)
            for (size_t t = 0; t < n; t++)
                panel[t * PANEL + c] = below[(p + c) * ld + t];
        kernels->gemm_f32(&w, minus + p * n, m - p, 0, 1, &to);
    }
}

/* a[k][k] → L in its lower half, a = L L^T: blocked, each block's columns taken off what is to the
 * right of it (Golub and Van Loan, Matrix Computations, 4.2.6). */
static bool cholesky(const struct kernels *kernels, float *a, size_t k, float *packed)
{
    for (size_t b = 0; b < k; b += BLOCK) {
        const size_t n = k - b < BLOCK ? k - b : BLOCK, m = k - b - n;
        float *block = a + b * k + b, *below = block + n * k;
        if (!factor_block(block, k, n))
            return false;
        solve_below(block, below, k, n, m);
        update_rest(kernels, below, below + n, k, n, m, packed);
    }
    return true;
}

/* Turned around both ways, so that the lower factor of what comes out is R, turned around. */
static void reverse(float *h, size_t k)
{
    for (size_t i = 0; i < k * k / 2; i++) {
        float t = h[i];
        h[i] = h[k * k - 1 - i];
        h[k * k - 1 - i] = t;
    }
}

/* R_ij = L_ij / L_jj of the factor that reverse() has turned around. */
static void pack_factor(struct compensate *c, const float *h)
{
    for (size_t j = 0; j < c->k; j++)
        c->d[j] = h[j * c->k + j] * h[j * c->k + j];
    for (size_t i = 0; i < c->k; i++)
        for (size_t j = i; j < c->k; j++)
            c->r[(j / PANEL * c->k + i) * PANEL + j % PANEL] =
                j == i ? 1.0f : h[i * c->k + j] / h[j * c->k + j];
}

static bool add_damping(float *h, size_t k, double damp)
{
    double sum = 0.0;

    for (size_t i = 0; i < k; i++)
        sum += (double)h[i * k + i];
    if (!isfinite(sum))
        return false;
    double add = sum > 0.0 ? damp * sum / (double)k : 1.0;
    for (size_t i = 0; i < k; i++)
        h[i * k + i] += (float)add;
    return true;
}

int compensate_open(const struct kernels *kernels, float *h, size_t k, double damp,
                    struct compensate **ret_compensate)
{
    struct compensate *c = calloc(1, sizeof(*c));
    float *packed = malloc((k + PANEL) * BLOCK * sizeof(*packed));
    int r = ST_NOMEM;

    if (!c || !packed)
        goto out;
    *c = (struct compensate){.kernels = kernels, .k = k};
    c->r = calloc(packed_panels(k) * k * PANEL, sizeof(*c->r));
    c->d = malloc(k * sizeof(*c->d));
    if (!c->r || !c->d)
        goto out;
    r = ST_INTERNAL;
    if (!add_damping(h, k, damp))
        goto out;
    reverse(h, k);
    if (!cholesky(kernels, h, k, packed))
        goto out;
    reverse(h, k);
    pack_factor(c, h);
    r = ST_OK;
out:
    free(packed);
    if (r != ST_OK) {
        compensate_free(c);
        return r;
    }
    *ret_compensate = c;
    return ST_OK;
}

void compensate_free(struct compensate *c)
{
    if (!c)
        return;
    free(c->r);
    free(c->d);
    free(c);
}

size_t compensate_scratch(size_t k)
{
    return (k + STEP) * COMPENSATE_ROWS + k;
}

/* What an error e of column j0 + j adds to those of [j0, j0 + n) that follow it. */
static void move_error(const struct compensate *c, size_t j0, size_t j, size_t n, float e,
                       float *moved)
{
    for (size_t i = j + 1; i < n;) {
        const size_t at = j0 + i, in = at % PANEL;
        const float *r = c->r + (at / PANEL * c->k + j0 + j) * PANEL + in;
        const size_t run = n - i < PANEL - in ? n - i : PANEL - in;
        for (size_t t = 0; t < run; t++)
            moved[i + t] += e * r[t];
        i += run;
    }
}

/* For the n weights from column j0 on as GPTQ has them when it comes there: what they would become if
 * none of them were rounded. ahead[n]: scratch. */
static int fit_grid(const struct compensate *c, const struct quant_spec *spec, bool clip,
                    const float *w, size_t j0, const float *moved, float *ahead,
                    struct grid *ret_grid)
{
    const size_t n = spec->group;

    memcpy(ahead, moved, n * sizeof(*ahead));
    for (size_t j = 0; j < n; j++) {
        const float added = ahead[j];
        if (j0 > 0)
            move_error(c, j0, j, n, -added, ahead);
        ahead[j] = w[j] + added;
    }
    return grid_fit(c->kernels, spec, clip ? GRID_SEARCH : GRID_RANGE, ahead, c->d + j0, n,
                    ret_grid);
}

/* Columns [j0, j0 + n) of one row. moved[n]: what the columns before them add. e[n]: out, w - w'. */
static void round_columns(const struct compensate *c, const struct grid *grid, const float *w,
                          size_t j0, size_t n, float *moved, int8_t *q, float *e)
{
    for (size_t j = 0; j < n; j++) {
        float v = grid_round(grid, w[j] + moved[j]);
        q[j] = (int8_t)(v + grid->zero);
        e[j] = w[j] - v * grid->scale;
        move_error(c, j0, j, n, e[j], moved);
    }
}

/* What the errors e[n_rows][n] of columns [j0, j0 + n) add to all columns after them. */
static void move_errors(const struct compensate *c, const float *e, size_t n_rows, size_t j0,
                        size_t n, float *moved)
{
    const size_t k = c->k;

    for (size_t p = (j0 + n) / PANEL; p < packed_panels(k); p++) {
        const struct packed_f32 w = {.w = c->r + (p * k + j0) * PANEL, .n = k - p * PANEL, .k = n};
        const struct gemm_out to = {.out = moved + p * PANEL, .ld = k, .add = true};
        c->kernels->gemm_f32(&w, e, n_rows, 0, 1, &to);
    }
}

int compensate_rows(const struct compensate *c, const struct quant_spec *spec, bool clip,
                    const float *w, size_t n_rows, const struct quant_row *all, float *scratch)
{
    const size_t k = c->k, group = spec->group, groups = k / group;
    const size_t step = group <= STEP ? group : PANEL;
    float *ahead = scratch, *moved = scratch + k, *e = moved + n_rows * k;
    struct grid grids[COMPENSATE_ROWS];

    assert(n_rows <= COMPENSATE_ROWS && k % group == 0 && group % PANEL == 0);
    memset(moved, 0, n_rows * k * sizeof(*moved));
    for (size_t j = 0; j < k; j += step) {
        for (size_t i = 0; i < n_rows; i++) {
            const size_t at = i * k + j, g = i * groups + j / group;
            if (j % group == 0) {
                if (fit_grid(c, spec, clip, w + at, j, moved + at, ahead, &grids[i]) != ST_OK)
                    return ST_FORMAT;
                all->scales[g] = grids[i].scale;
                all->zeros[g] = (int8_t)grids[i].zero;
            }
            round_columns(c, &grids[i], w + at, j, step, moved + at, all->q + at, e + i * step);
        }
        move_errors(c, e, n_rows, j, step, moved);
    }
    return ST_OK;
}
