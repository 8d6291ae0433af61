/* view.h - how far the inputs of a linear layer reach, as they are or after a Hadamard transform: what
 * the steps of static activations are chosen by.
 *
 * Owner:   one thread fills; any may read after.
 * Memory:  16 KB and 4 k floats.
 * Errors:  ST_NOMEM; ST_FORMAT for NaN and infinity. */
#ifndef OCTET_MODEL_VIEW_H
#define OCTET_MODEL_VIEW_H

#include <stddef.h>
#include <stdint.h>

#include "model/kernels/kernels.h"
#include "model/quant/observer.h"
#include "model/quant/spec.h"
#include "model/quant/steps.h"

/* The ranges of each channel, [k] each. */
enum view_channels { VIEW_MIN, VIEW_MAX, VIEW_MOVING_MIN, VIEW_MOVING_MAX, VIEW_CHANNELS };

struct view {
    size_t k;
    uint32_t block;             /* Hadamard block that inputs pass first; 0: none */
    struct histogram histogram; /* of all; its range: the extremes */
    struct range moving;
    float *channels[VIEW_CHANNELS]; /* one allocation */
};

int view_open(struct view *v, size_t k, uint32_t block);
void view_done(struct view *v);

/* A batch: x[t][k], which are turned in place. scratch: [2 k]. */
int view_add(struct view *v, const struct kernels *kernels, float *x, size_t t, float *scratch);

/* What an observer sees in it, as the steps that the spec (static or by channel) is to have. A channel
 * that was always 0 gets the largest step. Channels have no histograms: their extremes, unless the
 * observer is the moving average. factors: what inputs are divided by before all else, or NULL;
 * ST_INVALID where that is not known: of turned inputs, and of histograms. */
int view_steps(const struct view *v, const float *factors, const struct observer_choice *by,
               const struct quant_spec *spec, struct steps *ret_steps);

#endif
