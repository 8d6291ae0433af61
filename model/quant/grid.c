#include "model/quant/grid.h"

#include <math.h>

#include "model/format/dequant.h"

/* Symmetric: max|x| becomes 127. With 4 bits the sixteenth level counts: the largest |x| becomes -8,
 * so that the scale may be negative, and what is beyond 7 on the other side is held to it (as ggml's
 * Q4_0 does). Affine: all levels from min to max. */
static float scale_of(const struct quant_spec *spec, float top, float min, float max)
{
    const float steps = 2.0f * top + 1.0f;
    float scale;

    if (spec->zero)
        scale = max / steps - min / steps;
    else if (spec->bits == 4)
        scale = (max > -min ? max : min) / -8.0f;
    else
        scale = (max > -min ? max : -min) / top;
    return spec->scale_f32 ? scale : f16_to_f32(f32_to_f16(scale));
}

int grid_of(const struct quant_spec *spec, float min, float max, struct grid *ret_grid)
{
    const float top = spec->bits == 4 ? 7.0f : 127.0f;
    const bool all = spec->zero || spec->bits == 4; /* levels, -top - 1 too */
    struct grid g = {.scale = scale_of(spec, top, min, max)};

    if (!isfinite(g.scale))
        return ST_FORMAT;
    if (spec->zero && g.scale > 0.0f) {
        g.zero = -top - 1.0f - rintf(min / g.scale);
        g.zero = g.zero > top ? top : g.zero;
    }
    g.low = (all ? -top - 1.0f : -top) - g.zero;
    g.high = top - g.zero;
    *ret_grid = g;
    return ST_OK;
}

enum { LANES = 16, COARSE = 20, COARSE_STEPS = 32, FINE = 48, FINE_STEPS = 480, FINE_UP = 32 };

/* Ranges that are tried for these weights, some at a time, and the best so far. */
struct search {
    const struct kernels *kernels;
    const struct quant_spec *spec;
    const float *x, *energy;
    size_t n;
    struct grid tried[LANES];
    size_t n_tried;
    struct grid best;
    float error; /* of the best; infinite: none yet */
};

static void judge(struct search *s)
{
    struct kernel_grids grids = {0};
    float errors[LANES];

    for (size_t i = 0; i < s->n_tried; i++) {
        grids.scale[i] = s->tried[i].scale;
        grids.low[i] = s->tried[i].low;
        grids.high[i] = s->tried[i].high;
    }
    if (s->n_tried)
        s->kernels->rounding_errors(s->x, s->energy, s->n, &grids, errors);
    for (size_t i = 0; i < s->n_tried; i++)
        if (errors[i] < s->error) {
            s->error = errors[i];
            s->best = s->tried[i];
        }
    s->n_tried = 0;
}

/* A scale beyond what is stored is no candidate. */
static void try_range(struct search *s, float min, float max)
{
    if (grid_of(s->spec, min, max, &s->tried[s->n_tried]) == ST_OK)
        s->n_tried++;
    if (s->n_tried == LANES)
        judge(s);
}

static void search_fine(struct search *s, float min, float max)
{
    for (int i = -FINE_UP; i < FINE - FINE_UP; i++) {
        const float part = 1.0f - (float)i / (float)FINE_STEPS;
        try_range(s, min * part, max * part);
    }
}

static float coarse(int i)
{
    return 1.0f - (float)i / (float)COARSE_STEPS;
}

static void search_symmetric(struct search *s, float top)
{
    for (int i = 0; i < COARSE; i++) {
        const float end = 8.0f / 7.0f * top * coarse(i);
        try_range(s, 0.0f, end);
        try_range(s, -end, 0.0f);
    }
}

static void search_affine(struct search *s, float min, float max)
{
    float low = min, error = s->error;

    for (int i = 0; i < COARSE; i++) {
        try_range(s, min * coarse(i), max);
        judge(s);
        if (s->error < error) {
            error = s->error;
            low = min * coarse(i);
        }
    }
    for (int i = 1; i < COARSE; i++)
        try_range(s, low, max * coarse(i));
}

int grid_fit(const struct kernels *kernels, const struct quant_spec *spec, enum grid_how how,
             const float *x, const float *energy, size_t n, struct grid *ret_grid)
{
    struct search s = {.kernels = kernels, .spec = spec, .x = x, .energy = energy, .n = n};
    float min = 0.0f, max = 0.0f;

    for (size_t i = 0; i < n; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
    }
    int r = grid_of(spec, min, max, &s.tried[0]);
    if (r != ST_OK)
        return r;
    s.best = s.tried[0];
    s.error = INFINITY;
    if (how == GRID_SEARCH) {
        s.n_tried = 1;
        judge(&s);
        if (spec->bits == 8)
            search_fine(&s, min, max);
        else if (spec->zero)
            search_affine(&s, min, max);
        else
            search_symmetric(&s, max > -min ? max : -min);
        judge(&s);
    }
    *ret_grid = s.best;
    return ST_OK;
}
