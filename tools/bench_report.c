#include "tools/bench_report.h"

#include <stdio.h>

#include "tools/cli.h"

static double prefill_tok_s(const struct bench_cell *cell)
{
    return (double)cell->shape.batch * cell->shape.prompt / cell->times.prefill_s;
}

static double decode_tok_s(const struct bench_cell *cell)
{
    return (double)cell->shape.batch * cell->shape.generate / cell->times.decode_s;
}

/* How much slower a step is than the first cell's, over how much more it reads: 1 is the best. */
static double growth(const struct bench_report *report, const struct bench_cell *cell,
                     double *ret_bytes)
{
    double bytes = bench_step_bytes(&cell->cost, &cell->shape);

    *ret_bytes = bytes / bench_step_bytes(&report->first.cost, &report->first.shape);
    return cell->times.step_s / report->first.times.step_s;
}

/* Keys and values of all sequences at their end. */
static double kv_bytes(const struct bench_cell *cell)
{
    return (double)cell->shape.batch * (cell->shape.prompt + cell->shape.generate) *
           cell->cost.position_bytes;
}

/* ---- JSON ---- */

static json_t *part_json(const struct runner_profile *profile, enum runner_part part, double total,
                         const struct bench_cell *cell, double peak)
{
    double rate = bench_product_rate(profile, part, cell->cost.threads);
    json_t *doc = json_pack("{s:f, s:f}", "seconds", profile->seconds[part], "share",
                            total > 0 ? profile->seconds[part] / total : 0.0);

    if (bench_is_product(part)) {
        json_object_set_new(doc, "macs_s", json_real(rate));
        if (peak > 0)
            json_object_set_new(doc, "peak_share", json_real(rate / peak));
    }
    return doc;
}

static double total_seconds(const struct runner_profile *profile)
{
    double total = 0;

    for (int part = 0; part < RUNNER_PARTS; part++)
        total += profile->seconds[part];
    return total;
}

static json_t *profile_json(const struct runner_profile *profile, const struct bench_cell *cell,
                            double peak)
{
    const double total = total_seconds(profile);
    json_t *doc = json_object();

    for (enum runner_part part = 0; part < RUNNER_PARTS; part++)
        json_object_set_new(doc, runner_part_name(part),
                            part_json(profile, part, total, cell, peak));
    return doc;
}

static json_t *roofline_json(const struct bench_cell *cell, const struct bench_roofline *roof)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "read_far_bytes_s",
                     cell->limits.read_far, "read_near_bytes_s", cell->limits.read_near,
                     "peak_i8_macs_s", cell->limits.peak_i8, "peak_f32_macs_s",
                     cell->limits.peak_f32, "decode_limit_tok_s", roof->decode_tok_s,
                     "decode_share", roof->decode, "decode_read_share", roof->decode_read,
                     "prefill_limit_tok_s", roof->prefill_tok_s, "prefill_share", roof->prefill,
                     "prefill_product_share", roof->prefill_products);
}

static json_t *ctx_json(const struct bench_report *report, const struct bench_cell *cell)
{
    double bytes, time = growth(report, cell, &bytes);

    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:I, s:f}", "ctx",
                     (json_int_t)cell->shape.prompt, "ms_per_token", cell->times.step_s * 1e3,
                     "bytes_per_token",
                     bench_step_bytes(&cell->cost, &cell->shape) / cell->shape.batch, "time_growth",
                     time, "bytes_growth", bytes, "growth_ratio", time / bytes, "weight_bytes",
                     (json_int_t)report->model->weight_bytes, "kv_bytes", kv_bytes(cell));
}

static void print_json(const struct bench_report *report, const struct bench_cell *cell)
{
    const struct bench_shape *shape = &cell->shape;
    const struct bench_roofline roof =
        bench_roofline(&cell->cost, shape, &cell->times, &cell->limits);
    json_t *line = json_pack(
        "{s:I, s:I, s:I, s:I, s:s, s:f, s:f, s:f, s:f, s:I}", "batch", (json_int_t)shape->batch,
        "prompt", (json_int_t)shape->prompt, "generate", (json_int_t)shape->generate, "threads",
        (json_int_t)cell->cost.threads, "precision", report->precision, "prefill_tok_s",
        prefill_tok_s(cell), "decode_tok_s", decode_tok_s(cell), "prefill_s", cell->times.prefill_s,
        "decode_s", cell->times.decode_s, "rss_bytes", (json_int_t)cell->times.rss_bytes);

    if (report->ctx)
        json_object_update_new(line, ctx_json(report, cell));
    if (report->roofline)
        json_object_set_new(line, "roofline", roofline_json(cell, &roof));
    if (report->profile) {
        double peak = report->roofline ? roof.peak : 0;
        json_object_set_new(line, "profile",
                            json_pack("{s:o, s:o}", "prefill",
                                      profile_json(&cell->times.prefill, cell, peak), "decode",
                                      profile_json(&cell->times.decode, cell, peak)));
    }
    cli_json(line);
}

/* ---- for people ---- */

static void print_head(const struct bench_report *report, const struct bench_cell *cell)
{
    const struct bench_shape *shape = &cell->shape;

    if (report->ctx) {
        printf(
            "%s, %u threads, decode after that much context, %u steps\n"
            "batch  context  ms/step  reads MB   GB/s  time x  bytes x  time/bytes  resident MB ="
            " weights +    kv +  rest\n",
            report->precision, cell->cost.threads, shape->generate);
        return;
    }
    printf("%s, %u threads, prompts of %u tokens, %u more generated\n"
           "batch  prefill tok/s  decode tok/s  prefill s  decode s  resident MB",
           report->precision, cell->cost.threads, shape->prompt, shape->generate);
    printf("%s\n", report->roofline ? "  of limit: prefill  products  decode  reading" : "");
}

static void print_ctx(const struct bench_report *report, const struct bench_cell *cell)
{
    const double read = bench_step_bytes(&cell->cost, &cell->shape) / 1e6;
    const double rss = (double)cell->times.rss_bytes / 1e6, kv = kv_bytes(cell) / 1e6;
    const double weights = (double)report->model->weight_bytes / 1e6;
    double bytes, time = growth(report, cell, &bytes);

    printf("%5u  %7u  %7.2f  %8.1f  %5.1f  %6.2f  %7.2f  %10.2f  %11.1f = %7.1f + %5.1f + %5.1f\n",
           cell->shape.batch, cell->shape.prompt, cell->times.step_s * 1e3, read,
           read / 1e3 / cell->times.step_s, time, bytes, time / bytes, rss, weights, kv,
           rss - weights - kv);
}

static void print_row(const struct bench_report *report, const struct bench_cell *cell)
{
    printf("%5u  %13.1f  %12.1f  %9.3f  %8.3f  %11.1f", cell->shape.batch, prefill_tok_s(cell),
           decode_tok_s(cell), cell->times.prefill_s, cell->times.decode_s,
           (double)cell->times.rss_bytes / 1e6);
    if (report->roofline) {
        struct bench_roofline roof =
            bench_roofline(&cell->cost, &cell->shape, &cell->times, &cell->limits);
        printf("  %15.1f %%  %6.1f %%  %4.1f %%  %5.1f %%", 100 * roof.prefill,
               100 * roof.prefill_products, 100 * roof.decode, 100 * roof.decode_read);
    }
    printf("\n");
}

#define FULL_BAR "##################################################"
enum { BAR = sizeof(FULL_BAR) - 1 }; /* characters of 100 % */

/* "  12.3 %  301.2 G/s  64 %": the last two of products alone, the last with a peak to compare. */
static void print_part(const struct runner_profile *profile, enum runner_part part, double share,
                       const struct bench_cell *cell, double peak)
{
    double rate = bench_product_rate(profile, part, cell->cost.threads);
    int bar = (int)(share * BAR + 0.5);

    printf("    %-9s %5.1f %%", runner_part_name(part), 100 * share);
    if (rate > 0)
        printf("  %6.1f G/s", rate / 1e9);
    if (rate > 0 && peak > 0)
        printf(" %3.0f %%", 100 * rate / peak);
    if (bar)
        printf("%*s%.*s", rate > 0 ? 2 : peak > 0 ? 20 : 14, "", bar, FULL_BAR);
    printf("\n");
}

static void print_profile(const char *what, const struct runner_profile *profile,
                          const struct bench_cell *cell, double peak)
{
    const double total = total_seconds(profile);

    printf("  %s: %.3f s of %u threads; G/s: billions of multiply-adds%s\n", what, total,
           cell->cost.threads, peak > 0 ? ", share of the peak" : "");
    for (enum runner_part part = 0; part < RUNNER_PARTS && total > 0; part++)
        print_part(profile, part, profile->seconds[part] / total, cell, peak);
}

void bench_report_cell(struct bench_report *report, const struct bench_cell *cell)
{
    if (!report->begun || report->first.shape.batch != cell->shape.batch)
        report->first = *cell;
    if (report->json) {
        print_json(report, cell);
    } else {
        if (!report->begun)
            print_head(report, cell);
        if (report->ctx)
            print_ctx(report, cell);
        else
            print_row(report, cell);
        if (report->profile) {
            double peak = cell->cost.fp32 ? cell->limits.peak_f32 : cell->limits.peak_i8;
            print_profile("prefill", &cell->times.prefill, cell, peak);
            print_profile("decode", &cell->times.decode, cell, peak);
        }
    }
    report->begun = true;
    fflush(stdout);
}

void bench_report_end(const struct bench_report *report, const struct machine_limits *limits)
{
    if (report->json || !report->roofline)
        return;
    printf(
        "limits, measured beside it (%s): memory reads %.1f GB/s, %.1f over and over as many bytes "
        "as the weights;\n%.1f G 8-bit multiply-adds/s, %.1f G in f32. A decode step reads %.1f "
        "MB of weights\nand has %.1f M multiply-adds a row, %.1f M more for its logits.\n",
        report->model->kernels, limits->read_far / 1e9, limits->read_near / 1e9,
        limits->peak_i8 / 1e9, limits->peak_f32 / 1e9, (double)report->model->step_bytes / 1e6,
        (double)report->model->row_macs / 1e6, (double)report->model->head_macs / 1e6);
}
