/* steps.h - the pipeline of `octet quantize` as one sees it: prepare what folds, observe a text, convert,
 * report. Progress on a terminal, and how long each step took.
 *
 * Owner:   the subcommand.
 * Memory:  the struct is the caller's; steps_json() gives a new document.
 * Errors:  none.
 * Threads: the main thread only. */
#ifndef OCTET_TOOLS_STEPS_H
#define OCTET_TOOLS_STEPS_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "config/progress.h"

/* By the observations is decided what is folded: then there is more to prepare after them. */
enum step { STEP_PREPARE, STEP_OBSERVE, STEP_CONVERT, STEP_REPORT, STEPS };

struct steps {
    struct progress line;
    enum step at;
    double since_s, seconds[STEPS];
};

/* In STEP_PREPARE. */
void steps_init(struct steps *s);
void steps_begin(struct steps *s, enum step step);
/* A model_progress.fn: what is done says which step it is. arg: a struct steps. */
void steps_progress(void *arg, const char *what, uint64_t done, uint64_t total);

/* Seconds so far: of all of it, and of each step. */
double steps_total(struct steps *s);
json_t *steps_json(struct steps *s);
void steps_print(struct steps *s, FILE *f);

#endif
