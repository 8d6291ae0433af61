/* bench_run.h - one cell of `octet bench engine`: a batch of sequences, prefilled and decoded
 * against the clock.
 *
 * Owner:   the subcommand; the runner is the caller's and outlives the cell.
 * Memory:  bench_done() gives everything back; a zeroed struct is fine.
 * Errors:  an enum status.
 * Threads: the main thread only. */
#ifndef OCTET_TOOLS_BENCH_RUN_H
#define OCTET_TOOLS_BENCH_RUN_H

#include "model/model.h"

/* Sequences; tokens of each one's prompt; decode steps after its first token. */
struct bench_shape {
    uint32_t batch, prompt, generate;
};

struct bench_times {
    double prefill_s;                      /* first row to the first token of the last sequence */
    double decode_s;                       /* the steps after it, a row a sequence in each */
    double step_s;                         /* the median step */
    uint64_t rss_bytes;                    /* after the last step */
    struct runner_profile prefill, decode; /* zeros unless asked for */
};

struct bench {
    const struct model *model;
    struct runner *runner;
    struct bench_shape shape;

    int32_t *ids;  /* batch x prompt */
    int32_t *last; /* batch: token of the next decode step */
    uint32_t *seqs;
    struct sample_job *jobs;
    size_t *job_seq; /* row whose logits job i draws from */
    struct batch_row *rows;
    double *steps; /* generate: seconds of each decode step */
};

/* Distinct random prompts, the same every time; greedy samplers. */
int bench_open(struct bench *bench, const struct model *model, struct runner *runner,
               const struct bench_shape *shape);
void bench_done(struct bench *bench);

/* One run with fresh sequences of the first `prompt` tokens of each prompt and `generate` steps, at
 * most those of the shape. */
int bench_run(struct bench *bench, uint32_t prompt, uint32_t generate, bool profile,
              struct bench_times *ret_times);

#endif
