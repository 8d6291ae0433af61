/* calibrate.h - the observations that `octet quantize` learns from: from a file, from a text, or from
 * text that the model draws.
 *
 * Owner:   the subcommand.
 * Memory:  the observations are freed with observations_free().
 * Errors:  an enum status and a sentence.
 * Threads: the main thread only. */
#ifndef OCTET_TOOLS_CALIBRATE_H
#define OCTET_TOOLS_CALIBRATE_H

#include <stdbool.h>
#include <stdint.h>

#include "model/model.h"

struct calibrate {
    bool wanted;                     /* a flag needs them */
    const char *text, *observations; /* files; NULL: not given */
    uint32_t tokens, threads;
    uint64_t seed;
};

/* ST_OK and NULL if no flag asks for any. threads and progress are those of opts. */
int calibrate_get(const struct calibrate *c, const struct model_quantize_opts *opts,
                  struct observations **ret_observations, struct error *err);

#endif
