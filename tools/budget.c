#include "tools/budget.h"

#include <stdlib.h>
#include <string.h>

#include "config/status.h"

struct budget {
    size_t n_units, n_options;
    struct budget_option *options; /* [n_units][n_options] */
    uint64_t least, step;          /* bytes of the smallest choice; of a step */
    size_t room;                   /* steps from there to the largest choice, and one */
    double *loss;                  /* [room]: the least within so many steps */
    uint8_t *pick;                 /* [n_units][room]: the unit's option for that */
};

static const struct budget_option *unit_at(const struct budget *b, size_t u)
{
    return b->options + u * b->n_options;
}

static uint64_t fewest(const struct budget *b, size_t u)
{
    const struct budget_option *o = unit_at(b, u);
    uint64_t bytes = o[0].bytes;

    for (size_t i = 1; i < b->n_options; i++)
        bytes = o[i].bytes < bytes ? o[i].bytes : bytes;
    return bytes;
}

static double lowest(const struct budget *b, size_t u)
{
    const struct budget_option *o = unit_at(b, u);
    double loss = o[0].loss;

    for (size_t i = 1; i < b->n_options; i++)
        loss = o[i].loss < loss ? o[i].loss : loss;
    return loss;
}

static size_t steps_of(const struct budget *b, size_t u, size_t i)
{
    return (size_t)((unit_at(b, u)[i].bytes - fewest(b, u) + b->step - 1) / b->step);
}

static size_t most_steps(const struct budget *b, size_t u)
{
    size_t most = 0;

    for (size_t i = 0; i < b->n_options; i++)
        most = steps_of(b, u, i) > most ? steps_of(b, u, i) : most;
    return most;
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static void choose_step(struct budget *b)
{
    uint64_t divisor = 0, range = 0;

    for (size_t u = 0; u < b->n_units; u++) {
        uint64_t least = fewest(b, u), widest = 0;
        for (size_t i = 0; i < b->n_options; i++) {
            uint64_t more = unit_at(b, u)[i].bytes - least;
            divisor = common_divisor(divisor, more);
            widest = more > widest ? more : widest;
        }
        b->least += least;
        range += widest;
    }
    b->step = divisor ? divisor : 1;
    if (range / b->step > BUDGET_STEPS)
        b->step = range / BUDGET_STEPS + 1;
    b->room = 1;
    for (size_t u = 0; u < b->n_units; u++)
        b->room += most_steps(b, u);
}

/* A further unit: from the most steps down, so that what is read is still without it. */
static void add_unit(struct budget *b, size_t u)
{
    uint8_t *pick = b->pick + u * b->room;
    size_t steps[BUDGET_OPTIONS];

    for (size_t i = 0; i < b->n_options; i++)
        steps[i] = steps_of(b, u, i);
    for (size_t s = b->room; s-- > 0;) {
        double best = 0.0;
        size_t at = b->n_options;
        for (size_t i = 0; i < b->n_options; i++) {
            if (steps[i] > s)
                continue;
            double loss = b->loss[s - steps[i]] + unit_at(b, u)[i].loss;
            if (at == b->n_options || loss < best) {
                best = loss;
                at = i;
            }
        }
        b->loss[s] = best;
        pick[s] = (uint8_t)at;
    }
}

int budget_open(const struct budget_option *options, size_t n_units, size_t n_options,
                struct budget **ret_budget)
{
    struct budget *b = calloc(1, sizeof(*b));

    if (!b)
        return ST_NOMEM;
    *b = (struct budget){.n_units = n_units, .n_options = n_options};
    b->options = calloc(n_units * n_options, sizeof(*options));
    if (b->options) {
        memcpy(b->options, options, n_units * n_options * sizeof(*options));
        choose_step(b);
        b->loss = calloc(b->room, sizeof(*b->loss));
        b->pick = malloc(n_units * b->room);
    }
    if (!b->options || !b->loss || !b->pick) {
        budget_free(b);
        return ST_NOMEM;
    }
    for (size_t u = 0; u < n_units; u++)
        add_unit(b, u);
    *ret_budget = b;
    return ST_OK;
}

void budget_free(struct budget *b)
{
    if (!b)
        return;
    free(b->options);
    free(b->loss);
    free(b->pick);
    free(b);
}

struct budget_option budget_least(const struct budget *b)
{
    struct budget_option least = {.bytes = b->least};

    for (size_t u = 0; u < b->n_units; u++)
        least.loss += lowest(b, u);
    return least;
}

/* The choice that the sums up to so many steps came from. */
static void walk_back(const struct budget *b, size_t steps, size_t *ret_choice)
{
    for (size_t u = b->n_units; u-- > 0;) {
        ret_choice[u] = b->pick[u * b->room + steps];
        steps -= steps_of(b, u, ret_choice[u]);
    }
}

int budget_by_bytes(const struct budget *b, uint64_t most, size_t *ret_choice)
{
    if (most < b->least)
        return ST_NOTFOUND;
    uint64_t steps = (most - b->least) / b->step;
    walk_back(b, steps < b->room ? (size_t)steps : b->room - 1, ret_choice);
    return ST_OK;
}

int budget_by_loss(const struct budget *b, double most, size_t *ret_choice)
{
    size_t low = 0, high = b->room - 1; /* more steps, never more loss */

    if (!(b->loss[high] <= most))
        return ST_NOTFOUND;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (b->loss[mid] <= most)
            high = mid;
        else
            low = mid + 1;
    }
    walk_back(b, low, ret_choice);
    return ST_OK;
}

struct budget_option budget_sum(const struct budget *b, const size_t *choice)
{
    struct budget_option sum = {0};

    for (size_t u = 0; u < b->n_units; u++) {
        sum.bytes += unit_at(b, u)[choice[u]].bytes;
        sum.loss += unit_at(b, u)[choice[u]].loss;
    }
    return sum;
}
