#include "tools/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/escape.h"
#include "tools/outfile.h"

enum { WORST = 6 }; /* tensors whose histogram is shown */

static const struct kind {
    const char *end;
    void (*write)(FILE *f, const json_t *document);
} KINDS[] = {{".html", report_html}, {".md", report_markdown}, {".json", NULL}};
enum { N_KINDS = sizeof(KINDS) / sizeof(KINDS[0]) };

/* ---- the document ---- */

/* A path may be any bytes, JSON is UTF-8. */
static json_t *clean(const char *bytes)
{
    const char *end = bytes + strlen(bytes);
    char *out = malloc(3 * strlen(bytes) + 1), *to = out;
    json_t *text = NULL;

    while (out && bytes < end) {
        size_t n = utf8_len(bytes, end);
        memcpy(to, n ? bytes : "\xef\xbf\xbd", n ? n : 3);
        to += n ? n : 3;
        bytes += n ? n : 1;
    }
    if (out)
        text = json_stringn(out, (size_t)(to - out));
    free(out);
    return text;
}

static uint64_t weights_of(const struct model_tensor_stats *t)
{
    return t->rows * t->columns;
}

/* null: there are none */
static json_t *scale_json(const struct model_tensor_stats *t)
{
    if (t->bits > 8)
        return json_null();
    return json_pack("{s:f, s:f, s:f}", "min", (double)t->scale_min, "median",
                     (double)t->scale_median, "max", (double)t->scale_max);
}

static json_t *zero_json(const struct model_tensor_stats *t)
{
    if (!t->affine)
        return json_null();
    return json_pack("{s:i, s:i}", "min", t->zero_min, "max", t->zero_max);
}

static json_t *tensor(const struct model_tensor_stats *t)
{
    return json_pack("{s:s, s:I, s:I, s:i, s:i, s:i, s:f, s:f, s:o, s:o, s:f, s:f, s:I, s:I}",
                     "name", t->name, "rows", (json_int_t)t->rows, "columns",
                     (json_int_t)t->columns, "bits", (int)t->bits, "group", (int)t->group,
                     "hadamard", (int)t->block, "min", (double)t->min, "max", (double)t->max,
                     "scale", scale_json(t), "zero", zero_json(t), "clipped",
                     (double)t->clipped / (double)weights_of(t), "snr_db", t->snr_db, "bytes_in",
                     (json_int_t)t->bytes_in, "bytes_out", (json_int_t)t->bytes_out);
}

static json_t *tensors(const struct model_quantize_report *result)
{
    json_t *list = json_array();

    for (size_t i = 0; i < result->n_stats; i++)
        json_array_append_new(list, tensor(&result->tensors[i]));
    return list;
}

static json_t *histogram(const struct model_tensor_stats *t)
{
    json_t *counts = json_array();

    for (size_t i = 0; i < MODEL_STATS_BINS; i++)
        json_array_append_new(counts, json_integer((json_int_t)t->bins[i]));
    return json_pack("{s:s, s:f, s:i, s:i, s:I, s:o}", "tensor", t->name, "snr_db", t->snr_db,
                     "first", t->bits == 4 ? -8 : -128, "last", t->bits == 4 ? 7 : 127, "clipped",
                     (json_int_t)t->clipped, "counts", counts);
}

/* Those with the least signal over noise, the worst first. */
static json_t *worst(const struct model_quantize_report *result)
{
    json_t *list = json_array();
    const struct model_tensor_stats *last = NULL;

    for (size_t k = 0; k < WORST; k++) {
        const struct model_tensor_stats *found = NULL;
        for (size_t i = 0; i < result->n_stats; i++) {
            const struct model_tensor_stats *t = &result->tensors[i];
            bool later =
                !last || t->snr_db > last->snr_db || (t->snr_db >= last->snr_db && t > last);
            if (later && t->bits <= 8 && (!found || t->snr_db < found->snr_db))
                found = t;
        }
        if (found)
            json_array_append_new(list, histogram(found));
        last = found ? found : last;
    }
    return list;
}

static json_t *totals(const struct model_quantize_report *result)
{
    uint64_t weights = 0, stored = 4 * result->n_kept;

    for (size_t i = 0; i < result->n_stats; i++) {
        weights += weights_of(&result->tensors[i]);
        stored += result->tensors[i].bytes_out;
    }
    const uint64_t n = weights + result->n_kept;
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f}", "tensors",
                     (json_int_t)result->n_tensors, "quantized", (json_int_t)result->n_quantized,
                     "weights", (json_int_t)weights, "kept_f32", (json_int_t)result->n_kept,
                     "bytes_fp32", (json_int_t)(4 * n), "bytes_stored", (json_int_t)stored,
                     "bytes_in", (json_int_t)result->bytes_in, "bytes_out",
                     (json_int_t)result->bytes_out, "fp32_ratio", 4.0 * (double)n / (double)stored,
                     "bits_per_weight", 8.0 * (double)stored / (double)n, "snr_db", result->snr_db);
}

json_t *report_document(const struct report *report)
{
    const struct model_quantize_report *result = report->result;
    const char *slash = strrchr(report->opts->out, '/');

    json_t *units = report->sweep ? report_units(report->sweep) : json_null();
    json_t *plans = report->sweep ? report_plans(report->sweep, result->bytes_out) : json_null();

    return json_pack("{s:s, s:o, s:o, s:o, s:s, s:s, s:b, s:f, s:o, s:O?, s:o, s:o, s:o, s:o}",
                     "octet", OCTET_VERSION, "model", clean(slash ? slash + 1 : report->opts->out),
                     "in", clean(report->opts->in), "out", clean(report->opts->out), "scheme",
                     result->scheme, "note", result->note, "compensated", result->compensated,
                     "seconds", report->seconds, "totals", totals(result), "evaluation",
                     report->evaluation, "sensitivities", units, "plans", plans, "worst",
                     worst(result), "tensors", tensors(result));
}

/* ---- its files ---- */

/* The next name of the list, into buf; NULL: it was the last. */
static const char *next_name(const char *files, char *buf, size_t len)
{
    size_t n = strcspn(files, ",");

    snprintf(buf, len, "%.*s", (int)n, files);
    return files[n] ? files + n + 1 : NULL;
}

static const struct kind *kind_of(const char *name)
{
    for (size_t i = 0; i < N_KINDS; i++) {
        size_t n = strlen(name), end = strlen(KINDS[i].end);
        if (n > end && strcmp(name + n - end, KINDS[i].end) == 0)
            return &KINDS[i];
    }
    return NULL;
}

static bool same(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int check_one(const char *name, const char *in, const char *out, struct error *err)
{
    const char *slash = strrchr(name, '/');
    char folder[4096] = ".";
    int r = ST_OK;

    if (slash)
        snprintf(folder, sizeof(folder), "%.*s", (int)(slash - name) + 1, name);
    if (!kind_of(name))
        r = error_set(err, ST_INVALID,
                      "--report: \"%.100s\": give a name that ends in .html, .md or .json", name);
    else if (access(folder, W_OK) != 0)
        r = error_set(err, ST_IO, "--report: %s: cannot be written into: %s", folder,
                      strerror(errno));
    else if (strcmp(name, out) == 0 || same(name, out) || same(name, in) ||
             (same(folder, in) && access(name, F_OK) == 0))
        r = error_set(err, ST_INVALID, "--report: %s: is a model's own file: give another name",
                      name);
    return r;
}

int report_check(const char *files, const char *in, const char *out, struct error *err)
{
    char name[4096];
    int r = ST_OK;

    while (files && r == ST_OK) {
        files = next_name(files, name, sizeof(name));
        r = check_one(name, in, out, err);
    }
    return r;
}

static int write_one(const json_t *document, const char *name, struct error *err)
{
    const struct kind *kind = kind_of(name);
    struct outfile out;
    int r = outfile_open(&out, name, err);

    if (r != ST_OK) {
        outfile_abort(&out);
        return r;
    }
    if (kind->write)
        kind->write(out.file, document);
    else
        json_dumpf(document, out.file, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    return outfile_commit(&out, err);
}

int report_write(const json_t *document, const char *files, struct error *err)
{
    char name[4096];
    int r = ST_OK;

    while (files && r == ST_OK) {
        files = next_name(files, name, sizeof(name));
        r = write_one(document, name, err);
    }
    return r;
}
