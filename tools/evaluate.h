/* evaluate.h - a model measured on a text, beside a reference or its stored logits, and what is
 * kept of that: the record in the model's file, the reference's logits, a line for each position.
 *
 * Owner:   the subcommand (eval, quantize --evaluate).
 * Memory:  the results are plain structs.
 * Errors:  an enum status and a sentence.
 * Threads: the main thread only. */
#ifndef OCTET_TOOLS_EVALUATE_H
#define OCTET_TOOLS_EVALUATE_H

#include <jansson.h>

#include "tools/eval_stats.h"
#include "tools/session.h"

/* Tokens of a chunk unless told, as text for a table of flags too. */
#define EVALUATE_CTX "512"
#define EVALUATE_CTX_TOKENS 512u

struct evaluate_opts {
    struct session_flags session;
    const char *text;           /* "-": stdin */
    const char *reference;      /* a model, which runs in FP32, or stored logits; NULL: none */
    const char *save_reference; /* NULL, or where to store the logits: the reference's, else the
                                   model's own */
    const char *out;            /* NULL, or where each position's figures go */
    uint32_t ctx, chunks;       /* chunks 0: the whole text */
    bool record;                /* into the model's file; needs a reference */
};

struct evaluate_result {
    struct eval_summary summary;
    size_t n, n_chunks; /* scores, chunks */
};

int evaluate(const struct evaluate_opts *opts, struct evaluate_result *ret_result,
             struct error *err);

json_t *evaluate_json(const struct evaluate_opts *opts, const struct evaluate_result *result);
void evaluate_print(const struct evaluate_opts *opts, const struct evaluate_result *result);

#endif
