/* bench_roofline.h - how much of what memory and arithmetic allow a cell has reached: the roofline
 * of Williams, Waterman and Patterson (2009).
 *
 * Owner:   pure functions.
 * Memory:  none.
 * Errors:  none.
 * Threads: any. */
#ifndef OCTET_TOOLS_BENCH_ROOFLINE_H
#define OCTET_TOOLS_BENCH_ROOFLINE_H

#include "tools/bench_run.h"

/* What a step of this model in this runner costs. */
struct bench_cost {
    uint64_t row_macs, head_macs, step_bytes; /* of model_info */
    double position_bytes;                    /* keys and values of one position */
    bool fp32;
    unsigned threads;
};
struct bench_cost bench_cost(const struct model_info *model, const struct runner_info *runner);

/* Bytes that a decode step reads, on average over the steps of the shape: the weights once, and the
 * keys and values of each sequence. */
double bench_step_bytes(const struct bench_cost *cost, const struct bench_shape *shape);

struct bench_roofline {
    double read;             /* bytes a second */
    double peak;             /* multiply-adds a second: 8-bit, or f32 with FP32 */
    double decode_tok_s;     /* the least of what the two allow: weights alone are counted, */
    double prefill_tok_s;    /* attention is not */
    double decode, prefill;  /* shares of these reached */
    double decode_read;      /* share of read, with keys and values */
    double prefill_products; /* share of peak while in the products; 0: not profiled */
};
struct bench_roofline bench_roofline(const struct bench_cost *cost, const struct bench_shape *shape,
                                     const struct bench_times *times,
                                     const struct machine_limits *limits);

/* Is the part one of the products? */
bool bench_is_product(enum runner_part part);
/* Multiply-adds a second of all threads while they were in the product of `part`, or in all of them
 * (RUNNER_PARTS); 0: never there. */
double bench_product_rate(const struct runner_profile *profile, enum runner_part part,
                          unsigned threads);

#endif
