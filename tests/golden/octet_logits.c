/* octet_logits - raw logits and greedy ids of octet, for comparison with the oracle and llama.cpp.
 *
 *     octet_logits MODEL int8|fp32 int8|f16|f32 THREADS CHUNK [--greedy N] [--together]
 *
 * stdin:  a line of ids for each sequence.
 * stdout: raw little-endian f32 [ids][vocabulary] for each line in turn, the scores of every
 *         position; with --greedy a text line of the N ids that follow.
 * The prompt goes in by CHUNK rows a step. Lines run one after another, or all side by side with
 * --together, which must change nothing. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

struct line {
    int32_t *ids;
    size_t n, done; /* known, and run */
    size_t n_given;
    float *logits; /* [n_given][vocab]; NULL when greedy */
    uint32_t seq;
};

struct job {
    struct model *model;
    struct runner *runner;
    struct line *lines;
    size_t n_lines;
    uint32_t n_vocab, chunk, n_greedy;
    bool together;
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "octet_logits: %s: %s\n", what, why);
    exit(1);
}

static void *need(void *memory)
{
    if (!memory)
        die("memory", "none left");
    return memory;
}

static uint32_t number(const char *text, const char *what)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || value > INT_MAX)
        die(what, "wants a whole number");
    return (uint32_t)value;
}

/* Index of text among names; names end in NULL. */
static int choice(const char *text, const char *const *names, const char *what)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    die(what, "no such choice");
    return -1;
}

static void parse_line(struct job *job, char *text)
{
    struct line line = {0};
    char *save = NULL;

    /* An id takes two characters of the line at least. */
    line.ids = need(calloc(strlen(text) / 2 + 1 + job->n_greedy, sizeof(*line.ids)));
    for (char *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save))
        line.ids[line.n++] = (int32_t)number(word, "an id");
    line.n_given = line.n;
    if (line.n == 0)
        die("a line", "holds no id");
    if (!job->n_greedy)
        line.logits = need(calloc(line.n * job->n_vocab, sizeof(*line.logits)));
    job->lines = need(realloc(job->lines, (job->n_lines + 1) * sizeof(*job->lines)));
    job->lines[job->n_lines++] = line;
}

static void read_lines(struct job *job)
{
    char *text = NULL;
    size_t size = 0;

    while (getline(&text, &size, stdin) > 0)
        parse_line(job, text);
    free(text);
    if (job->n_lines == 0)
        die("stdin", "holds no line of ids");
}

static bool finished(const struct job *job, const struct line *line)
{
    return job->n_greedy ? line->n == line->n_given + job->n_greedy : line->done == line->n;
}

static int32_t best(const float *logits, uint32_t n)
{
    uint32_t at = 0;

    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[at])
            at = i;
    return (int32_t)at;
}

static size_t next_rows(const struct job *job, const struct line *line, struct batch_row *rows)
{
    size_t n = finished(job, line) ? 0 : line->n - line->done;

    n = n < job->chunk ? n : job->chunk;
    for (size_t i = 0; i < n; i++) {
        size_t at = line->done + i;
        rows[i] = (struct batch_row){.token = line->ids[at],
                                     .seq = line->seq,
                                     .pos = (uint32_t)at,
                                     .logits = !job->n_greedy || at + 1 == line->n};
    }
    return n;
}

/* Rows first .. first + n of the last step were line's. */
static void take(const struct job *job, struct line *line, size_t first, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float *logits = runner_logits(job->runner, first + i);
        bool wanted = !job->n_greedy || line->done + 1 == line->n;

        if (!logits != !wanted)
            die("runner_logits", "not the rows that were asked for");
        if (line->logits)
            memcpy(line->logits + line->done * job->n_vocab, logits,
                   job->n_vocab * sizeof(*logits));
        line->done++;
        if (logits && job->n_greedy)
            line->ids[line->n++] = best(logits, job->n_vocab);
    }
}

/* Steps until each of n lines is finished. */
static void run(struct job *job, struct line *lines, size_t n)
{
    struct batch_row *rows = need(calloc(n * job->chunk, sizeof(*rows)));
    size_t *counts = need(calloc(n, sizeof(*counts)));
    size_t n_rows, first;

    for (size_t i = 0; i < n; i++)
        if (runner_seq_new(job->runner, &lines[i].seq) ||
            runner_seq_reserve(job->runner, lines[i].seq,
                               (uint32_t)lines[i].n_given + job->n_greedy))
            die("a sequence", "no room");
    do {
        n_rows = first = 0;
        for (size_t i = 0; i < n; i++)
            n_rows += counts[i] = next_rows(job, &lines[i], rows + n_rows);
        if (n_rows && runner_step(job->runner, rows, n_rows))
            die("runner_step", "failed");
        for (size_t i = 0; i < n; first += counts[i++])
            take(job, &lines[i], first, counts[i]);
    } while (n_rows);
    for (size_t i = 0; i < n; i++)
        runner_seq_free(job->runner, lines[i].seq);
    free(counts);
    free(rows);
}

static void print_line(const struct job *job, const struct line *line)
{
    if (line->logits)
        fwrite(line->logits, sizeof(float) * job->n_vocab, line->n_given, stdout);
    for (size_t i = line->n_given; i < line->n; i++)
        printf("%d%c", line->ids[i], i + 1 < line->n ? ' ' : '\n');
}

static void open_runner(struct job *job, enum model_kv kv, uint32_t threads)
{
    uint32_t n = job->together ? (uint32_t)job->n_lines : 1;
    struct runner_opts opts = {.max_seqs = n,
                               .max_rows = n * job->chunk,
                               .max_logits = n * job->chunk,
                               .kv = kv,
                               .threads = threads};
    struct error err;

    for (size_t i = 0; i < job->n_lines; i++)
        if (job->lines[i].n_given + job->n_greedy > opts.n_ctx)
            opts.n_ctx = (uint32_t)job->lines[i].n_given + job->n_greedy;
    if (runner_open(job->model, &opts, &job->runner, &err))
        die("runner_open", err.text);
}

static struct quant_plan *plan_of(const char *path, const char *model)
{
    struct quant_plan *plan;
    struct error err;

    if (model_plan_read(path, model, &plan, &err))
        die("--plan", err.text);
    return plan;
}

int main(int argc, char **argv)
{
    static const char *const precisions[] = {"int8", "fp32", NULL};
    static const char *const kvs[] = {"int8", "f16", "f32", NULL};
    struct job job = {0};
    struct model_opts opts = {0};
    struct quant_plan *plan = NULL;
    struct error err;
    enum model_kv kv;

    if (argc < 6)
        die("usage", "octet_logits MODEL PRECISION KV THREADS CHUNK [--greedy N] [--together] "
                     "[--plan FILE]");
    opts.path = argv[1];
    opts.precision = (enum model_precision)choice(argv[2], precisions, "PRECISION");
    kv = (enum model_kv)choice(argv[3], kvs, "KV");
    job.chunk = number(argv[5], "CHUNK");
    for (int i = 6; i < argc; i++)
        if (strcmp(argv[i], "--together") == 0)
            job.together = true;
        else if (strcmp(argv[i], "--greedy") == 0 && i + 1 < argc)
            job.n_greedy = number(argv[++i], "--greedy");
        else if (strcmp(argv[i], "--plan") == 0 && i + 1 < argc)
            opts.plan = plan = plan_of(argv[++i], opts.path);
        else
            die(argv[i], "unknown flag");
    if (model_open(&opts, &job.model, &err))
        die("model_open", err.text);
    job.n_vocab = model_info(job.model)->n_vocab;
    read_lines(&job);
    open_runner(&job, kv, number(argv[4], "THREADS"));
    for (size_t i = 0, n = job.together ? job.n_lines : 1; i < job.n_lines; i += n)
        run(&job, job.lines + i, n);
    for (size_t i = 0; i < job.n_lines; i++) {
        print_line(&job, &job.lines[i]);
        free(job.lines[i].ids);
        free(job.lines[i].logits);
    }
    free(job.lines);
    runner_free(job.runner);
    model_free(job.model);
    model_plan_free(plan);
    return fflush(stdout) ? 1 : 0;
}
