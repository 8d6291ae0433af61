/* eval_run.h - text chunks through one runner, or two in lockstep, to a score for each position.
 *
 * A chunk is ctx tokens; positions ctx/2 .. ctx-2 predict the token after them and are scored. The
 * rows of all chunks make one long stream that is cut into steps, so that steps are full whatever
 * ctx is. Memory: one step's logits, whatever the text's length.
 * Owner: the caller. Errors: an enum status and a sentence. Threads: the caller's, and the runner's
 * own for the scoring. */
#ifndef OCTET_TOOLS_EVAL_RUN_H
#define OCTET_TOOLS_EVAL_RUN_H

#include "config/progress.h"
#include "model/model.h"
#include "tools/eval_stats.h"

struct eval_job {
    const int32_t *ids; /* n_chunks * ctx tokens */
    size_t n_chunks;
    uint32_t ctx;   /* >= EVAL_MIN_CTX */
    int32_t bos;    /* stands for the first token of each chunk; -1: none */
    size_t n_vocab; /* floats of a row of logits */
    struct runner *runner;
    struct runner *reference; /* NULL: none */
    struct progress *progress;
};

#define EVAL_MIN_CTX 4u

/* What both runners must be opened with for eval_run() to work with them. */
void eval_runner_opts(uint32_t ctx, size_t n_vocab, struct runner_opts *ret_opts);

/* Positions scored in a chunk. */
size_t eval_scored(uint32_t ctx);

/* Fill n_chunks * eval_scored(ctx) scores, in the order of the text. */
int eval_run(const struct eval_job *job, struct eval_score *scores, struct error *err);

#endif
