/* report_markdown.c - the report as Markdown tables. */
#include <string.h>

#include "config/escape.h"
#include "tools/report.h"
#include "tools/report_draw.h"

/* Text that stays text: punctuation is escaped as CommonMark has it, a line stays one. */
static void put_text(FILE *f, const char *text)
{
    const char *end = text + strlen(text);

    while (text < end) {
        size_t n = utf8_len(text, end);
        if (strchr("\\`*_{}[]<>()#+!|~&", *text))
            fputc('\\', f);
        if (n == 0 || (n == 1 && (*text < ' ' || *text == 127)))
            fputs("\xef\xbf\xbd", f);
        else
            fwrite(text, 1, n, f);
        text += n ? n : 1;
    }
}

static void put_totals(FILE *f, const json_t *doc)
{
    fputs("# ", f);
    put_text(f, report_text(doc, "model"));
    fputs("\n\n", f);
    put_text(f, report_text(doc, "scheme"));
    fputs(json_is_true(json_object_get(doc, "compensated")) ? ", compensated, from " : ", from ",
          f);
    put_text(f, report_text(doc, "in"));
    fputs(", octet ", f);
    put_text(f, report_text(doc, "octet"));
    fputs(".\n\n", f);
    if (*report_text(doc, "note")) {
        fputs("Not as asked: ", f);
        put_text(f, report_text(doc, "note"));
        fputs("\n\n", f);
    }
    fprintf(f,
            "| | |\n|---|---:|\n| all weights in FP32, MB | %.2f |\n| as stored, MB | %.2f |\n"
            "| times smaller | %.3f |\n| bits a weight | %.3f |\n| the source's file, MB | %.2f |\n"
            "| this file, MB | %.2f |\n| weights as integers | %.0f |\n| values kept in FP32 | "
            "%.0f |\n| signal over rounding noise, dB | %.2f |\n",
            report_number(doc, "totals.bytes_fp32") / 1e6,
            report_number(doc, "totals.bytes_stored") / 1e6,
            report_number(doc, "totals.fp32_ratio"), report_number(doc, "totals.bits_per_weight"),
            report_number(doc, "totals.bytes_in") / 1e6,
            report_number(doc, "totals.bytes_out") / 1e6, report_number(doc, "totals.weights"),
            report_number(doc, "totals.kept_f32"), report_number(doc, "totals.snr_db"));
}

static void put_measured(FILE *f, const json_t *e)
{
    if (!json_is_object(e))
        return;
    fprintf(f,
            "\n## Measured\n\n%.0f tokens in %.0f chunks of %.0f, beside the source in FP32.\n\n"
            "| | |\n|---|---:|\n| perplexity | %.4f ± %.4f |\n| of the source | %.4f |\n"
            "| KL divergence: mean | %.6f |\n| median | %.6f |\n| 99 %% | %.6f |\n| largest | %.6f "
            "|\n| same likeliest token | %.2f %% |\n| RMS change of the right token's probability "
            "| %.3f %% |\n",
            report_number(e, "tokens"), report_number(e, "chunks"), report_number(e, "ctx"),
            report_number(e, "ppl"), report_number(e, "ppl_se"), report_number(e, "reference.ppl"),
            report_number(e, "reference.kld_mean"), report_number(e, "reference.kld_median"),
            report_number(e, "reference.kld_p99"), report_number(e, "reference.kld_max"),
            100 * report_number(e, "reference.same_top"),
            100 * report_number(e, "reference.rms_dp"));
}

static void put_plans(FILE *f, const json_t *plans)
{
    const json_t *plan;
    size_t i;

    if (!json_array_size(plans))
        return;
    fputs("\n## Plans tried\n\n| plan | taken | MB | predicted KL divergence | measured |\n"
          "|---|---|---:|---:|---:|\n",
          f);
    json_array_foreach(plans, i, plan)
    {
        fputs("| ", f);
        put_text(f, report_text(plan, "plan"));
        fprintf(f, " | %s | %.3f | %.6f | ",
                json_is_true(json_object_get(plan, "chosen")) ? "yes" : "",
                report_number(plan, "bytes") / 1e6, report_number(plan, "predicted"));
        if (json_is_number(json_object_get(plan, "kld")))
            fprintf(f, "%.6f", report_number(plan, "kld"));
        fputs(" |\n", f);
    }
}

static void put_sensitivities(FILE *f, const json_t *units)
{
    const json_t *unit;
    size_t i;

    if (!json_array_size(units))
        return;
    fputs("\n## Sensitivity\n\n| unit | choice | MB | KL divergence |\n|---|---|---:|---:|\n", f);
    json_array_foreach(units, i, unit)
    {
        fputs("| ", f);
        put_text(f, report_text(unit, "unit"));
        fputs(" | ", f);
        put_text(f, report_text(unit, "choice"));
        fprintf(f, " | %.3f | %.6f |\n", report_number(unit, "bytes") / 1e6,
                report_number(unit, "kld"));
    }
}

static void put_worst(FILE *f, const json_t *worst)
{
    const json_t *w;
    size_t i;

    fputs("\n## The noisiest\n\n| tensor | dB | clipped weights |\n|---|---:|---:|\n", f);
    json_array_foreach(worst, i, w)
    {
        fputs("| ", f);
        put_text(f, report_text(w, "tensor"));
        fprintf(f, " | %.1f | %.0f |\n", report_number(w, "snr_db"), report_number(w, "clipped"));
    }
}

static void put_tensor(FILE *f, const json_t *t)
{
    fputs("| ", f);
    put_text(f, report_text(t, "name"));
    fprintf(f, " | %.0f x %.0f | %.6g | %.6g | %.0f | ", report_number(t, "rows"),
            report_number(t, "columns"), report_number(t, "min"), report_number(t, "max"),
            report_number(t, "bits"));
    if (json_is_object(json_object_get(t, "scale")))
        fprintf(f, "%.0f | %.4g | %.4g | %.4g | ", report_number(t, "group"),
                report_number(t, "scale.min"), report_number(t, "scale.median"),
                report_number(t, "scale.max"));
    else
        fputs(" | | | | ", f);
    if (json_is_object(json_object_get(t, "zero")))
        fprintf(f, "%.0f to %.0f", report_number(t, "zero.min"), report_number(t, "zero.max"));
    fprintf(f, " | %.4g | %.2f | %.0f | %.0f |\n", 100 * report_number(t, "clipped"),
            report_number(t, "snr_db"), report_number(t, "bytes_in"),
            report_number(t, "bytes_out"));
}

void report_markdown(FILE *f, const json_t *document)
{
    const json_t *tensors = json_object_get(document, "tensors"), *t;
    size_t i;

    put_totals(f, document);
    put_measured(f, json_object_get(document, "evaluation"));
    put_plans(f, json_object_get(document, "plans"));
    put_sensitivities(f, json_object_get(document, "sensitivities"));
    put_worst(f, json_object_get(document, "worst"));
    fputs("\n## Every matrix\n\n| tensor | shape | least | most | bits | group | scale: least | "
          "median | most | zero point | clipped % | dB | bytes before | after |\n"
          "|---|---|---:|---:|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|\n",
          f);
    json_array_foreach(tensors, i, t) put_tensor(f, t);
}
