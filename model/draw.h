/* draw.h - text that a model draws itself, from seeds: what it learns from where nobody gave a text (as
 * in "LLM-QAT", Liu et al. 2023, section 3.1).
 *
 * Owner:   the caller's buffer; the compute threads live for the call.
 * Memory:  a runner of DRAW_SEQS sequences while drawing.
 * Errors:  as of runner_open and sampler_open. */
#ifndef OCTET_MODEL_DRAW_H
#define OCTET_MODEL_DRAW_H

#include "model/model.h"

struct draw_opts {
    uint32_t n_seqs, n_ctx; /* n_ctx: tokens of each */
    float temperature;      /* 0: 1 */
    uint64_t seed;          /* sequence i is drawn by seed + i */
    unsigned threads;
    struct model_progress progress; /* "drawing text": tokens */
};

/* Many sequences at once, each from BOS, of which the text is the same whatever the others are:
 * ret_ids[n_seqs][n_ctx]. */
int draw_text(const struct model *model, const struct draw_opts *opts, int32_t *ret_ids,
              struct error *err);

#endif
