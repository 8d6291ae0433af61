/* observer.h - the range of numbers that stream by, and the scale and zero point it gives.
 *
 * Three observers: the extremes; their moving average over batches; a histogram, from which a range is
 * read by percentile, by least squared rounding error, or by relative entropy. MinMax and moving
 * average are those of torch.ao.quantization (MinMaxObserver, MovingAverageMinMaxObserver), a number
 * a tensor or a channel. The histogram's bins are an exact count over [-top, top]: top doubles when a
 * number lies beyond, and bins join in pairs, so that neither the order of batches nor their sizes
 * change a count (torch's HistogramObserver spreads old bins over new ones).
 *
 * Owner:   plain values of the caller's; one thread at a time.
 * Memory:  nothing is allocated.
 * Errors:  ST_FORMAT for NaN or infinity, and then nothing was changed. */
#ifndef OCTET_MODEL_QUANT_OBSERVER_H
#define OCTET_MODEL_QUANT_OBSERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/status.h"

/* Nothing seen: seen is false, and both are 0. */
struct range {
    float min, max;
    bool seen;
};

/* x[n], one in every `stride`: 1 for a tensor, k for a channel of rows [.][k]. */
int range_add(struct range *r, const float *x, size_t n, size_t stride);
/* The batch's extremes, weighing c in the mean (torch: 0.01): min += c (min of batch - min). The first
 * batch weighs all. */
int range_add_moving(struct range *r, const float *x, size_t n, size_t stride, float c);

enum { HISTOGRAM_BINS = 2048 };

struct histogram {
    double top; /* bins divide [-top, top]; a power of two times the first batch's largest */
    struct range range;
    uint64_t n;
    uint64_t bins[HISTOGRAM_BINS];
};

int histogram_add(struct histogram *h, const float *x, size_t n);

/* What the integers can tell apart. */
struct levels {
    int32_t min, max; /* -127 .. 127, 0 .. 255 */
    bool symmetric;   /* zero point 0: a range [-t, t] */
};

/* The range that holds this share of what was seen; symmetric: of |x|; else as much is left out on
 * either side. Inside a bin numbers count as evenly spread. Never beyond the extremes. */
struct range histogram_percentile(const struct histogram *h, const struct levels *l, double share);
/* The range with the least mean square of x - x', where numbers beyond it become its ends: bins are
 * tried from the extremes inwards, at either side whichever loses less. */
struct range histogram_least_squares(const struct histogram *h, const struct levels *l);
/* The t for which |x| cut at t and rounded to 128 levels differs least from |x| cut at t in relative
 * entropy (Migacz 2017, "8-bit inference with TensorRT", slides 22-38); at most one number in a
 * hundred is cut. */
struct range histogram_entropy(const struct histogram *h);

/* Which of them is to choose. */
enum observer_kind {
    OBSERVE_MINMAX,
    OBSERVE_MOVING,
    OBSERVE_PERCENTILE,
    OBSERVE_SQUARES,
    OBSERVE_ENTROPY
};
struct observer_choice {
    enum observer_kind kind;
    double share; /* OBSERVE_PERCENTILE's */
};
/* "minmax", "moving", "percentile" (99.99) or "percentile:99.9", "l2", "entropy"; NULL: "percentile".
 * ST_INVALID, naming the word and what would be right. */
int observer_parse(const char *text, struct observer_choice *ret_observer, struct error *err);
/* The same in full: "percentile:99.99". Returns buf. */
const char *observer_label(const struct observer_choice *o, char *buf, size_t len);
struct range observer_range(const struct observer_choice *by, const struct histogram *h,
                            const struct range *moving, const struct levels *l);

/* design.md section 5. Symmetric: scale = max|x| / l->max. Affine: (max - min) / (l->max - l->min),
 * the range widened to hold 0, zero = l->min - rint(min / scale), held to the levels. An empty range
 * or {0, 0}: scale 0. */
struct scale {
    float scale;
    int32_t zero;
};
struct scale scale_of(const struct range *r, const struct levels *l);

#endif
