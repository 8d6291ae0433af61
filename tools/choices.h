/* choices.h - `octet eval --choices`: how often a model gives the right choice the best score.
 *
 * A choice's score is the log likelihood of its tokens after the question, divided by the bytes of
 * the choice; also counted: divided by its tokens, and undivided. Owner: the subcommand. Memory:
 * plain structs. Errors: an enum status and a sentence. Threads: the main thread only. */
#ifndef OCTET_TOOLS_CHOICES_H
#define OCTET_TOOLS_CHOICES_H

#include <jansson.h>

#include "tools/session.h"

struct choices_opts {
    struct session_flags session;
    const char *path;      /* JSON lines; "-": stdin */
    const char *reference; /* a model that answers beside it, in FP32; NULL: none */
    const char *out;       /* NULL, or where a line for each choice goes */
};

/* How the scores are divided. */
enum choices_norm { CHOICES_BY_BYTE, CHOICES_BY_TOKEN, CHOICES_UNDIVIDED, CHOICES_NORMS };

struct choices_result {
    size_t n_questions, n_texts, n_scores;
    double chance; /* accuracy of a die */
    double accuracy[CHOICES_NORMS], reference[CHOICES_NORMS];
    double same; /* share of questions where both pick the same, by byte */
};

/* Standard error of a share of n questions: sqrt(p (1 - p) / (n - 1)). */
double choices_se(double accuracy, size_t n);

int choices_measure(const struct choices_opts *opts, struct choices_result *ret_result,
                    struct error *err);
json_t *choices_json(const struct choices_opts *opts, const struct choices_result *result);
void choices_print(const struct choices_opts *opts, const struct choices_result *result);

#endif
