/* report_html.c - the report as one page: no script, nothing fetched, light and dark, readable on a
 * phone. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tools/report.h"
#include "tools/report_draw.h"

static const char HEAD[] =
    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" "
    "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<style>\n"
    ":root{--page:#fff;--card:#f6f8fa;--line:#d1d9e0;--text:#1f2328;--soft:#59636e;--blue:#0969da;"
    "--orange:#bc4c00;--heat:#ffb77c}\n"
    "@media(prefers-color-scheme:dark){:root{--page:#0d1117;--card:#151b23;--line:#3d444d;"
    "--text:#f0f6fc;--soft:#9198a1;--blue:#4493f8;--orange:#db6d28;--heat:#9a4a12}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--text);"
    "font:15px/1.5 system-ui,sans-serif}\n"
    "main{max-width:1200px;margin:auto;padding:20px 16px 60px}\n"
    "h1{font-size:24px;line-height:1.25;margin:0;overflow-wrap:anywhere}"
    "h2{font-size:18px;margin:36px 0 4px}h3{font-size:14px;margin:0;overflow-wrap:anywhere}\n"
    "p{margin:4px 0 12px;max-width:72ch}.soft,figcaption,.card span{color:var(--soft)}"
    ".soft,figcaption{font-size:13px;overflow-wrap:anywhere}\n"
    ".cards,.small{display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(150px,1fr))}"
    ".small{grid-template-columns:repeat(auto-fit,minmax(min(300px,100%),1fr))}\n"
    ".card,figure{background:var(--card);border:1px solid var(--line);border-radius:8px;"
    "padding:10px 12px;margin:0}.card b{display:block;font-size:22px;line-height:1.3}"
    ".card span{font-size:13px}.wide{max-width:640px}\n"
    ".bar{display:flex;height:18px;margin:2px 0 10px;border-radius:3px;overflow:hidden;"
    "background:var(--card)}.bar i{background:var(--blue);min-width:1px}"
    ".bar i.pale{opacity:.45}.bar i.bad{background:var(--orange)}\n"
    ".thin{height:6px;margin:0}.row{display:flex;justify-content:space-between;gap:12px;font-size:"
    "13px}"
    ".row span:first-child{overflow-wrap:anywhere}\n"
    ".scroll{overflow:auto;max-height:75vh;width:fit-content;max-width:100%;border:1px solid "
    "var(--line);border-radius:8px}\n"
    "table{border-collapse:separate;border-spacing:0;font-size:12.5px;"
    "font-variant-numeric:tabular-nums}"
    "td,th{padding:3px 7px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}"
    "td:first-child,th:first-child{text-align:left}"
    "thead th{position:sticky;top:0;background:var(--card);z-index:1}"
    "tbody th{font-weight:400}tr:last-child>*{border-bottom:0}\n"
    ".heat td,.heat th{text-align:center;padding:2px min(1.4vw,14px)}"
    ".heat td{background:color-mix(in srgb,var(--heat) calc(var(--v)*100%),var(--page))}\n"
    ".chart{display:block;width:100%;height:auto}.chart text{font:11px system-ui,sans-serif;"
    "fill:var(--soft)}.fill{fill:var(--blue)}.grid,.axis,.front{fill:none;stroke:var(--line)}"
    ".axis{stroke:var(--soft)}.front{stroke:var(--blue);stroke-width:1.5}.dot{fill:var(--soft)}"
    ".guess{fill:none;stroke:var(--soft)}"
    ".chosen{fill:var(--orange)}\n</style>\n";

__attribute__((format(printf, 3, 4))) static void put_card(FILE *f, const char *what,
                                                           const char *format, ...)
{
    va_list args;

    fputs("<div class=\"card\"><b>", f);
    va_start(args, format);
    vfprintf(f, format, args);
    va_end(args);
    fprintf(f, "</b><span>%s</span></div>\n", what);
}

static void put_head(FILE *f, const json_t *doc)
{
    fputs("<title>", f);
    report_put_html(f, report_text(doc, "model"));
    fputs(" - octet quantize</title>\n<main>\n<h1>", f);
    report_put_html(f, report_text(doc, "model"));
    fputs("</h1>\n<p class=\"soft\">", f);
    report_put_html(f, report_text(doc, "scheme"));
    fputs(json_is_true(json_object_get(doc, "compensated")) ? ", rounding errors compensated (GPTQ)"
                                                            : "",
          f);
    fputs(", from ", f);
    report_put_html(f, report_text(doc, "in"));
    fputs(", octet ", f);
    report_put_html(f, report_text(doc, "octet"));
    fprintf(f, ", %.1f s</p>\n", report_number(doc, "seconds"));
    if (*report_text(doc, "note")) {
        fputs("<p>Not as asked: ", f);
        report_put_html(f, report_text(doc, "note"));
        fputs("</p>\n", f);
    }
}

static void put_cards(FILE *f, const json_t *doc)
{
    fputs("<div class=\"cards\">\n", f);
    put_card(f, "smaller than FP32", "%.2f&#215;", report_number(doc, "totals.fp32_ratio"));
    put_card(f, "bits a weight, scales and all", "%.2f",
             report_number(doc, "totals.bits_per_weight"));
    put_card(f, "signal over rounding noise", "%.1f dB", report_number(doc, "totals.snr_db"));
    if (*report_text(doc, "evaluation.precision")) {
        put_card(f, "KL divergence from the source", "%.5f",
                 report_number(doc, "evaluation.reference.kld_mean"));
        put_card(f, "perplexity", "%+.2f %%",
                 100 * (report_number(doc, "evaluation.reference.ppl_ratio") - 1));
        put_card(f, "same likeliest token", "%.1f %%",
                 100 * report_number(doc, "evaluation.reference.same_top"));
    }
    fputs("</div>\n", f);
}

static void put_memory_bar(FILE *f, const char *what, double bytes, double most, const char *css)
{
    fprintf(f,
            "<div class=\"row\"><span>%s</span><span>%.2f MB</span></div>"
            "<div class=\"bar\"><i class=\"%s\" style=\"width:%.2f%%\"></i></div>\n",
            what, bytes / 1e6, css, most > 0 ? 100 * bytes / most : 0);
}

static void put_memory(FILE *f, const json_t *doc)
{
    const double fp32 = report_number(doc, "totals.bytes_fp32"),
                 in = report_number(doc, "totals.bytes_in"), most = fp32 > in ? fp32 : in;

    fputs("<h2>Size</h2>\n", f);
    put_memory_bar(f, "all weights in FP32", fp32, most, "pale");
    put_memory_bar(f, "the source's file, vocabulary included", in, most, "pale");
    put_memory_bar(f, "all weights as stored", report_number(doc, "totals.bytes_stored"), most, "");
    put_memory_bar(f, "this file, vocabulary included", report_number(doc, "totals.bytes_out"),
                   most, "");
    fprintf(f,
            "<p class=\"soft\">%.0f of %.0f tensors are integers, %.2f million weights. The other "
            "%.0f values, of norms and biases, stay FP32.</p>\n",
            report_number(doc, "totals.quantized"), report_number(doc, "totals.tensors"),
            report_number(doc, "totals.weights") / 1e6, report_number(doc, "totals.kept_f32"));
}

__attribute__((format(printf, 3, 4))) static void put_fact(FILE *f, const char *what,
                                                           const char *format, ...)
{
    va_list args;

    fprintf(f, "<tr><th>%s</th><td>", what);
    va_start(args, format);
    vfprintf(f, format, args);
    va_end(args);
    fputs("</td></tr>\n", f);
}

static void put_measured(FILE *f, const json_t *doc)
{
    const json_t *e = json_object_get(doc, "evaluation");

    if (!json_is_object(e))
        return;
    fprintf(f,
            "<h2>Measured</h2>\n<p class=\"soft\">Beside the source in FP32, on %.0f tokens in "
            "%.0f chunks of %.0f.</p>\n<div class=\"scroll\"><table>\n",
            report_number(e, "tokens"), report_number(e, "chunks"), report_number(e, "ctx"));
    put_fact(f, "perplexity", "%.4f", report_number(e, "ppl"));
    put_fact(f, "its standard error", "%.4f", report_number(e, "ppl_se"));
    put_fact(f, "perplexity of the source", "%.4f", report_number(e, "reference.ppl"));
    put_fact(f, "KL divergence, mean", "%.6f", report_number(e, "reference.kld_mean"));
    put_fact(f, "KL divergence, median", "%.6f", report_number(e, "reference.kld_median"));
    put_fact(f, "KL divergence, 99 %", "%.6f", report_number(e, "reference.kld_p99"));
    put_fact(f, "KL divergence, largest", "%.6f", report_number(e, "reference.kld_max"));
    put_fact(f, "same likeliest token", "%.2f %%", 100 * report_number(e, "reference.same_top"));
    put_fact(f, "RMS change of the right token's probability", "%.3f %%",
             100 * report_number(e, "reference.rms_dp"));
    fputs("</table></div>\n", f);
}

/* ---- noise, a layer a line ---- */

enum { MAX_KINDS = 16 };
struct heat {
    const char *kinds[MAX_KINDS]; /* in order of appearance */
    int lens[MAX_KINDS], n_kinds, n_layers;
    double low, high; /* dB: full colour and none */
};

static int kind_at(const struct heat *h, const char *kind, int len)
{
    int i = 0;

    while (i < h->n_kinds && (h->lens[i] != len || memcmp(h->kinds[i], kind, (size_t)len) != 0))
        i++;
    return i;
}

static struct heat read_heat(const json_t *tensors)
{
    struct heat h = {.low = 1e9, .high = -1e9};
    const json_t *t;
    size_t i;

    json_array_foreach(tensors, i, t)
    {
        const char *kind;
        int len, layer = report_layer_of(report_text(t, "name"), &kind, &len);
        int at = layer < 0 ? MAX_KINDS : kind_at(&h, kind, len);
        if (at == h.n_kinds && at < MAX_KINDS) {
            h.kinds[at] = kind;
            h.lens[at] = len;
            h.n_kinds++;
        }
        h.n_layers = layer >= h.n_layers ? layer + 1 : h.n_layers;
        if (layer < 0 || report_number(t, "bits") > 8)
            continue;
        h.low = fmin(h.low, report_number(t, "snr_db"));
        h.high = fmax(h.high, report_number(t, "snr_db"));
    }
    h.low = fmin(h.low, h.high - 3); /* a tenth of a decibel shall not look like fire */
    return h;
}

static void put_heat_cell(FILE *f, const struct heat *h, const json_t *tensor)
{
    const double db = report_number(tensor, "snr_db"), bits = report_number(tensor, "bits");

    if (bits > 8)
        fprintf(f, "<td style=\"--v:0\">f%.0f</td>", bits);
    else
        fprintf(f, "<td style=\"--v:%.2f\">%.1f</td>", (h->high - db) / (h->high - h->low), db);
}

static void put_heat_row(FILE *f, const struct heat *h, const json_t *tensors, int layer)
{
    const json_t *found[MAX_KINDS] = {0}, *t;
    size_t i;

    json_array_foreach(tensors, i, t)
    {
        const char *kind;
        int len;
        if (report_layer_of(report_text(t, "name"), &kind, &len) != layer)
            continue;
        int at = kind_at(h, kind, len);
        if (at < h->n_kinds)
            found[at] = t;
    }
    fprintf(f, "<tr><th>%d</th>", layer);
    for (int k = 0; k < h->n_kinds; k++)
        if (found[k])
            put_heat_cell(f, h, found[k]);
        else
            fputs("<td style=\"--v:0\"></td>", f);
    fputs("</tr>\n", f);
}

/* "output" of "attn_output": columns are narrow. */
static void put_kind(FILE *f, const char *kind, int len)
{
    char text[64], *cut;

    snprintf(text, sizeof(text), "%.*s", len, kind);
    cut = strchr(text, '_');
    fputs("<th>", f);
    report_put_html(f, cut ? cut + 1 : text);
    fputs("</th>", f);
}

static void put_heat(FILE *f, const json_t *doc)
{
    const json_t *tensors = json_object_get(doc, "tensors");
    const struct heat h = read_heat(tensors);
    const json_t *t;
    const char *kind;
    size_t i;
    int len;

    fputs("<h2>Noise by layer</h2>\n<p>Signal over rounding noise of each matrix in dB. 6 dB less "
          "is twice the error; the darker, the noisier.",
          f);
    fputs(json_is_true(json_object_get(doc, "compensated"))
              ? " Compensation adds noise to weights and takes it from the outputs.</p>\n"
              : "</p>\n",
          f);
    if (h.n_kinds) {
        fputs("<div class=\"scroll\"><table class=\"heat\"><thead><tr><th>layer</th>", f);
        for (int k = 0; k < h.n_kinds; k++)
            put_kind(f, h.kinds[k], h.lens[k]);
        fputs("</tr></thead>\n", f);
        for (int layer = 0; layer < h.n_layers; layer++)
            put_heat_row(f, &h, tensors, layer);
        fputs("</table></div>\n", f);
    }
    json_array_foreach(tensors, i, t)
    {
        if (report_layer_of(report_text(t, "name"), &kind, &len) >= 0)
            continue;
        fputs("<p class=\"soft\">", f);
        report_put_html(f, report_text(t, "name"));
        fprintf(f, ": %.1f dB</p>\n", report_number(t, "snr_db"));
    }
}

/* ---- the rest ---- */

enum { MAX_UNITS = 60 };

static void put_worst(FILE *f, const json_t *worst)
{
    const json_t *w;
    size_t i;

    fputs("<h2>The noisiest, on their grid</h2>\n<p>How many weights lie where between the "
          "integers, each divided by its own scale. Room that nobody uses at the sides is "
          "resolution lost.</p>\n<div class=\"small\">\n",
          f);
    json_array_foreach(worst, i, w)
    {
        fputs("<figure><h3>", f);
        report_put_html(f, report_text(w, "tensor"));
        fputs("</h3>\n", f);
        report_draw_histogram(f, w);
        fprintf(f, "<figcaption>%.1f dB; %.0f weights clipped</figcaption></figure>\n",
                report_number(w, "snr_db"), report_number(w, "clipped"));
    }
    fputs("</div>\n", f);
}

static int by_kld(const void *a, const void *b)
{
    double x = report_number(*(json_t *const *)a, "kld"),
           y = report_number(*(json_t *const *)b, "kld");

    return (x < y) - (x > y);
}

static void put_sensitivity(FILE *f, const json_t *unit, double most)
{
    const double kld = report_number(unit, "kld");

    fputs("<div><div class=\"row\"><span>", f);
    report_put_html(f, report_text(unit, "unit"));
    fputs(" <b>", f);
    report_put_html(f, report_text(unit, "choice"));
    fprintf(f,
            "</b></span><span>%.6f, %.2f MB</span></div><div class=\"bar thin\"><i class=\"%s\" "
            "style=\"width:%.2f%%\"></i></div></div>\n",
            kld, report_number(unit, "bytes") / 1e6, kld >= most / 2 ? "bad" : "",
            most > 0 && kld > 0 ? 100 * kld / most : 0);
}

/* The strongest; of the others only how many there are. */
static void put_sensitivities(FILE *f, const json_t *units)
{
    const size_t n = json_array_size(units);
    const json_t **sorted = calloc(n + 1, sizeof(const json_t *));

    if (n && sorted) {
        for (size_t i = 0; i < n; i++)
            sorted[i] = json_array_get(units, i);
        qsort(sorted, n, sizeof(const json_t *), by_kld);
        fputs("<h2>Sensitivity</h2>\n<p>KL divergence where this part alone is stored as this, and "
              "its size then.</p>\n<div class=\"small\">\n",
              f);
        for (size_t i = 0; i < n && i < MAX_UNITS; i++)
            put_sensitivity(f, sorted[i], report_number(sorted[0], "kld"));
        fputs("</div>\n", f);
        if (n > MAX_UNITS)
            fprintf(f, "<p class=\"soft\">%zu weaker ones are not shown.</p>\n", n - MAX_UNITS);
    }
    free(sorted);
}

static void put_plan(FILE *f, const json_t *plan)
{
    fprintf(f, "<tr><th>%s", json_is_true(json_object_get(plan, "chosen")) ? "&#9679; " : "");
    report_put_html(f, report_text(plan, "plan"));
    fprintf(f, "</th><td>%.2f</td><td>%.6f</td><td>", report_number(plan, "bytes") / 1e6,
            report_number(plan, "predicted"));
    if (json_is_number(json_object_get(plan, "kld")))
        fprintf(f, "%.6f", report_number(plan, "kld"));
    fputs("</td></tr>\n", f);
}

static void put_plans(FILE *f, const json_t *plans)
{
    const json_t *plan;
    size_t i;

    if (!json_array_size(plans))
        return;
    fputs("<h2>Plans tried</h2>\n<p>The line joins those that no other beats in both. Filled: "
          "measured as a whole, the plan taken in orange. Rings: predicted, all parts alike.</p>\n"
          "<figure class=\"wide\">\n",
          f);
    report_draw_plans(f, plans);
    fputs("</figure><p></p>\n<div class=\"scroll\"><table><thead><tr><th>plan</th><th>MB</th>"
          "<th>predicted</th><th>measured</th></tr></thead><tbody>\n",
          f);
    json_array_foreach(plans, i, plan) put_plan(f, plan);
    fputs("</tbody></table></div>\n", f);
}

/* Group, scale and zero point of integers; nothing of floats. */
static void put_grid(FILE *f, const json_t *t)
{
    if (!json_is_object(json_object_get(t, "scale"))) {
        fputs("<td></td><td></td><td></td><td></td><td></td>", f);
        return;
    }
    fprintf(f, "<td>%.0f</td><td>%.3g</td><td>%.3g</td><td>%.3g</td><td>",
            report_number(t, "group"), report_number(t, "scale.min"),
            report_number(t, "scale.median"), report_number(t, "scale.max"));
    if (json_is_object(json_object_get(t, "zero")))
        fprintf(f, "%.0f &#8230; %.0f", report_number(t, "zero.min"), report_number(t, "zero.max"));
    fputs("</td>", f);
}

static void put_tensor(FILE *f, const json_t *t)
{
    fputs("<tr><th>", f);
    report_put_html(f, report_text(t, "name"));
    fprintf(f, "</th><td>%.0f &#215; %.0f</td><td>%.4f &#8230; %.4f</td><td>%.0f</td>",
            report_number(t, "rows"), report_number(t, "columns"), report_number(t, "min"),
            report_number(t, "max"), report_number(t, "bits"));
    put_grid(f, t);
    fprintf(f, "<td>%.4g %%</td><td>%.1f</td><td>%.1f</td><td>%.1f</td></tr>\n",
            100 * report_number(t, "clipped"), report_number(t, "snr_db"),
            report_number(t, "bytes_in") / 1e3, report_number(t, "bytes_out") / 1e3);
}

static void put_tensors(FILE *f, const json_t *tensors)
{
    const json_t *t;
    size_t i;

    fputs("<h2>Every matrix</h2>\n<p>Ranges and scales are those of the weights as they are "
          "rounded: after the Hadamard transform, where the scheme has one.</p>\n"
          "<div class=\"scroll\"><table><thead><tr><th>tensor</th><th>shape</th><th>range</th>"
          "<th>bits</th><th>group</th><th>scale: least</th><th>median</th><th>most</th>"
          "<th>zero point</th><th>clipped</th><th>dB</th><th>kB before</th><th>after</th></tr>"
          "</thead><tbody>\n",
          f);
    json_array_foreach(tensors, i, t) put_tensor(f, t);
    fputs("</tbody></table></div>\n", f);
}

void report_html(FILE *f, const json_t *document)
{
    fputs(HEAD, f);
    put_head(f, document);
    put_cards(f, document);
    put_memory(f, document);
    put_measured(f, document);
    put_plans(f, json_object_get(document, "plans"));
    put_sensitivities(f, json_object_get(document, "sensitivities"));
    put_worst(f, json_object_get(document, "worst"));
    put_heat(f, document);
    put_tensors(f, json_object_get(document, "tensors"));
    fputs("</main>\n</html>\n", f);
}
