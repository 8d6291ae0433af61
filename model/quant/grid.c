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
