/* eval_run.h - texts through one runner, or two in lockstep, to a score for each position.
 *
 * The rows of all texts make one long stream that is cut into steps, so that steps are full however
 * short the texts are. Memory: one step's logits, whatever the number of texts.
 * Owner: the caller. Errors: an enum status and a sentence. Threads: the caller's, and the runner's
 * own for the scoring. */
#ifndef OCTET_TOOLS_EVAL_RUN_H
#define OCTET_TOOLS_EVAL_RUN_H

#include "config/progress.h"
#include "model/model.h"
#include "tools/eval_stats.h"
#include "tools/logits_file.h"
#include "tools/session.h"

/* One sequence: rows 0 .. n - 2 are run, and those from `first` on are scored, each by the token
 * that follows it. */
struct eval_text {
    const int32_t *ids;
    uint32_t n, first; /* n >= 2, first <= n - 2 */
};

struct eval_job {
    const struct eval_text *texts;
    size_t n_texts;
    int32_t bos;    /* stands for the first token of each text; -1: none */
    size_t n_vocab; /* floats of a row of logits */
    struct runner *runner;
    struct runner *reference;           /* NULL: none, or the next */
    const struct logits_reader *stored; /* its rows are those to score, in order; NULL: none */
    struct logits_writer *save;         /* takes the reference's logits, or else the model's own */
    struct progress *progress;
    const char *unit; /* what texts are called there: "chunks" */
};

/* Chunks of less than this are not worth scoring: ctx / 2 .. ctx - 2 must be something. */
#define EVAL_MIN_CTX 4u

/* What both runners must be opened with for eval_run() to work with them: texts of n_min .. n_max
 * tokens. */
void eval_runner_opts(uint32_t n_min, uint32_t n_max, size_t n_vocab, struct runner_opts *ret_opts);

/* How a reference runs: in FP32, whatever the model does. */
struct session_flags eval_reference_flags(const struct session_flags *model, const char *reference);
/* Ids mean the same in both models, or a divergence means nothing. */
int eval_check_vocab(const struct session_flags *model, size_t n, const char *reference,
                     size_t n_ref, struct error *err);

/* Positions scored: of a text, and of a chunk of ctx tokens whose second half is. */
size_t eval_scored(uint32_t ctx);
size_t eval_text_scored(const struct eval_text *text);

/* Fill as many scores as the texts have scored positions, in their order. */
int eval_run(const struct eval_job *job, struct eval_score *scores, struct error *err);

#endif
