/* octet quantize - a GGUF file or a Hugging Face directory to an INT8 GGUF file, with a report. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/cli.h"
#include "tools/evaluate.h"
#include "tools/quantize_flags.h"
#include "tools/report.h"
#include "tools/steps.h"

/* A run of the command, and what came of it. */
struct job {
    struct quantize_values values;
    struct model_quantize_opts opts;
    struct steps steps;
    struct model_quantize_report report;
    struct search_result found; /* of a search, if there is one */
    struct evaluate_opts measure;
    struct evaluate_result measured; /* of --evaluate */
    struct error err;
};

static double ratio(const struct model_quantize_report *report)
{
    return report->bytes_in ? (double)report->bytes_out / (double)report->bytes_in : 0;
}

static json_t *report_json(const struct model_quantize_opts *opts,
                           const struct model_quantize_report *report, struct steps *steps)
{
    const double seconds = steps_total(steps);

    return json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:{s:s, s:f}, s:s, s:f, s:o}", "in",
        opts->in, "out", opts->out, "scheme", report->scheme, "tensors",
        (json_int_t)report->n_tensors, "quantized", (json_int_t)report->n_quantized, "weights",
        (json_int_t)report->n_weights, "bytes_in", (json_int_t)report->bytes_in, "bytes_out",
        (json_int_t)report->bytes_out, "ratio", ratio(report), "snr_db", report->snr_db, "worst",
        "tensor", report->worst_name, "snr_db", report->worst_snr_db, "note", report->note,
        "seconds", seconds, "steps", steps_json(steps));
}

static void print_report(const struct model_quantize_opts *opts,
                         const struct model_quantize_report *report, struct steps *steps)
{
    printf("%s: %s, %" PRIu64 " of %" PRIu64 " tensors quantized, %.1f M weights, %.1f s\n",
           opts->out, report->scheme, report->n_quantized, report->n_tensors,
           (double)report->n_weights / 1e6, steps_total(steps));
    printf("  size   %.1f MB, %.2f times the %.1f MB of the source\n",
           (double)report->bytes_out / 1e6, ratio(report), (double)report->bytes_in / 1e6);
    if (report->n_weights)
        printf("  noise  %.1f dB below the signal; worst %.1f dB in %s\n", report->snr_db,
               report->worst_snr_db, report->worst_name);
    if (report->note[0])
        printf("  note   %s\n", report->note);
    steps_print(steps, stdout);
}

static int convert(struct job *j)
{
    const struct quantize_values *v = &j->values;
    const bool search = search_wanted(&v->search);
    struct model_quantize_opts *opts = &j->opts;
    struct observations *observations = NULL;
    struct quant_plan *plan = NULL;
    int r = v->search.plan && !search ? model_plan_read(v->search.plan, opts->in, &plan, &j->err)
                                      : ST_OK;

    opts->plan = plan;
    if (r == ST_OK && (plan ? model_plan_is_static(plan) : model_scheme_is_static(opts->scheme))) {
        j->values.calibrate.wanted = true;
        opts->plain = !v->compensate;
    }
    if (r == ST_OK)
        r = calibrate_get(&v->calibrate, opts, &observations, &j->err);
    opts->observations = observations;
    if (r == ST_OK)
        r = search ? search_run(&v->search, opts, &j->report, &j->found, &j->err)
                   : model_quantize(opts, &j->report, &j->err);
    progress_end(&j->steps.line);
    if (r == ST_OK && j->report.warning[0])
        fprintf(stderr, "octet quantize: warning: %s: %s\n", opts->in, j->report.warning);
    observations_free(observations);
    model_plan_free(plan);
    opts->observations = NULL;
    opts->plan = NULL;
    return r;
}

static int measure(struct job *j)
{
    j->measure = (struct evaluate_opts){.session = {.model = j->opts.out, .kv = KV_BY_PRECISION},
                                        .text = j->values.evaluate,
                                        .reference = j->opts.in,
                                        .ctx = EVALUATE_CTX_TOKENS,
                                        .chunks = j->values.chunks,
                                        .record = true};
    steps_begin(&j->steps, STEP_REPORT);
    return j->values.evaluate ? evaluate(&j->measure, &j->measured, &j->err) : ST_OK;
}

/* --report, if asked for. */
static int write_report(struct job *j)
{
    struct report report = {.opts = &j->opts,
                            .result = &j->report,
                            .seconds = steps_total(&j->steps),
                            .sweep = j->found.lines};
    json_t *document;
    int r;

    if (!j->values.report)
        return ST_OK;
    if (j->values.evaluate)
        report.evaluation = evaluate_json(&j->measure, &j->measured);
    document = report_document(&report);
    r = document ? report_write(document, j->values.report, &j->err)
                 : error_set(&j->err, ST_NOMEM, "--report: out of memory");
    json_decref(document);
    json_decref(report.evaluation);
    return r;
}

static int show(struct job *j)
{
    const bool evaluated = j->values.evaluate != NULL;

    if (j->values.json) {
        json_t *doc = report_json(&j->opts, &j->report, &j->steps);
        json_object_set_new(doc, "evaluation",
                            evaluated ? evaluate_json(&j->measure, &j->measured) : json_null());
        json_object_set_new(doc, "search", j->found.plan ? search_json(&j->found) : json_null());
        return cli_json(doc);
    }
    print_report(&j->opts, &j->report, &j->steps);
    if (j->found.plan)
        search_print(&j->found);
    if (evaluated)
        evaluate_print(&j->measure, &j->measured);
    return cli_finish();
}

int cmd_quantize(int argc, char *const *argv)
{
    struct job j = {.opts = {.progress = {steps_progress, &j.steps}}};
    struct flags_result given;
    char scheme[QUANTIZE_SCHEME];
    const int ended = cli_parse(&QUANTIZE_FLAGS, argc, argv, &j.values, &given);
    int r;

    if (ended != CLI_GO_ON)
        return ended;
    j.opts.in = given.args[0];
    j.opts.out = given.args[1];
    r = quantize_opts(&j.values, &j.opts, scheme, &j.err);
    if (r != ST_OK)
        return r == ST_INVALID ? cli_usage(&j.err) : cli_failed(r, &j.err);
    steps_init(&j.steps);
    r = convert(&j);
    if (r == ST_OK)
        r = measure(&j);
    if (r == ST_OK)
        r = write_report(&j);
    free(j.report.tensors);
    r = r == ST_OK ? show(&j) : cli_failed(r, &j.err);
    search_done(&j.found);
    return r;
}
