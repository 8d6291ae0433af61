#include "model/view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOVING 0.01f /* a batch's weight: torch's averaging_constant */
/* No step is further below the largest: its channel's weights would all round to 0. */
#define CHANNEL_RATIO 256.0f

int view_open(struct view *v, size_t k, uint32_t block)
{
    float *all = calloc(VIEW_CHANNELS * k, sizeof(*all));

    *v = (struct view){.k = k, .block = block};
    for (size_t i = 0; all && i < VIEW_CHANNELS; i++)
        v->channels[i] = all + i * k;
    return all ? ST_OK : ST_NOMEM;
}

void view_done(struct view *v)
{
    free(v->channels[0]);
}

/* The extremes of each channel of x[t][k] → low[k], high[k]. */
static void extremes(const float *x, size_t t, size_t k, float *low, float *high)
{
    memcpy(low, x, k * sizeof(*low));
    memcpy(high, x, k * sizeof(*high));
    for (size_t r = 1; r < t; r++)
        for (size_t c = 0; c < k; c++) {
            float a = x[r * k + c];
            low[c] = a < low[c] ? a : low[c];
            high[c] = a > high[c] ? a : high[c];
        }
}

int view_add(struct view *v, const struct kernels *kernels, float *x, size_t t, float *scratch)
{
    const size_t k = v->k;
    float *low = scratch, *high = scratch + k;
    bool first = v->histogram.n == 0;
    float *const *to = v->channels;

    for (size_t r = 0; r < t; r++)
        kernels->hadamard(x + r * k, k, v->block);
    int st = histogram_add(&v->histogram, x, t * k);
    if (st == ST_OK)
        st = range_add_moving(&v->moving, x, t * k, 1, MOVING);
    if (st != ST_OK)
        return st;
    extremes(x, t, k, low, high);
    for (size_t c = 0; c < k; c++) {
        float a = low[c], b = high[c];
        to[VIEW_MIN][c] = first || a < to[VIEW_MIN][c] ? a : to[VIEW_MIN][c];
        to[VIEW_MAX][c] = first || b > to[VIEW_MAX][c] ? b : to[VIEW_MAX][c];
        to[VIEW_MOVING_MIN][c] += (first ? 1.0f : MOVING) * (a - to[VIEW_MOVING_MIN][c]);
        to[VIEW_MOVING_MAX][c] += (first ? 1.0f : MOVING) * (b - to[VIEW_MOVING_MAX][c]);
    }
    return ST_OK;
}

/* A step that no input could be told apart by is none: 1 / step and what weights are times of it are
 * floats. */
static bool is_none(float step)
{
    return step < 1e-30f;
}

/* Channel c, once divided. */
static struct range channel_range(const struct view *v, const float *factors,
                                  const struct observer_choice *by, size_t c)
{
    const size_t first = by->kind == OBSERVE_MOVING ? VIEW_MOVING_MIN : VIEW_MIN;
    const float by_what = factors ? factors[c] : 1.0f;

    return (struct range){v->channels[first][c] / by_what, v->channels[first + 1][c] / by_what,
                          true};
}

static void channel_steps(const struct view *v, const float *factors,
                          const struct observer_choice *by, const struct levels *l, struct steps *s)
{
    float most = 0.0f;

    for (size_t c = 0; c < v->k; c++) {
        const struct range r = channel_range(v, factors, by, c);
        const struct scale one = scale_of(&r, l);
        s->step[c] = one.scale;
        if (s->zero)
            s->zero[c] = (float)one.zero;
        most = one.scale > most ? one.scale : most;
    }
    for (size_t c = 0; c < v->k; c++)
        s->step[c] = is_none(most)         ? 1.0f
                     : is_none(s->step[c]) ? most
                                           : fmaxf(s->step[c], most / CHANNEL_RATIO);
}

/* Of all channels together. */
static struct range tensor_range(const struct view *v, const float *factors,
                                 const struct observer_choice *by, const struct levels *l)
{
    struct range all = {0.0f, 0.0f, true};

    if (!factors)
        return observer_range(by, &v->histogram, &v->moving, l);
    for (size_t c = 0; c < v->k; c++) {
        const struct range r = channel_range(v, factors, by, c);
        all.min = r.min < all.min ? r.min : all.min;
        all.max = r.max > all.max ? r.max : all.max;
    }
    return all;
}

int view_steps(const struct view *v, const float *factors, const struct observer_choice *by,
               const struct quant_spec *spec, struct steps *ret_steps)
{
    const struct levels l = {spec->act_zero ? -128 : -127, 127, !spec->act_zero};
    const bool channel = spec->act_static == QUANT_CHANNEL,
               counted = !channel && by->kind != OBSERVE_MINMAX && by->kind != OBSERVE_MOVING;

    if (factors && (v->block || counted))
        return ST_INVALID;
    int r = steps_new(spec, v->k, ret_steps);
    if (r != ST_OK)
        return r;
    if (channel) {
        channel_steps(v, factors, by, &l, ret_steps);
        return ST_OK;
    }
    const struct range range = tensor_range(v, factors, by, &l);
    const struct scale one = scale_of(&range, &l);
    if (is_none(one.scale))
        return ST_OK;
    ret_steps->step[0] = one.scale;
    if (ret_steps->zero)
        ret_steps->zero[0] = (float)one.zero;
    return ST_OK;
}
