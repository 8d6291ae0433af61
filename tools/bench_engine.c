/* octet bench engine - speed of prefill and decode by batch size or context, without HTTP.
 *
 * Every sequence has its own random prompt. prefill_s runs from the first row to the first token of
 * the last sequence, decode_s over the `generate` steps after it, each with a row a sequence;
 * greedy sampling counts in both. */
#include <stdio.h>
#include <stdlib.h>

#include "tools/bench_report.h"
#include "tools/cli.h"
#include "tools/session.h"

#define MAX_SIZES 64u
#define STEP_ROWS 256u
#define WARM_UP_PROMPT 512u
#define WARM_UP_STEPS 4u

struct values {
    struct session_flags session;
    uint32_t prompt, generate, rounds;
    const char *batch, *ctx;
    bool json, roofline, profile;
};

#define AT(field) offsetof(struct values, field)

static const struct flag FLAGS[] = {
    SESSION_FLAG_MODEL,
    {.name = "prompt",
     .type = FLAG_U32,
     .offset = AT(prompt),
     .min = 1,
     .max = LIMIT_CONTEXT,
     .fallback = "128",
     .arg = "N",
     .help = "tokens of each prompt"},
    {.name = "generate",
     .type = FLAG_U32,
     .offset = AT(generate),
     .min = 1,
     .max = LIMIT_CONTEXT,
     .fallback = "64",
     .arg = "N",
     .help = "decode steps after the first token"},
    {.name = "batch",
     .type = FLAG_STRING,
     .offset = AT(batch),
     .fallback = "1",
     .arg = "N,N",
     .help = "batch sizes, with commas"},
    {.name = "ctx",
     .type = FLAG_STRING,
     .offset = AT(ctx),
     .arg = "N,N",
     .help = "decode after so many tokens each (not with --prompt)"},
    {.name = "rounds",
     .type = FLAG_U32,
     .offset = AT(rounds),
     .min = 1,
     .max = 100,
     .fallback = "1",
     .arg = "N",
     .help = "runs of each cell: the best times count"},
    {.name = "roofline",
     .type = FLAG_BOOL,
     .offset = AT(roofline),
     .help = "measure this machine's limits too, and the share reached"},
    {.name = "profile",
     .type = FLAG_BOOL,
     .offset = AT(profile),
     .help = "which part of the network the time goes to (one more run)"},
    SESSION_FLAG_PRECISION,
    SESSION_FLAG_KV,
    SESSION_FLAG_THREADS,
    {.name = "json", .type = FLAG_BOOL, .offset = AT(json), .help = "one JSON line a batch size"},
};

static const struct flag_table TABLE = {
    .usage = "octet bench engine --model FILE [options]",
    .about =
        "Tokens/s of prefill and decode by batch size: distinct random prompts, greedy, no HTTP.",
    .flags = FLAGS,
    .n_flags = sizeof(FLAGS) / sizeof(FLAGS[0]),
};

struct sizes {
    uint32_t at[MAX_SIZES];
    size_t n;
};

/* "1,4,8": whole numbers of 1 .. max with commas between. */
static int parse_sizes(const char *flag, const char *text, uint32_t max, struct sizes *ret_sizes,
                       struct error *err)
{
    struct sizes sizes = {.n = 0};
    const char *at = text;

    for (;;) {
        uint32_t size = 0;
        while (*at >= '0' && *at <= '9' && size <= max)
            size = size * 10 + (uint32_t)(*at++ - '0');
        if (size < 1 || size > max || sizes.n == MAX_SIZES || (*at != ',' && *at != '\0'))
            return error_set(err, ST_INVALID,
                             "--%s: \"%.64s\" is not a list of up to %u numbers such as 1,4,8, "
                             "each 1 to %u",
                             flag, text, MAX_SIZES, max);
        sizes.at[sizes.n++] = size;
        if (*at++ == '\0')
            break;
    }
    *ret_sizes = sizes;
    return ST_OK;
}

struct run {
    const struct values *values;
    struct session session;
    struct bench_report report;
    struct machine_limits limits; /* the best so far */
};

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* Right before a cell and right after it: what a shared machine can do changes by the minute. */
static int measure_machine(struct run *run)
{
    struct machine_limits *best = &run->limits, now;
    int r = ST_OK;

    if (!run->values->roofline)
        return ST_OK;
    r = runner_measure_machine(run->session.runner, model_info(run->session.model)->step_bytes,
                               &now);
    if (r != ST_OK)
        return r;
    best->read_far = larger(best->read_far, now.read_far);
    best->read_near = larger(best->read_near, now.read_near);
    best->peak_i8 = larger(best->peak_i8, now.peak_i8);
    best->peak_f32 = larger(best->peak_f32, now.peak_f32);
    return ST_OK;
}

/* The best prefill and the best decode of the rounds, each with its profile. */
static int best_run(const struct run *run, struct bench *bench, bool profile,
                    struct bench_times *ret_best)
{
    const struct bench_shape *shape = &bench->shape;
    struct bench_times best = {0}, now;
    int r = ST_OK;

    for (uint32_t i = 0; i < run->values->rounds && r == ST_OK; i++) {
        r = bench_run(bench, shape->prompt, shape->generate, profile, &now);
        if (r != ST_OK)
            break;
        if (i == 0)
            best = now;
        if (now.prefill_s < best.prefill_s) {
            best.prefill_s = now.prefill_s;
            best.prefill = now.prefill;
        }
        if (now.decode_s < best.decode_s) {
            best.decode_s = now.decode_s;
            best.decode = now.decode;
        }
        best.step_s = now.step_s < best.step_s ? now.step_s : best.step_s;
    }
    if (r == ST_OK)
        *ret_best = best;
    return r;
}

/* Warm up, measure, and once more for the profile, whose clocks cost time. */
static int measure(struct run *run, struct bench *bench, struct bench_cell *cell)
{
    const struct bench_shape *shape = &cell->shape;
    const uint32_t warm_prompt = shape->prompt < WARM_UP_PROMPT ? shape->prompt : WARM_UP_PROMPT;
    const uint32_t warm_steps = shape->generate < WARM_UP_STEPS ? shape->generate : WARM_UP_STEPS;
    struct bench_times times;
    int r = bench_run(bench, warm_prompt, warm_steps, false, &times);

    if (r == ST_OK)
        r = measure_machine(run);
    if (r == ST_OK)
        r = best_run(run, bench, false, &cell->times);
    if (r == ST_OK && (run->values->profile || run->values->roofline)) {
        r = best_run(run, bench, true, &times);
        if (r == ST_OK) {
            cell->times.prefill = times.prefill;
            cell->times.decode = times.decode;
        }
    }
    if (r == ST_OK)
        r = measure_machine(run);
    cell->limits = run->limits;
    return r;
}

/* A runner of its own for each cell, so that rss_bytes is this cell's. */
static int run_cell(struct run *run, const struct bench_shape *shape, struct error *err)
{
    struct session *session = &run->session;
    struct bench_cell cell = {.shape = *shape};
    struct bench bench = {0};
    struct runner_opts opts = {
        .n_ctx = shape->prompt + shape->generate,
        .max_seqs = shape->batch,
        .max_rows = shape->batch > STEP_ROWS ? shape->batch : STEP_ROWS,
        .max_logits = shape->batch,
    };
    int r = session_run(session, &run->values->session, &opts, err);

    if (r != ST_OK)
        return r;
    r = bench_open(&bench, session->model, session->runner, shape);
    if (r == ST_OK)
        r = measure(run, &bench, &cell);
    cell.cost = bench_cost(model_info(session->model), runner_info(session->runner));
    if (r == ST_OK)
        bench_report_cell(&run->report, &cell);
    else
        error_set(err, r, "batch %u: the engine stopped: %s", shape->batch, status_name(r));
    bench_done(&bench);
    runner_free(session->runner);
    session->runner = NULL;
    return r;
}

static int run_all(struct run *run, const struct sizes *batches, const struct sizes *prompts,
                   struct error *err)
{
    const struct values *v = run->values;
    uint32_t longest = 0;
    int r = session_open(&run->session, v->session.model,
                         (enum model_precision)v->session.precision, err);

    if (r != ST_OK)
        return r;
    run->report = (struct bench_report){.json = v->json,
                                        .roofline = v->roofline,
                                        .profile = v->profile,
                                        .ctx = v->ctx != NULL,
                                        .precision = SESSION_PRECISIONS[v->session.precision],
                                        .model = model_info(run->session.model)};
    for (size_t i = 0; i < prompts->n; i++)
        longest = prompts->at[i] > longest ? prompts->at[i] : longest;
    if (longest + v->generate > run->report.model->n_ctx_train)
        return error_set(
            err, ST_INVALID, "%s and --generate ask for %u tokens: the context holds %u",
            v->ctx ? "--ctx" : "--prompt", longest + v->generate, run->report.model->n_ctx_train);
    for (size_t b = 0; b < batches->n; b++)
        for (size_t p = 0; p < prompts->n && r == ST_OK; p++) {
            const struct bench_shape shape = {batches->at[b], prompts->at[p], v->generate};
            r = run_cell(run, &shape, err);
        }
    if (r == ST_OK)
        bench_report_end(&run->report, &run->limits);
    return r;
}

int cmd_bench_engine(int argc, char *const *argv)
{
    struct values values = {.session = {.kv = KV_BY_PRECISION}};
    struct flags_result given;
    struct run run = {.values = &values};
    struct sizes batches = {.n = 0}, prompts = {.n = 0};
    struct error err = {{0}};
    int r, ended;

    ended = cli_parse(&TABLE, argc, argv, &values, &given);
    if (ended != CLI_GO_ON)
        return ended;
    if (parse_sizes("batch", values.batch, LIMIT_MAX_BATCH, &batches, &err) != ST_OK)
        return cli_usage(&err);
    if (values.ctx && flags_seen(&TABLE, &given, "prompt")) {
        error_set(&err, ST_INVALID,
                  "--ctx and --prompt both say how long the prompts are: take one");
        return cli_usage(&err);
    }
    prompts = (struct sizes){.at = {values.prompt}, .n = 1};
    if (values.ctx && parse_sizes("ctx", values.ctx, LIMIT_CONTEXT, &prompts, &err) != ST_OK)
        return cli_usage(&err);
    r = run_all(&run, &batches, &prompts, &err);
    session_done(&run.session);
    return r == ST_OK ? cli_finish() : cli_failed(r, &err);
}
