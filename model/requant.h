/* requant.h - a linear layer in floats once more, as integers: what a sweep tries out, unit by unit,
 * with the rest of the network as it is.
 *
 * Owner:   one thread; rows are shared out on the caller's pool.
 * Memory:  the new weights lie in an arena of their own; besides a matrix of floats' worth.
 * Errors:  ST_NOMEM; ST_FORMAT for a scale that is beyond what is stored; ST_INTERNAL for
 *          observations that no text can have given. */
#ifndef OCTET_MODEL_REQUANT_H
#define OCTET_MODEL_REQUANT_H

#include "model/net/linear.h"
#include "model/net/pool.h"
#include "model/quant/compensate.h"

struct requant {
    const struct kernels *kernels;
    struct pool *pool;
    const struct linear *from;       /* floats */
    struct quant_spec spec;          /* bits 16 or 32: floats */
    const struct compensate *factor; /* NULL: weights are rounded one by one */
    bool clip;                       /* with it: ranges are searched */
    const char *name;                /* for messages */
};

/* arena: opened here, and closed by the caller with the linear. */
int requant(const struct requant *q, struct arena *arena, struct linear *ret_linear,
            struct error *err);

#endif
