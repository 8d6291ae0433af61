/* octet quantize - a GGUF file or a Hugging Face directory to an INT8 GGUF file, with a report. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/cpus.h"
#include "config/limits.h"
#include "config/progress.h"
#include "model/model.h"
#include "tools/calibrate.h"
#include "tools/cli.h"
#include "tools/evaluate.h"

struct values {
    const char *scheme, *head, *embedding, *group, *activations;
    int hadamard, scales;
    bool affine, affine_activations, json;
    struct calibrate calibrate;
    const char *evaluate;
    uint32_t chunks;
};

static const char *const HADAMARD[] = {"scheme", "64", "32", "none", NULL};
enum { NO_HADAMARD = 3 };
static const char *const SCALES[] = {"scheme", "f16", "f32", NULL};

#define AT(field) offsetof(struct values, field)

static const struct flag FLAGS[] = {
    {.name = "scheme",
     .type = FLAG_STRING,
     .offset = AT(scheme),
     .fallback = "int8",
     .arg = "S",
     .help = "int8; fast: whole rows; int4; q8_0: standard"},
    {.name = "group",
     .type = FLAG_STRING,
     .offset = AT(group),
     .arg = "N",
     .help = "weights a scale: 32, 64, 128, 256, row or tensor"},
    {.name = "activations",
     .type = FLAG_STRING,
     .offset = AT(activations),
     .arg = "N",
     .help = "activations a scale: 32 to 256, or token"},
    {.name = "hadamard",
     .type = FLAG_CHOICE,
     .offset = AT(hadamard),
     .choices = HADAMARD,
     .fallback = "scheme",
     .arg = "B",
     .help = "transform before it: 64, 32, none"},
    {.name = "scales",
     .type = FLAG_CHOICE,
     .offset = AT(scales),
     .choices = SCALES,
     .fallback = "scheme",
     .arg = "T",
     .help = "f16 or f32"},
    {.name = "affine", .type = FLAG_BOOL, .offset = AT(affine), .help = "weights with zero points"},
    {.name = "affine-activations",
     .type = FLAG_BOOL,
     .offset = AT(affine_activations),
     .help = "activations with zero points"},
    {.name = "head",
     .type = FLAG_STRING,
     .offset = AT(head),
     .arg = "S",
     .help = "the output head's own scheme, as int8-g32"},
    {.name = "embedding",
     .type = FLAG_STRING,
     .offset = AT(embedding),
     .arg = "S",
     .help = "the embedding's own, where it is not the head"},
    {.name = "evaluate",
     .type = FLAG_STRING,
     .offset = AT(evaluate),
     .arg = "TEXT",
     .help = "measure OUT against IN on it, record that in OUT"},
    {.name = "chunks",
     .type = FLAG_U32,
     .offset = AT(chunks),
     .fallback = "0",
     .arg = "N",
     .help = "of --evaluate, " EVALUATE_CTX " tokens each; 0: the whole text"},
    {.name = "json",
     .type = FLAG_BOOL,
     .offset = AT(json),
     .help = "the report as one JSON document"},
    {.name = "compensate",
     .type = FLAG_BOOL,
     .offset = AT(calibrate.compensate),
     .help = "make up for rounding errors (GPTQ)"},
    {.name = "calibrate",
     .type = FLAG_STRING,
     .offset = AT(calibrate.text),
     .arg = "TEXT",
     .help = "by this text, not one the model draws; -: stdin"},
    {.name = "calibrate-tokens",
     .type = FLAG_U32,
     .offset = AT(calibrate.tokens),
     .min = 512,
     .max = 1u << 24,
     .fallback = "32768",
     .arg = "N",
     .help = "at most so many of it"},
    {.name = "seed",
     .type = FLAG_U64,
     .offset = AT(calibrate.seed),
     .max = INT64_MAX,
     .fallback = "0",
     .arg = "N",
     .help = "of the text that the model draws"},
    {.name = "observations",
     .type = FLAG_STRING,
     .offset = AT(calibrate.observations),
     .arg = "FILE",
     .help = "keep what was seen here, or use what was kept"},
    {.name = "threads",
     .type = FLAG_U32,
     .offset = AT(calibrate.threads),
     .max = LIMIT_THREADS,
     .fallback = "0",
     .arg = "N",
     .help = "compute threads; 0: by CPU quota and affinity"},
    {.name = "plan", .type = FLAG_RESERVED},
};

static const struct flag_table TABLE = {
    .usage = "octet quantize IN OUT [options]",
    .about = "A GGUF file or a Hugging Face directory (safetensors; Llama, Qwen2) becomes a "
             "quantized GGUF file. OUT appears whole or not at all.",
    .flags = FLAGS,
    .n_flags = sizeof(FLAGS) / sizeof(FLAGS[0]),
    .min_args = 2,
    .max_args = 2,
};

/* Is the file at out one of the directory `in`, other than a model made there before? */
static bool is_part(const char *in, const char *out)
{
    const char *slash = strrchr(out, '/');
    size_t n_out = strlen(out);
    char *folder = slash ? strndup(out, (size_t)(slash - out) + 1) : strdup(".");
    struct stat from, to;
    bool same = folder && stat(in, &from) == 0 && stat(folder, &to) == 0 &&
                from.st_dev == to.st_dev && from.st_ino == to.st_ino;

    free(folder);
    return same && !(n_out > 5 && strcmp(out + n_out - 5, ".gguf") == 0);
}

/* Refuse at once what would only fail after minutes of work, or eat the source. */
static int check_out(const char *in, const char *out, struct error *err)
{
    struct stat from, to;

    if (stat(out, &to) != 0)
        return ST_OK;
    if (S_ISDIR(to.st_mode))
        return error_set(err, ST_INVALID, "%s: is a directory: OUT is the file to write", out);
    if (!S_ISREG(to.st_mode))
        return error_set(err, ST_INVALID, "%s: is not a regular file: OUT is the file to write",
                         out);
    if (stat(in, &from) == 0 && from.st_dev == to.st_dev && from.st_ino == to.st_ino)
        return error_set(err, ST_INVALID, "%s: IN and OUT are the same file: give OUT another name",
                         out);
    if (is_part(in, out))
        return error_set(err, ST_INVALID,
                         "%s: is a file of the directory that is read: give OUT another name", out);
    return ST_OK;
}

/* "g64" of 64, "row" of row. */
static void put_group(FILE *f, char letter, const char *value)
{
    if (value && value[0] >= '0' && value[0] <= '9')
        fprintf(f, "-%c%s", letter, value);
    else if (value)
        fprintf(f, "-%s", value);
}

/* The flags as words after the scheme's name: quant_scheme_parse knows what they may be. */
static void put_scheme(FILE *f, const struct values *v)
{
    const char *plus = strchrnul(v->scheme, '+');

    fprintf(f, "%.*s", (int)(plus - v->scheme), v->scheme);
    put_group(f, 'g', v->group);
    put_group(f, 'a', v->activations);
    if (v->hadamard)
        fprintf(f, "-h%s", v->hadamard == NO_HADAMARD ? "0" : HADAMARD[v->hadamard]);
    if (v->scales)
        fprintf(f, "-%s", SCALES[v->scales]);
    fputs(v->affine ? "-affine" : "", f);
    fputs(v->affine_activations ? "-actaffine" : "", f);
    fputs(plus, f);
    if (v->head)
        fprintf(f, "+head:%s", v->head);
    if (v->embedding)
        fprintf(f, "+embed:%s", v->embedding);
}

static int join_scheme(const struct values *v, char *buf, size_t len, struct error *err)
{
    FILE *f = fmemopen(buf, len, "w");

    if (!f)
        return error_set(err, ST_NOMEM, "out of memory");
    put_scheme(f, v);
    bool fits = ftell(f) < (long)len;
    return fclose(f) == 0 && fits ? ST_OK : error_set(err, ST_INVALID, "--scheme: too many words");
}

/* The text is read after minutes of work: a name that was mistyped is found before. */
static int check_text(const char *text, struct error *err)
{
    if (!text || strcmp(text, "-") == 0 || access(text, R_OK) == 0)
        return ST_OK;
    return error_set(err, ST_IO, "--evaluate: %s: cannot be opened: %s", text, strerror(errno));
}

static double ratio(const struct model_quantize_report *report)
{
    return report->bytes_in ? (double)report->bytes_out / (double)report->bytes_in : 0;
}

static json_t *report_json(const struct model_quantize_opts *opts,
                           const struct model_quantize_report *report, double seconds)
{
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:{s:s, s:f}, s:s, s:f}",
                     "in", opts->in, "out", opts->out, "scheme", report->scheme, "tensors",
                     (json_int_t)report->n_tensors, "quantized", (json_int_t)report->n_quantized,
                     "weights", (json_int_t)report->n_weights, "bytes_in",
                     (json_int_t)report->bytes_in, "bytes_out", (json_int_t)report->bytes_out,
                     "ratio", ratio(report), "snr_db", report->snr_db, "worst", "tensor",
                     report->worst_name, "snr_db", report->worst_snr_db, "note", report->note,
                     "seconds", seconds);
}

static void report_text(const struct model_quantize_opts *opts,
                        const struct model_quantize_report *report, double seconds)
{
    printf("%s: %s, %" PRIu64 " of %" PRIu64 " tensors in INT8, %.1f M weights, %.1f s\n",
           opts->out, report->scheme, report->n_quantized, report->n_tensors,
           (double)report->n_weights / 1e6, seconds);
    printf("  size   %.1f MB, %.2f times the %.1f MB of the source\n",
           (double)report->bytes_out / 1e6, ratio(report), (double)report->bytes_in / 1e6);
    printf("  noise  %.1f dB below the signal; worst %.1f dB in %s\n", report->snr_db,
           report->worst_snr_db, report->worst_name);
    if (report->note[0])
        printf("  note   %s\n", report->note);
}

static unsigned threads_of(const struct values *values)
{
    struct cpus cpus;

    if (values->calibrate.threads)
        return values->calibrate.threads;
    cpus_read(NULL, 0, &cpus);
    return cpus.threads;
}

static int run(const struct values *values, struct model_quantize_opts *opts,
               struct model_quantize_report *ret_report, struct error *err)
{
    struct observations *observations = NULL;
    int r = calibrate_get(&values->calibrate, opts, &observations, err);

    opts->observations = observations;
    if (r == ST_OK)
        r = model_quantize(opts, ret_report, err);
    observations_free(observations);
    opts->observations = NULL;
    return r;
}

int cmd_quantize(int argc, char *const *argv)
{
    struct values values = {0};
    struct flags_result given;
    struct error err = {{0}};
    struct progress progress;
    struct model_quantize_opts opts = {.progress = {calibrate_progress, &progress}};
    struct model_quantize_report report = {0};
    char scheme[256];
    struct evaluate_opts measure;
    struct evaluate_result measured;
    double seconds;
    json_t *doc;
    int r, ended;

    ended = cli_parse(&TABLE, argc, argv, &values, &given);
    if (ended != CLI_GO_ON)
        return ended;
    opts.in = given.args[0];
    opts.out = given.args[1];
    opts.scheme = scheme;
    if (join_scheme(&values, scheme, sizeof(scheme), &err) != ST_OK ||
        model_check_scheme(scheme, &err) != ST_OK || check_out(opts.in, opts.out, &err) != ST_OK)
        return cli_usage(&err);
    if (check_text(values.evaluate, &err) != ST_OK)
        return cli_failed(ST_IO, &err);
    measure = (struct evaluate_opts){.session = {.model = opts.out, .kv = KV_BY_PRECISION},
                                     .text = values.evaluate,
                                     .reference = opts.in,
                                     .ctx = EVALUATE_CTX_TOKENS,
                                     .chunks = values.chunks,
                                     .record = true};

    opts.threads = threads_of(&values);
    seconds = -cli_now_s();
    progress_init(&progress);
    r = run(&values, &opts, &report, &err);
    progress_end(&progress);
    seconds += cli_now_s();
    if (r == ST_OK && values.evaluate)
        r = evaluate(&measure, &measured, &err);
    if (r != ST_OK)
        return cli_failed(r, &err);
    if (values.json) {
        doc = report_json(&opts, &report, seconds);
        json_object_set_new(doc, "evaluation",
                            values.evaluate ? evaluate_json(&measure, &measured) : json_null());
        return cli_json(doc);
    }
    report_text(&opts, &report, seconds);
    if (values.evaluate)
        evaluate_print(&measure, &measured);
    return cli_finish();
}
