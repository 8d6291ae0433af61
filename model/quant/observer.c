#include "model/quant/observer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* GIVE_UP: a search ends where the error is so many times the best. CUT_MOST: no more than one in so
 * many is cut off by entropy, which counts what is cut as if it were at the end: of numbers that are
 * all far from 0 it would cut nearly all. */
enum {
    HALF = HISTOGRAM_BINS / 2,
    ENTROPY_LEVELS = 128,
    GIVE_UP = 3,
    CUT_MOST = 100,
    LANES = 16,
    CHUNK = 256
};

/* Of n numbers, LANES side by side so that compilers make vectors of them. */
static bool extremes_of_row(const float *x, size_t n, struct range *r)
{
    float low[LANES], high[LANES], broken[LANES] = {0};
    size_t i = 0;

    for (size_t j = 0; j < LANES; j++) {
        low[j] = r->min;
        high[j] = r->max;
    }
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) {
            float v = x[i + j];
            low[j] = v < low[j] ? v : low[j];
            high[j] = v > high[j] ? v : high[j];
            broken[j] += v * 0.0f; /* NaN for NaN and infinity */
        }
    for (size_t j = 0; j < LANES; j++) {
        float v = i + j < n ? x[i + j] : r->min;
        low[0] = fminf(low[0], fminf(low[j], v));
        high[0] = fmaxf(high[0], fmaxf(high[j], v));
        broken[0] += broken[j] + v * 0.0f;
    }
    r->min = low[0];
    r->max = high[0];
    return broken[0] == 0.0f;
}

/* The extremes of a batch alone. */
static int extremes(const float *x, size_t n, size_t stride, struct range *ret_range)
{
    struct range r = {.seen = n > 0};
    bool finite = true;

    if (n > 0)
        r.min = r.max = x[0];
    if (stride == 1)
        finite = extremes_of_row(x, n, &r);
    for (size_t i = 0; i < n && stride != 1; i++)
        finite &= extremes_of_row(x + i * stride, 1, &r);
    if (!finite)
        return ST_FORMAT;
    *ret_range = r;
    return ST_OK;
}

static void widen(struct range *r, const struct range *by)
{
    if (!by->seen)
        return;
    if (!r->seen || by->min < r->min)
        r->min = by->min;
    if (!r->seen || by->max > r->max)
        r->max = by->max;
    r->seen = true;
}

int range_add(struct range *r, const float *x, size_t n, size_t stride)
{
    struct range batch;
    int st = extremes(x, n, stride, &batch);

    if (st == ST_OK)
        widen(r, &batch);
    return st;
}

int range_add_moving(struct range *r, const float *x, size_t n, size_t stride, float c)
{
    struct range batch;
    int st = extremes(x, n, stride, &batch);

    if (st != ST_OK || !batch.seen)
        return st;
    if (r->seen) {
        r->min += c * (batch.min - r->min);
        r->max += c * (batch.max - r->max);
    } else {
        *r = batch;
    }
    return ST_OK;
}

/* ---- histogram ---- */

static double bin_width(const struct histogram *h)
{
    return h->top / HALF;
}

static double edge(const struct histogram *h, size_t bin)
{
    return ((double)bin - HALF) * bin_width(h);
}

/* Twice the range: bins join in pairs around the middle. */
static void double_top(struct histogram *h)
{
    uint64_t joined[HALF];

    for (size_t i = 0; i < HALF; i++)
        joined[i] = h->bins[2 * i] + h->bins[2 * i + 1];
    memset(h->bins, 0, sizeof(h->bins));
    memcpy(h->bins + HALF / 2, joined, sizeof(joined));
    h->top *= 2.0;
}

/* |x| <= top. by: 1 / width. */
static int bin_of(float x, double by)
{
    int from_middle = (int)(fabs((double)x) * by);

    from_middle = from_middle < HALF ? from_middle : HALF - 1;
    return x < 0.0f ? HALF - 1 - from_middle : HALF + from_middle;
}

/* In chunks: where numbers belong is found many at a time. */
static void count(struct histogram *h, const float *x, size_t n)
{
    const double by = 1.0 / bin_width(h);
    int bins[CHUNK];

    for (size_t i = 0; i < n; i += CHUNK) {
        const size_t here = n - i < CHUNK ? n - i : CHUNK;
        for (size_t j = 0; j < here; j++)
            bins[j] = bin_of(x[i + j], by);
        for (size_t j = 0; j < here; j++)
            h->bins[bins[j]]++;
    }
}

int histogram_add(struct histogram *h, const float *x, size_t n)
{
    struct range batch;
    int r = extremes(x, n, 1, &batch);

    if (r != ST_OK || !batch.seen)
        return r;
    float most = fmaxf(fabsf(batch.min), fabsf(batch.max));
    if (most > 0.0f && h->top == 0.0) {
        h->bins[HALF] = h->n; /* zeros so far */
        h->top = (double)most;
    }
    while (h->top > 0.0 && (double)most > h->top)
        double_top(h);
    if (h->top > 0.0)
        count(h, x, n);
    h->n += n;
    widen(&h->range, &batch);
    return ST_OK;
}

/* Where the counts from below reach this much. */
static double quantile(const struct histogram *h, double count)
{
    double below = 0.0;

    for (size_t i = 0; i < HISTOGRAM_BINS; i++) {
        double here = (double)h->bins[i];
        if (here > 0.0 && below + here >= count)
            return edge(h, i) + bin_width(h) * fmax(0.0, count - below) / here;
        below += here;
    }
    return (double)h->range.max;
}

/* The counts of |x|: bin i of [0, top]. */
static void fold(const struct histogram *h, struct histogram *ret_folded)
{
    struct histogram f = {.top = h->top, .n = h->n};

    for (size_t i = 0; i < HALF; i++)
        f.bins[HALF + i] = h->bins[HALF + i] + h->bins[HALF - 1 - i];
    f.range = (struct range){0.0f, fmaxf(fabsf(h->range.min), fabsf(h->range.max)), h->range.seen};
    *ret_folded = f;
}

static struct range both_sides(double t, const struct histogram *folded)
{
    float end = t < (double)folded->range.max ? (float)t : folded->range.max;

    return (struct range){-end, end, folded->range.seen};
}

struct range histogram_percentile(const struct histogram *h, const struct levels *l, double share)
{
    const double n = (double)h->n, left = (1.0 - share) / 2.0 * n;
    struct range r = h->range;
    struct histogram folded;

    if (h->top == 0.0)
        return r;
    if (l->symmetric) {
        fold(h, &folded);
        return both_sides(quantile(&folded, share * n), &folded);
    }
    r.min = fmaxf(r.min, (float)quantile(h, left));
    r.max = fminf(r.max, (float)quantile(h, n - left));
    return r;
}

/* Integral of (x - c)^2 over [a, b]. */
static double square(double a, double b, double c)
{
    return ((b - c) * (b - c) * (b - c) - (a - c) * (a - c) * (a - c)) / 3.0;
}

/* Sum of (x - x')^2 of a bin of one number a unit: steps of `step` from `low` to `high`. */
static double bin_error(double a, double b, double low, double high, double step)
{
    double sum = 0.0;

    if (a < low) {
        double end = b < low ? b : low;
        sum += square(a, end, low);
        a = end;
    }
    if (b > high) {
        double begin = a > high ? a : high;
        sum += square(begin, b, high);
        b = begin;
    }
    while (a < b) {
        double level = low + step * rint((a - low) / step);
        double end = level + step / 2.0;
        end = end <= a ? end + step : end; /* a tie that went down */
        level = end - step / 2.0;
        end = end < b ? end : b;
        sum += square(a, end, level);
        a = end;
    }
    return sum;
}

static double range_error(const struct histogram *h, double low, double high, double steps)
{
    const double width = bin_width(h), step = (high - low) / steps;
    double sum = 0.0;

    for (size_t i = 0; i < HISTOGRAM_BINS; i++)
        if (h->bins[i])
            sum +=
                (double)h->bins[i] / width * bin_error(edge(h, i), edge(h, i + 1), low, high, step);
    return sum;
}

/* Bins [begin, end): the affine range, held to what holds 0. */
static double ends_error(const struct histogram *h, const struct levels *l, size_t begin,
                         size_t end)
{
    double low = l->symmetric ? -edge(h, end) : fmin(0.0, edge(h, begin));
    double high = fmax(0.0, edge(h, end));
    double steps = l->symmetric ? 2.0 * l->max : (double)l->max - l->min;

    return high > low ? range_error(h, low, high, steps) : INFINITY;
}

struct range histogram_least_squares(const struct histogram *h, const struct levels *l)
{
    struct histogram folded;
    struct range r = h->range;

    if (h->top == 0.0)
        return r;
    fold(h, &folded);
    const struct histogram *of = l->symmetric ? &folded : h;
    const double by = 1.0 / bin_width(h);
    size_t begin = (size_t)bin_of(of->range.min, by), end = (size_t)bin_of(of->range.max, by) + 1;
    size_t best_begin = begin, best_end = end;
    double best = ends_error(of, l, begin, end), now = best;
    while (isfinite(now) && now <= GIVE_UP * best) { /* over small hills */
        double up = begin < HALF && !l->symmetric ? ends_error(of, l, begin + 1, end) : INFINITY;
        double down = end > HALF + 1 ? ends_error(of, l, begin, end - 1) : INFINITY;
        now = fmin(up, down);
        begin += up < down;
        end -= up >= down;
        if (now > best)
            continue;
        best = now;
        best_begin = begin;
        best_end = end;
    }
    if (l->symmetric)
        return both_sides(edge(of, best_end), of);
    r.min = fmaxf(r.min, (float)edge(of, best_begin));
    r.max = fminf(r.max, (float)edge(of, best_end));
    return r;
}

/* Relative entropy between bins [0, n) with all beyond in the last, and their rounding to levels. */
static double divergence(const uint64_t *bins, size_t n, double beyond, double total)
{
    double q[HALF], q_sum = 0.0, sum = 0.0;

    for (size_t level = 0; level < ENTROPY_LEVELS; level++) {
        size_t a = level * n / ENTROPY_LEVELS, b = (level + 1) * n / ENTROPY_LEVELS, filled = 0;
        double all = 0.0;
        for (size_t i = a; i < b; i++) {
            all += (double)bins[i];
            filled += bins[i] > 0;
        }
        for (size_t i = a; i < b; i++)
            q[i] = bins[i] ? all / (double)filled : 0.0;
        q_sum += all;
    }
    for (size_t i = 0; i < n; i++) {
        double p = (double)bins[i] + (i + 1 == n ? beyond : 0.0);
        if (p > 0.0 && q[i] > 0.0)
            sum += p / total * log(p / total / (q[i] / q_sum));
        else if (p > 0.0)
            return INFINITY; /* what is cut off has nowhere to go */
    }
    return sum;
}

struct range histogram_entropy(const struct histogram *h)
{
    struct histogram folded;
    double beyond = 0.0, best = INFINITY;
    size_t at = HALF;

    fold(h, &folded);
    if (h->top == 0.0)
        return folded.range;
    for (size_t n = HALF; n >= ENTROPY_LEVELS && beyond * CUT_MOST <= (double)h->n; n--) {
        double d = divergence(folded.bins + HALF, n, beyond, (double)h->n);
        if (d < best) {
            best = d;
            at = n;
        }
        beyond += (double)folded.bins[HALF + n - 1];
    }
    return both_sides((double)at * bin_width(h), &folded);
}

static const char *const kinds[] = {"minmax", "moving", "percentile", "l2", "entropy"};

int observer_parse(const char *text, struct observer_choice *ret_observer, struct error *err)
{
    const char *word = text ? text : kinds[OBSERVE_PERCENTILE], *colon = strchrnul(word, ':');
    struct observer_choice o = {.share = 0.9999};
    size_t kind = 0;

    while (kind < sizeof(kinds) / sizeof(kinds[0]) &&
           !(strlen(kinds[kind]) == (size_t)(colon - word) &&
             memcmp(kinds[kind], word, (size_t)(colon - word)) == 0))
        kind++;
    if (*colon) {
        char *end;
        o.share = strtod(colon + 1, &end) / 100.0;
        if (kind != OBSERVE_PERCENTILE || end == colon + 1 || *end || !(o.share > 0.5) ||
            o.share > 1.0)
            kind = sizeof(kinds) / sizeof(kinds[0]);
    }
    if (kind == sizeof(kinds) / sizeof(kinds[0]))
        return error_set(
            err, ST_INVALID,
            "observer: \"%.40s\" is not known: minmax, moving, percentile, percentile:P "
            "(above 50, up to 100), l2 and entropy are",
            word);
    o.kind = (enum observer_kind)kind;
    *ret_observer = o;
    return ST_OK;
}

const char *observer_label(const struct observer_choice *o, char *buf, size_t len)
{
    if (o->kind == OBSERVE_PERCENTILE)
        snprintf(buf, len, "%s:%g", kinds[o->kind], 100.0 * o->share);
    else
        snprintf(buf, len, "%s", kinds[o->kind]);
    return buf;
}

struct range observer_range(const struct observer_choice *by, const struct histogram *h,
                            const struct range *moving, const struct levels *l)
{
    switch (by->kind) {
    case OBSERVE_MOVING:
        return *moving;
    case OBSERVE_PERCENTILE:
        return histogram_percentile(h, l, by->share);
    case OBSERVE_SQUARES:
        return histogram_least_squares(h, l);
    case OBSERVE_ENTROPY:
        return histogram_entropy(h);
    case OBSERVE_MINMAX:
        break;
    }
    return h->range;
}

struct scale scale_of(const struct range *r, const struct levels *l)
{
    const float min = fminf(r->min, 0.0f), max = fmaxf(r->max, 0.0f);
    struct scale s = {0};

    if (!r->seen || min == max)
        return s;
    if (l->symmetric) {
        s.scale = fmaxf(-min, max) / (float)l->max;
        return s;
    }
    const float steps = (float)(l->max - l->min);
    s.scale = (max - min) / steps;
    if (isinf(s.scale))
        s.scale = max / steps - min / steps;
    if (s.scale == 0.0f) /* a range of a few denormals */
        return s;
    float zero = (float)l->min - rintf(min / s.scale);
    zero = zero < (float)l->min ? (float)l->min : zero > (float)l->max ? (float)l->max : zero;
    s.zero = (int32_t)zero;
    return s;
}
