#include "tools/quantize_flags.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/cpus.h"
#include "config/limits.h"
#include "tools/evaluate.h"
#include "tools/report.h"

static const char *const HADAMARD[] = {"scheme", "64", "32", "none", NULL};
enum { NO_HADAMARD = 3 };
static const char *const SCALES[] = {"scheme", "f16", "f32", NULL};

#define AT(field) offsetof(struct quantize_values, field)

static const struct flag FLAGS[] = {
    {.name = "scheme",
     .type = FLAG_STRING,
     .offset = AT(scheme),
     .arg = "S",
     .help = "int8, the default; fast: whole rows; int4; q8_0"},
    {.name = "group", .type = FLAG_STRING, .offset = AT(group)},
    {.name = "activations", .type = FLAG_STRING, .offset = AT(activations)},
    {.name = "hadamard",
     .type = FLAG_CHOICE,
     .offset = AT(hadamard),
     .choices = HADAMARD,
     .fallback = "scheme"},
    {.name = "scales",
     .type = FLAG_CHOICE,
     .offset = AT(scales),
     .choices = SCALES,
     .fallback = "scheme"},
    {.name = "affine", .type = FLAG_BOOL, .offset = AT(affine)},
    {.name = "affine-activations", .type = FLAG_BOOL, .offset = AT(affine_activations)},
    {.name = "head", .type = FLAG_STRING, .offset = AT(head)},
    {.name = "embedding", .type = FLAG_STRING, .offset = AT(embedding)},
    {.name = "evaluate",
     .type = FLAG_STRING,
     .offset = AT(evaluate),
     .arg = "TEXT",
     .help = "measure OUT against IN on it, record that in OUT"},
    {.name = "chunks", .type = FLAG_U32, .offset = AT(chunks), .fallback = "0"},
    {.name = "report",
     .type = FLAG_STRING,
     .offset = AT(report),
     .arg = "FILE",
     .help = "what became of the tensors: .html, .md or .json"},
    {.name = "json",
     .type = FLAG_BOOL,
     .offset = AT(json),
     .help = "the report as one JSON document"},
    {.name = "compensate",
     .type = FLAG_BOOL,
     .offset = AT(compensate),
     .help = "make up for rounding errors (GPTQ)"},
    {.name = "smooth",
     .type = FLAG_STRING,
     .offset = AT(smooth),
     .arg = "A",
     .help = "SmoothQuant: auto, or its alpha from 0 to 1"},
    {.name = "clip",
     .type = FLAG_BOOL,
     .offset = AT(clip),
     .help = "ranges of least error, by activation energy"},
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
     .fallback = "32768"},
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
    {.name = "observer", .type = FLAG_STRING, .offset = AT(observer), .fallback = "percentile"},
    {.name = "threads",
     .type = FLAG_U32,
     .offset = AT(calibrate.threads),
     .max = LIMIT_THREADS,
     .fallback = "0",
     .arg = "N",
     .help = "compute threads; 0: by CPU quota and affinity"},
    {.name = "plan",
     .type = FLAG_STRING,
     .offset = AT(search.plan),
     .arg = "FILE",
     .help = "modules by name, each as what: JSON, as info has it"},
    {.name = "max-kld",
     .type = FLAG_DOUBLE,
     .offset = AT(search.max_kld),
     .fmin = 1e-12,
     .fmax = 100.0,
     .arg = "X",
     .help = "find the smallest plan that loses no more; into --plan"},
    {.name = "max-bytes",
     .type = FLAG_BYTES,
     .offset = AT(search.max_bytes),
     .min = 1,
     .arg = "N",
     .help = "or the best whose file is no larger (K, M, G)"},
    {.name = "best",
     .type = FLAG_BOOL,
     .offset = AT(search.best),
     .help = "or the best in 9.5 bits a weight, with --compensate"},
    {.name = "choices",
     .type = FLAG_STRING,
     .offset = AT(search.choices),
     .arg = "LIST",
     .help = "of those plans: what a module may be"},
    {.name = "sweep",
     .type = FLAG_STRING,
     .offset = AT(search.sweep),
     .arg = "FILE",
     .help = "keep what modules lose here, or go on with it"},
};

const struct flag_table QUANTIZE_FLAGS = {
    .usage = "octet quantize IN OUT [options]",
    .about = "A GGUF file or a Hugging Face directory (safetensors; Llama, Qwen2) becomes a "
             "quantized GGUF file. OUT appears whole or not at all.",
    .tail = "--group N|row|tensor, --activations N|token|static|channel, --hadamard 64|32|none, "
            "--scales f16|f32, --affine, --affine-activations, --head S, --embedding S change the "
            "scheme; static: --observer minmax, moving, percentile, l2, entropy; --chunks: of "
            "--evaluate, --calibrate-tokens: of --calibrate.",
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
static void put_scheme(FILE *f, const struct quantize_values *v)
{
    const char *scheme = v->scheme ? v->scheme : "int8", *plus = strchrnul(scheme, '+');

    fprintf(f, "%.*s", (int)(plus - scheme), scheme);
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

static int join_scheme(const struct quantize_values *v, char *buf, size_t len, struct error *err)
{
    FILE *f = fmemopen(buf, len, "w");

    if (!f)
        return error_set(err, ST_NOMEM, "out of memory");
    put_scheme(f, v);
    bool fits = ftell(f) < (long)len;
    return fclose(f) == 0 && fits ? ST_OK : error_set(err, ST_INVALID, "--scheme: too many words");
}

static int check_plan(const struct quantize_values *v, const char *scheme, struct error *err)
{
    if (strcmp(scheme, "int8") == 0)
        return search_check(&v->search, err);
    if (search_wanted(&v->search))
        return error_set(err, ST_INVALID,
                         "--max-kld, --max-bytes and --best choose among --choices: leave --scheme "
                         "and its like out");
    if (!v->search.plan)
        return search_check(&v->search, err);
    return error_set(
        err, ST_INVALID,
        "--plan: \"default\" in %s says what --scheme and its like would: leave them out",
        v->search.plan);
}

/* The text is read after minutes of work: a name that was mistyped is found before. */
static int check_text(const char *text, struct error *err)
{
    if (!text || strcmp(text, "-") == 0 || access(text, R_OK) == 0)
        return ST_OK;
    return error_set(err, ST_IO, "--evaluate: %s: cannot be opened: %s", text, strerror(errno));
}

/* "auto", or a number from 0 to 1. */
static int parse_smooth(const char *text, struct model_quantize_opts *opts, struct error *err)
{
    char *end;

    opts->smooth = text != NULL;
    opts->alpha = -1.0f;
    if (!text || strcmp(text, "auto") == 0)
        return ST_OK;
    opts->alpha = strtof(text, &end);
    if (end != text && !*end && opts->alpha >= 0.0f && opts->alpha <= 1.0f)
        return ST_OK;
    return error_set(err, ST_INVALID,
                     "--smooth: \"%.40s\" is neither auto nor a number from 0 to 1", text);
}

static unsigned threads_of(const struct quantize_values *values)
{
    struct cpus cpus;

    if (values->calibrate.threads)
        return values->calibrate.threads;
    cpus_read(NULL, 0, &cpus);
    return cpus.threads;
}

int quantize_opts(struct quantize_values *v, struct model_quantize_opts *opts,
                  char scheme[QUANTIZE_SCHEME], struct error *err)
{
    int r = join_scheme(v, scheme, QUANTIZE_SCHEME, err);

    /* Not asked for at all: the source's own, if it has one. */
    opts->scheme = v->scheme || strcmp(scheme, "int8") != 0 ? scheme : NULL;
    if (r == ST_OK)
        r = model_check_scheme(scheme, err);
    if (r == ST_OK)
        r = model_check_observer(v->observer, err);
    if (r == ST_OK)
        r = check_plan(v, scheme, err);
    if (r == ST_OK)
        r = parse_smooth(v->smooth, opts, err);
    if (r == ST_OK)
        r = check_out(opts->in, opts->out, err);
    if (r == ST_OK)
        r = check_text(v->evaluate, err);
    if (r == ST_OK && v->report)
        r = report_check(v->report, opts->in, opts->out, err);
    opts->statistics = v->report != NULL;
    v->compensate |= v->search.best;
    v->search.seed = v->calibrate.seed;
    opts->clip = v->clip;
    /* Observations alone are for compensation, too. */
    opts->plain = (opts->smooth || opts->clip) && !v->compensate;
    v->calibrate.wanted = opts->smooth || opts->clip || v->compensate;
    opts->observer = v->observer;
    opts->threads = threads_of(v);
    return r;
}
