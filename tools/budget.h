/* budget.h - one option for each unit of a model so that what is lost in all is least within a number
 * of bytes, or the bytes fewest within a loss: a multiple-choice knapsack.
 *
 * Losses of units are taken to add, as independent errors do; who chose measures the whole again.
 * By dynamic programming over bytes (Kellerer, Pferschy and Pisinger 2004, "Knapsack Problems", section
 * 11.5), in steps of what all differences of bytes are multiples of: exact where BUDGET_STEPS of
 * them reach from the smallest to the largest choice, as those of a transformer's matrices do;
 * beyond that bytes are rounded up, by a step a unit.
 *
 * Owner:   immutable once open; any thread may ask.
 * Memory:  a byte for each unit and step.
 * Errors:  ST_NOMEM; ST_NOTFOUND: no choice is within the bound. */
#ifndef OCTET_TOOLS_BUDGET_H
#define OCTET_TOOLS_BUDGET_H

#include <stddef.h>
#include <stdint.h>

enum { BUDGET_STEPS = 1 << 17, BUDGET_OPTIONS = 256 };

struct budget_option {
    uint64_t bytes;
    double loss; /* finite, 0 or more */
};

struct budget;

/* options[n_units][n_options], 1 .. BUDGET_OPTIONS of them; copied. */
int budget_open(const struct budget_option *options, size_t n_units, size_t n_options,
                struct budget **ret_budget);
void budget_free(struct budget *b);

/* The least that choices can come to, of each by itself. */
struct budget_option budget_least(const struct budget *b);
/* The option of each unit: ret_choice[n_units]. */
int budget_by_bytes(const struct budget *b, uint64_t most, size_t *ret_choice);
int budget_by_loss(const struct budget *b, double most, size_t *ret_choice);
/* What a choice comes to. */
struct budget_option budget_sum(const struct budget *b, const size_t *choice);

#endif
