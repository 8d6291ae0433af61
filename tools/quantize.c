/* octet quantize - a GGUF file to an INT8 GGUF file, with a report. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "config/progress.h"
#include "model/model.h"
#include "tools/cli.h"

struct values {
    int scheme;
    bool json;
};

static const char *const SCHEMES[] = {"int8", "q8_0", NULL};

#define AT(field) offsetof(struct values, field)

static const struct flag FLAGS[] = {
    {.name = "scheme",
     .type = FLAG_CHOICE,
     .offset = AT(scheme),
     .choices = SCHEMES,
     .fallback = "int8",
     .arg = "S",
     .help = "int8: groups of 64 after a Hadamard transform, for octet only; q8_0: standard Q8_0, "
             "for other engines too"},
    {.name = "json",
     .type = FLAG_BOOL,
     .offset = AT(json),
     .help = "the report as one JSON document"},
    {.name = "calibrate", .type = FLAG_RESERVED},
    {.name = "plan", .type = FLAG_RESERVED},
};

static const struct flag_table TABLE = {
    .usage = "octet quantize IN OUT [--scheme S] [--json]",
    .about = "Turn a GGUF file (F32, F16, BF16 or quantized) into an INT8 GGUF file. OUT appears "
             "whole or not at all.",
    .flags = FLAGS,
    .n_flags = sizeof(FLAGS) / sizeof(FLAGS[0]),
    .min_args = 2,
    .max_args = 2,
};

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
    return ST_OK;
}

static double ratio(const struct model_quantize_report *report)
{
    return report->bytes_in ? (double)report->bytes_out / (double)report->bytes_in : 0;
}

static json_t *report_json(const struct model_quantize_opts *opts,
                           const struct model_quantize_report *report, double seconds)
{
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:{s:s, s:f}, s:s, s:f}",
                     "in", opts->in, "out", opts->out, "scheme", opts->scheme, "tensors",
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
           opts->out, opts->scheme, report->n_quantized, report->n_tensors,
           (double)report->n_weights / 1e6, seconds);
    printf("  size   %.1f MB, %.2f times the %.1f MB of the source\n",
           (double)report->bytes_out / 1e6, ratio(report), (double)report->bytes_in / 1e6);
    printf("  noise  %.1f dB below the signal; worst %.1f dB in %s\n", report->snr_db,
           report->worst_snr_db, report->worst_name);
    if (report->note[0])
        printf("  note   %s\n", report->note);
}

int cmd_quantize(int argc, char *const *argv)
{
    struct values values = {0};
    struct flags_result given;
    struct error err = {{0}};
    struct progress progress;
    struct model_quantize_opts opts = {.progress = {progress_update, &progress}};
    struct model_quantize_report report = {0};
    double start_s;
    int r, ended;

    ended = cli_parse(&TABLE, argc, argv, &values, &given);
    if (ended != CLI_GO_ON)
        return ended;
    opts.in = given.args[0];
    opts.out = given.args[1];
    opts.scheme = SCHEMES[values.scheme];
    if (check_out(opts.in, opts.out, &err) != ST_OK)
        return cli_usage(&err);

    start_s = cli_now_s();
    progress_init(&progress);
    r = model_quantize(&opts, &report, &err);
    progress_end(&progress);
    if (r != ST_OK)
        return cli_failed(r, &err);
    if (values.json)
        return cli_json(report_json(&opts, &report, cli_now_s() - start_s));
    report_text(&opts, &report, cli_now_s() - start_s);
    return cli_finish();
}
