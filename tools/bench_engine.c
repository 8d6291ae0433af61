/* octet bench engine - speed of prefill and decode by batch size, without HTTP.
 *
 * Every sequence has its own random prompt. prefill_s runs from the first row to the first token of
 * the last sequence, decode_s over the `generate` steps after it, each with a row a sequence;
 * greedy sampling counts in both. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"
#include "tools/session.h"

#define MAX_SIZES 64u
#define STEP_ROWS 512u
#define WARM_UP_STEPS 4u

struct values {
    struct session_flags session;
    uint32_t prompt, generate;
    const char *batch;
    bool json;
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
    SESSION_FLAG_PRECISION,
    SESSION_FLAG_KV,
    SESSION_FLAG_THREADS,
    {.name = "json", .type = FLAG_BOOL, .offset = AT(json), .help = "one JSON line a batch size"},
    {.name = "roofline", .type = FLAG_RESERVED},
    {.name = "profile", .type = FLAG_RESERVED},
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

/* "1,4,8": whole numbers of 1 .. LIMIT_MAX_BATCH with commas between. */
static int parse_sizes(const char *text, struct sizes *ret_sizes, struct error *err)
{
    struct sizes sizes = {.n = 0};
    const char *at = text;

    for (;;) {
        uint32_t size = 0;
        while (*at >= '0' && *at <= '9' && size <= LIMIT_MAX_BATCH)
            size = size * 10 + (uint32_t)(*at++ - '0');
        if (size < 1 || size > LIMIT_MAX_BATCH || sizes.n == MAX_SIZES ||
            (*at != ',' && *at != '\0'))
            return error_set(
                err, ST_INVALID,
                "--batch: \"%.64s\" is not a list of up to %u batch sizes such as 1,4,8, each 1 "
                "to %u",
                text, MAX_SIZES, LIMIT_MAX_BATCH);
        sizes.at[sizes.n++] = size;
        if (*at++ == '\0')
            break;
    }
    *ret_sizes = sizes;
    return ST_OK;
}

/* One batch size being measured. */
struct bench {
    const struct values *values;
    const struct model *model;
    struct runner *runner;
    uint32_t batch, max_rows;

    int32_t *ids;  /* batch x prompt */
    int32_t *last; /* batch: token of the next decode step */
    uint32_t *seqs;
    struct sample_job *jobs;
    size_t *job_seq; /* whose first token job i draws */
    struct batch_row *rows;

    double prefill_s, decode_s;
    uint64_t rss_bytes;
};

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
    size_t n = (size_t)bench->batch * bench->values->prompt;

    for (size_t i = 0; i < n; i++) {
        /* A vocabulary without a plain token still gets a prompt. */
        for (int tries = 0; tries < 100; tries++) {
            bench->ids[i] = (int32_t)(next_random(&state) % n_vocab);
            if (is_plain(bench->model, bench->ids[i]))
                break;
        }
    }
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
static int prefill(struct bench *bench)
{
    uint32_t prompt = bench->values->prompt;
    size_t total = (size_t)bench->batch * prompt, done = 0;

    while (done < total) {
        size_t n = 0, n_jobs = 0;
        int r;
        for (; n < bench->max_rows && done < total; n++, done++) {
            size_t seq = done / prompt;
            uint32_t pos = (uint32_t)(done % prompt);
            bench->rows[n] =
                (struct batch_row){bench->ids[done], bench->seqs[seq], pos, pos + 1 == prompt};
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

static int decode(struct bench *bench, uint32_t steps)
{
    for (uint32_t step = 0; step < steps; step++) {
        uint32_t pos = bench->values->prompt + step;
        int r;
        for (size_t i = 0; i < bench->batch; i++)
            bench->rows[i] = (struct batch_row){bench->last[i], bench->seqs[i], pos, true};
        r = runner_step(bench->runner, bench->rows, bench->batch);
        if (r != ST_OK)
            return r;
        for (size_t i = 0; i < bench->batch; i++)
            bench->jobs[i].logits = runner_logits(bench->runner, i);
        r = sample(bench, bench->batch);
        if (r != ST_OK)
            return r;
        for (size_t i = 0; i < bench->batch; i++)
            bench->last[i] = bench->jobs[i].id[0];
    }
    return ST_OK;
}

/* Prefill and steps of decode with fresh sequences; times go into bench. */
static int run_once(struct bench *bench, uint32_t steps)
{
    uint32_t n_ctx = bench->values->prompt + bench->values->generate;
    double start_s, middle_s;
    size_t n_open = 0;
    int r = ST_OK;

    while (n_open < bench->batch && r == ST_OK) {
        r = runner_seq_new(bench->runner, &bench->seqs[n_open]);
        if (r == ST_OK)
            r = runner_seq_reserve(bench->runner, bench->seqs[n_open++], n_ctx);
    }
    start_s = cli_now_s();
    if (r == ST_OK)
        r = prefill(bench);
    middle_s = cli_now_s();
    if (r == ST_OK)
        r = decode(bench, steps);
    bench->decode_s = cli_now_s() - middle_s;
    bench->prefill_s = middle_s - start_s;
    for (size_t i = 0; i < n_open; i++)
        runner_seq_free(bench->runner, bench->seqs[i]);
    return r;
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

static int bench_open(struct bench *bench)
{
    size_t batch = bench->batch;
    int r = ST_OK;

    bench->max_rows = runner_info(bench->runner)->max_rows;
    bench->ids = calloc(batch * bench->values->prompt, sizeof(*bench->ids));
    bench->last = calloc(batch, sizeof(*bench->last));
    bench->seqs = calloc(batch, sizeof(*bench->seqs));
    bench->jobs = calloc(batch, sizeof(*bench->jobs));
    bench->job_seq = calloc(batch, sizeof(*bench->job_seq));
    bench->rows = calloc(bench->max_rows, sizeof(*bench->rows));
    if (!bench->ids || !bench->last || !bench->seqs || !bench->jobs || !bench->job_seq ||
        !bench->rows)
        return ST_NOMEM;
    /* Greedy samplers hold nothing that differs between sequences, but the daemon has one each. */
    for (size_t i = 0; i < batch && r == ST_OK; i++)
        r = sampler_open(bench->model, &(struct sampler_opts){.top_p = 1, .repetition_penalty = 1},
                         &bench->jobs[i].sampler);
    if (r == ST_OK)
        make_prompts(bench);
    return r;
}

static void bench_done(struct bench *bench)
{
    for (size_t i = 0; bench->jobs && i < bench->batch; i++)
        sampler_free(bench->jobs[i].sampler);
    free(bench->ids);
    free(bench->last);
    free(bench->seqs);
    free(bench->jobs);
    free(bench->job_seq);
    free(bench->rows);
}

static void report(const struct bench *bench, unsigned threads, bool first)
{
    const struct values *v = bench->values;
    double prefill = (double)bench->batch * v->prompt / bench->prefill_s;
    double decode = (double)bench->batch * v->generate / bench->decode_s;
    const char *precision = SESSION_PRECISIONS[v->session.precision];

    if (v->json) {
        json_t *line = json_pack(
            "{s:I, s:I, s:I, s:I, s:s, s:f, s:f, s:f, s:f, s:I}", "batch", (json_int_t)bench->batch,
            "prompt", (json_int_t)v->prompt, "generate", (json_int_t)v->generate, "threads",
            (json_int_t)threads, "precision", precision, "prefill_tok_s", prefill, "decode_tok_s",
            decode, "prefill_s", bench->prefill_s, "decode_s", bench->decode_s, "rss_bytes",
            (json_int_t)bench->rss_bytes);
        cli_json(line);
        return;
    }
    if (first)
        printf("%s, %u threads, prompts of %u tokens, %u more generated\n"
               "batch  prefill tok/s  decode tok/s  prefill s  decode s  resident MB\n",
               precision, threads, v->prompt, v->generate);
    printf("%5u  %13.1f  %12.1f  %9.3f  %8.3f  %11.1f\n", bench->batch, prefill, decode,
           bench->prefill_s, bench->decode_s, (double)bench->rss_bytes / 1e6);
    fflush(stdout);
}

/* A runner of its own for each size, so that rss_bytes is this size's. */
static int measure(struct session *session, const struct values *values, uint32_t batch, bool first,
                   struct error *err)
{
    struct bench bench = {.values = values, .model = session->model, .batch = batch};
    struct runner_opts opts = {
        .n_ctx = values->prompt + values->generate,
        .max_seqs = batch,
        .max_rows = batch > STEP_ROWS ? batch : STEP_ROWS,
        .max_logits = batch,
    };
    uint32_t warm_up = values->generate < WARM_UP_STEPS ? values->generate : WARM_UP_STEPS;
    int r = session_run(session, &values->session, &opts, err);

    if (r != ST_OK)
        return r;
    bench.runner = session->runner;
    r = bench_open(&bench);
    if (r == ST_OK)
        r = run_once(&bench, warm_up);
    if (r == ST_OK)
        r = run_once(&bench, values->generate);
    bench.rss_bytes = resident_bytes();
    if (r == ST_OK)
        report(&bench, runner_info(bench.runner)->threads, first);
    else
        error_set(err, r, "batch %u: the engine stopped: %s", batch, status_name(r));
    bench_done(&bench);
    runner_free(session->runner);
    session->runner = NULL;
    return r;
}

int cmd_bench_engine(int argc, char *const *argv)
{
    struct values values = {.session = {.kv = KV_BY_PRECISION}};
    struct flags_result given;
    struct session session = {0};
    struct sizes sizes = {.n = 0};
    struct error err = {{0}};
    int r, ended;

    ended = cli_parse(&TABLE, argc, argv, &values, &given);
    if (ended != CLI_GO_ON)
        return ended;
    if (parse_sizes(values.batch, &sizes, &err) != ST_OK)
        return cli_usage(&err);
    r = session_open(&session, values.session.model, (enum model_precision)values.session.precision,
                     &err);
    if (r == ST_OK && values.prompt + values.generate > model_info(session.model)->n_ctx_train)
        r = error_set(&err, ST_INVALID,
                      "--prompt and --generate ask for %u tokens: the context holds %u",
                      values.prompt + values.generate, model_info(session.model)->n_ctx_train);
    for (size_t i = 0; i < sizes.n && r == ST_OK; i++)
        r = measure(&session, &values, sizes.at[i], i == 0, &err);
    session_done(&session);
    return r == ST_OK ? cli_finish() : cli_failed(r, &err);
}
