/* search.h - the plan of a model within a budget: sensitivities are swept, choices made by them, and what
 * was chosen measured as a whole; where the sum of its parts was off by much, it is chosen again.
 *
 * Owner:   the subcommand (quantize).
 * Memory:  search_done() gives the results back.
 * Errors:  an enum status and a sentence; ST_NOTFOUND: the budget is out of reach, and what is not.
 * Threads: the main thread only. */
#ifndef OCTET_TOOLS_SEARCH_H
#define OCTET_TOOLS_SEARCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/model.h"

struct search {
    double max_kld;      /* the cheapest within it; 0: not asked for */
    uint64_t max_bytes;  /* the best in a file of these; 0: not asked for */
    bool best;           /* the best in 9.5 bits a weight */
    const char *choices; /* labels with commas between them; NULL: all there is sense in */
    const char *sweep;   /* where sensitivities are kept; NULL: nowhere */
    const char *plan;    /* where the plan is written to, a new file; NULL: nowhere */
    uint64_t seed;       /* of the text that the model draws */
};

struct search_result {
    json_t *plan;                  /* as --plan takes it */
    json_t *choices;               /* how many units are what */
    json_t *lines;                 /* of the sweep: struct sweep_file */
    double predicted;              /* sum of the units' losses and the cache's */
    double kld;                    /* measured: nats a token */
    uint64_t n_weights, bytes;     /* of the plan's matrices, in the file */
    uint32_t n_tokens, n_measured; /* of the text; sensitivities that were not known before */
};

/* Does any flag ask for one? */
bool search_wanted(const struct search *s);
/* ST_INVALID for flags that say nothing together. */
int search_check(const struct search *s, struct error *err);
/* model_quantize() to the plan that was found. OUT appears once it is known to keep the budget. */
int search_run(const struct search *s, const struct model_quantize_opts *opts,
               struct model_quantize_report *ret_report, struct search_result *ret_result,
               struct error *err);
void search_done(struct search_result *result);

json_t *search_json(const struct search_result *result);
void search_print(const struct search_result *result);

#endif
