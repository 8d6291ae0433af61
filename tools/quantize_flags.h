/* quantize_flags.h - the flags of octet quantize, and what they ask of the model.
 *
 * Owner:   the subcommand.
 * Memory:  none; strings are those of the command line.
 * Errors:  ST_INVALID: wrong usage; ST_IO: a file that cannot be read. Both before any work.
 * Threads: the main thread only. */
#ifndef OCTET_TOOLS_QUANTIZE_FLAGS_H
#define OCTET_TOOLS_QUANTIZE_FLAGS_H

#include <stdbool.h>
#include <stdint.h>

#include "config/flags.h"
#include "model/model.h"
#include "tools/calibrate.h"
#include "tools/search.h"

struct quantize_values {
    const char *scheme, *head, *embedding, *group, *activations;
    int hadamard, scales;
    bool affine, affine_activations, json, compensate, clip;
    const char *smooth, *observer;
    struct calibrate calibrate;
    struct search search;
    const char *evaluate, *report;
    uint32_t chunks;
};

extern const struct flag_table QUANTIZE_FLAGS;

enum { QUANTIZE_SCHEME = 256 };
/* Everything but progress, plan and observations of opts, whose in and out are set; scheme: what
 * opts->scheme points to. */
int quantize_opts(struct quantize_values *v, struct model_quantize_opts *opts,
                  char scheme[QUANTIZE_SCHEME], struct error *err);

#endif
