#include "tools/bench_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tools/cli.h"

/* splitmix64 (Steele, Lea, Flood 2014): the same prompts every time. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A token of ordinary text: no end, no beginning, no name in angle brackets. */
static bool is_plain(const struct model *model, int32_t id)
{
    const char *piece;
    size_t len;

    return !model_is_end(model, id) && id != model_bos(model) &&
           model_token_bytes(model, id, &piece, &len) == ST_OK && len > 0 &&
           !(len > 2 && piece[0] == '<' && piece[len - 1] == '>');
}

static void make_prompts(struct bench *bench)
{
    uint64_t state = 1, n_vocab = model_info(bench->model)->n_vocab;
    size_t n = (size_t)bench->shape.batch * bench->shape.prompt;

    for (size_t i = 0; i < n; i++) {
        /* A vocabulary without a plain token still gets a prompt. */
        for (int tries = 0; tries < 100; tries++) {
            bench->ids[i] = (int32_t)(next_random(&state) % n_vocab);
            if (is_plain(bench->model, bench->ids[i]))
                break;
        }
    }
}

int bench_open(struct bench *bench, const struct model *model, struct runner *runner,
               const struct bench_shape *shape)
{
    size_t batch = shape->batch;
    int r = ST_OK;

    *bench = (struct bench){.model = model, .runner = runner, .shape = *shape};
    bench->ids = calloc(batch * shape->prompt, sizeof(*bench->ids));
    bench->last = calloc(batch, sizeof(*bench->last));
    bench->seqs = calloc(batch, sizeof(*bench->seqs));
    bench->jobs = calloc(batch, sizeof(*bench->jobs));
    bench->job_seq = calloc(batch, sizeof(*bench->job_seq));
    bench->rows = calloc(runner_info(runner)->max_rows, sizeof(*bench->rows));
    bench->steps = calloc(shape->generate, sizeof(*bench->steps));
    if (!bench->ids || !bench->last || !bench->seqs || !bench->jobs || !bench->job_seq ||
        !bench->rows || !bench->steps)
        return ST_NOMEM;
    /* Greedy samplers hold nothing that differs between sequences, but the daemon has one each. */
    for (size_t i = 0; i < batch && r == ST_OK; i++)
        r = sampler_open(model, &(struct sampler_opts){.top_p = 1, .repetition_penalty = 1},
                         &bench->jobs[i].sampler);
    if (r == ST_OK)
        make_prompts(bench);
    return r;
}

void bench_done(struct bench *bench)
{
    for (size_t i = 0; bench->jobs && i < bench->shape.batch; i++)
        sampler_free(bench->jobs[i].sampler);
    free(bench->ids);
    free(bench->last);
    free(bench->seqs);
    free(bench->jobs);
    free(bench->job_seq);
    free(bench->rows);
    free(bench->steps);
    *bench = (struct bench){0};
}

static int sample(struct bench *bench, size_t n)
{
    runner_sample(bench->runner, bench->jobs, n);
    for (size_t i = 0; i < n; i++)
        if (bench->jobs[i].status != ST_OK)
            return bench->jobs[i].status;
    return ST_OK;
}

/* All prompts, one after the other, cut into full steps; each sequence's first token as soon as its
 * last row has run. */
static int prefill(struct bench *bench, uint32_t prompt)
{
    const size_t total = (size_t)bench->shape.batch * prompt;
    const size_t max_rows = runner_info(bench->runner)->max_rows;
    size_t done = 0;

    while (done < total) {
        size_t n = 0, n_jobs = 0;
        int r;
        for (; n < max_rows && done < total; n++, done++) {
            size_t seq = done / prompt, pos = done % prompt;
            bench->rows[n] = (struct batch_row){bench->ids[seq * bench->shape.prompt + pos],
                                                bench->seqs[seq], (uint32_t)pos, pos + 1 == prompt};
            if (pos + 1 == prompt)
                bench->job_seq[n_jobs++] = n;
        }
        r = runner_step(bench->runner, bench->rows, n);
        if (r != ST_OK)
            return r;
        for (size_t i = 0; i < n_jobs; i++)
            bench->jobs[i].logits = runner_logits(bench->runner, bench->job_seq[i]);
        r = sample(bench, n_jobs);
        if (r != ST_OK)
            return r;
        /* The jobs of this step belong to the last n_jobs sequences that were finished. */
        for (size_t i = 0; i < n_jobs; i++)
            bench->last[done / prompt - n_jobs + i] = bench->jobs[i].id[0];
    }
    return ST_OK;
}

static int decode_step(struct bench *bench, uint32_t pos)
{
    const size_t batch = bench->shape.batch;
    int r;

    for (size_t i = 0; i < batch; i++)
        bench->rows[i] = (struct batch_row){bench->last[i], bench->seqs[i], pos, true};
    r = runner_step(bench->runner, bench->rows, batch);
    if (r != ST_OK)
        return r;
    for (size_t i = 0; i < batch; i++)
        bench->jobs[i].logits = runner_logits(bench->runner, i);
    r = sample(bench, batch);
    for (size_t i = 0; i < batch && r == ST_OK; i++)
        bench->last[i] = bench->jobs[i].id[0];
    return r;
}

static int decode(struct bench *bench, uint32_t pos, uint32_t n)
{
    double before_s = cli_now_s();
    int r = ST_OK;

    for (uint32_t i = 0; i < n && r == ST_OK; i++) {
        r = decode_step(bench, pos + i);
        double now_s = cli_now_s();
        bench->steps[i] = now_s - before_s;
        before_s = now_s;
    }
    return r;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Pages of this process in memory (proc(5): second field of statm); 0 if it can't be read. */
static uint64_t resident_bytes(void)
{
    FILE *in = fopen("/proc/self/statm", "r");
    uint64_t pages = 0;

    if (!in)
        return 0;
    if (fscanf(in, "%*s %" SCNu64, &pages) != 1)
        pages = 0;
    fclose(in);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int run_open(struct bench *bench, uint32_t prompt, uint32_t generate, bool profile,
                    struct bench_times *times)
{
    double start_s, middle_s;
    int r;

    runner_profile_set(bench->runner, profile);
    start_s = cli_now_s();
    r = prefill(bench, prompt);
    middle_s = cli_now_s();
    runner_profile_get(bench->runner, &times->prefill);
    runner_profile_set(bench->runner, profile);
    if (r == ST_OK)
        r = decode(bench, prompt, generate);
    runner_profile_get(bench->runner, &times->decode);
    runner_profile_set(bench->runner, false);
    times->prefill_s = middle_s - start_s;
    times->rss_bytes = resident_bytes();
    for (uint32_t i = 0; i < generate; i++)
        times->decode_s += bench->steps[i];
    qsort(bench->steps, generate, sizeof(*bench->steps), by_size);
    times->step_s = bench->steps[generate / 2];
    return r;
}

int bench_run(struct bench *bench, uint32_t prompt, uint32_t generate, bool profile,
              struct bench_times *ret_times)
{
    struct bench_times times = {0};
    size_t n_open = 0;
    int r = ST_OK;

    while (n_open < bench->shape.batch && r == ST_OK) {
        r = runner_seq_new(bench->runner, &bench->seqs[n_open]);
        if (r == ST_OK)
            r = runner_seq_reserve(bench->runner, bench->seqs[n_open++], prompt + generate);
    }
    if (r == ST_OK)
        r = run_open(bench, prompt, generate, profile, &times);
    for (size_t i = 0; i < n_open; i++)
        runner_seq_free(bench->runner, bench->seqs[i]);
    if (r == ST_OK)
        *ret_times = times;
    return r;
}
