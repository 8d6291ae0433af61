#include "tools/report_draw.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "config/escape.h"

/* ---- the document ---- */

static const json_t *at(const json_t *from, const char *path)
{
    char key[64];

    while (from && *path) {
        size_t n = strcspn(path, ".");
        snprintf(key, sizeof(key), "%.*s", (int)n, path);
        from = json_object_get(from, key);
        path += n + (path[n] == '.');
    }
    return from;
}

double report_number(const json_t *from, const char *path)
{
    return json_number_value(at(from, path));
}

const char *report_text(const json_t *from, const char *path)
{
    const char *text = json_string_value(at(from, path));

    return text ? text : "";
}

int report_layer_of(const char *name, const char **ret_kind, int *ret_len)
{
    char *kind;
    unsigned long layer;

    if (strncmp(name, "blk.", 4) != 0)
        return -1;
    layer = strtoul(name + 4, &kind, 10);
    if (*kind != '.' || layer > 9999)
        return -1;
    *ret_kind = kind + 1;
    *ret_len = (int)strcspn(kind + 1, ".");
    return (int)layer;
}

/* ---- text ---- */

void report_put_html(FILE *f, const char *text)
{
    const char *end = text + strlen(text);

    while (text < end) {
        size_t n = utf8_len(text, end);
        if (strchr("<>&\"'", *text))
            fprintf(f, "&#%d;", *text);
        else if (n == 0 || (n == 1 && (*text < ' ' || *text == 127)))
            fputs("\xef\xbf\xbd", f);
        else
            fwrite(text, 1, n, f);
        text += n ? n : 1;
    }
}

/* ---- charts ---- */

enum { WIDE = 360, HIGH = 150, LEFT = 6, FLOOR = 122 };

static void open_chart(FILE *f, int high, const char *what)
{
    fprintf(f, "<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\"><title>", WIDE, high);
    report_put_html(f, what);
    fputs("</title>\n", f);
}

static void put_label(FILE *f, double x, double y, const char *anchor, const char *text)
{
    fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    report_put_html(f, text);
    fputs("</text>\n", f);
}

/* The integers themselves: a line for each of few, a few of many. */
static void draw_grid(FILE *f, int first, int last)
{
    const double step = (double)(WIDE - 2 * LEFT) / (last - first + 1);
    const int every = last - first < 32 ? 1 : 32;
    char text[16];

    for (int i = first; i <= last; i += every) {
        double x = LEFT + (i - first + 0.5) * step;
        fprintf(f, "<path class=\"grid\" d=\"M%.1f 8V%d\"/>\n", x, FLOOR + 4);
        snprintf(text, sizeof(text), "%d", i);
        if (every > 1 || i % 2 == 0)
            put_label(f, i == first ? LEFT : x, FLOOR + 18, i == first ? "start" : "middle", text);
    }
    if (every > 1)
        put_label(f, WIDE - LEFT, FLOOR + 18, "end", "127");
}

void report_draw_histogram(FILE *f, const json_t *worst)
{
    const json_t *counts = json_object_get(worst, "counts");
    const size_t n = json_array_size(counts);
    double most = 1, x = LEFT;

    for (size_t i = 0; i < n; i++)
        most = fmax(most, json_number_value(json_array_get(counts, i)));
    open_chart(f, HIGH, report_text(worst, "tensor"));
    draw_grid(f, (int)report_number(worst, "first"), (int)report_number(worst, "last"));
    fprintf(f, "<path class=\"fill\" d=\"M%d %d", LEFT, FLOOR);
    for (size_t i = 0; i < n; i++) {
        double share = json_number_value(json_array_get(counts, i)) / most;
        fprintf(f, "V%.1fH%.1f", FLOOR - share * (FLOOR - 12),
                x += (WIDE - 2.0 * LEFT) / (double)n);
    }
    fprintf(f, "V%dZ\"/>\n<path class=\"axis\" d=\"M%d %dH%d\"/>\n</svg>\n", FLOOR, LEFT, FLOOR,
            WIDE - LEFT);
}

/* Bytes to the right, KL divergence upwards, both by their logarithm. */
struct plane {
    double min_x, max_x, min_y, max_y;
};
enum { PLANE_HIGH = 248, PLANE_LEFT = 46, PLANE_RIGHT = 12, PLANE_TOP = 26, PLANE_FLOOR = 208 };

static double plane_x(const struct plane *p, double bytes)
{
    return PLANE_LEFT +
           log(bytes / p->min_x) / log(p->max_x / p->min_x) * (WIDE - PLANE_LEFT - PLANE_RIGHT);
}

static double plane_y(const struct plane *p, double kld)
{
    return PLANE_FLOOR - log(kld / p->min_y) / log(p->max_y / p->min_y) * (PLANE_FLOOR - PLANE_TOP);
}

struct point {
    double bytes, kld;
    bool measured;
    const json_t *plan;
};

static int by_bytes(const void *a, const void *b)
{
    const struct point *x = a, *y = b;

    if (x->bytes < y->bytes || x->bytes > y->bytes)
        return x->bytes > y->bytes ? 1 : -1;
    return (x->kld > y->kld) - (x->kld < y->kld);
}

/* Lines at 1, 2 and 5 times each power of ten. */
static void draw_scales(FILE *f, const struct plane *p)
{
    char text[32];

    for (double ten = 1e-9; ten < 1e3; ten *= 10)
        for (int i = 0; i < 3; i++) {
            double v = ten * (double[]){1, 2, 5}[i], y = plane_y(p, v);
            if (v < p->min_y || v > p->max_y)
                continue;
            fprintf(f, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>\n", PLANE_LEFT, y,
                    WIDE - PLANE_RIGHT);
            snprintf(text, sizeof(text), "%.4g", v);
            put_label(f, PLANE_LEFT - 5, y + 3.5, "end", text);
        }
    for (int i = 0; i <= 3; i++) {
        double bytes = p->min_x * pow(p->max_x / p->min_x, i / 3.0);
        snprintf(text, sizeof(text), bytes < 1e6 ? "%.3f" : "%.1f", bytes / 1e6);
        put_label(f, plane_x(p, bytes), PLANE_FLOOR + 16, i == 3 ? "end" : "middle", text);
    }
    fprintf(f, "<path class=\"axis\" d=\"M%d %dH%d\"/>\n", PLANE_LEFT, PLANE_FLOOR,
            WIDE - PLANE_RIGHT);
    put_label(f, WIDE - PLANE_RIGHT, PLANE_FLOOR + 34, "end", "MB of weights");
    put_label(f, 2, 14, "start", "KL divergence");
}

static void draw_points(FILE *f, const struct plane *p, const struct point *points, size_t n)
{
    double best = INFINITY;

    fputs("<path class=\"front\" d=\"", f);
    for (size_t i = 0; i < n; i++)
        if (points[i].kld < best) {
            fprintf(f, "%c%.1f %.1f", isinf(best) ? 'M' : 'L', plane_x(p, points[i].bytes),
                    plane_y(p, points[i].kld));
            best = points[i].kld;
        }
    fputs("\"/>\n", f);
    for (size_t i = 0; i < n; i++) {
        const bool chosen = json_is_true(json_object_get(points[i].plan, "chosen"));
        fprintf(f, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"><title>",
                chosen               ? "chosen"
                : points[i].measured ? "dot"
                                     : "guess",
                plane_x(p, points[i].bytes), plane_y(p, points[i].kld), chosen ? "5" : "3");
        report_put_html(f, report_text(points[i].plan, "plan"));
        fprintf(f, ": %.2f MB, %.5f%s</title></circle>\n", points[i].bytes / 1e6, points[i].kld,
                points[i].measured ? "" : " predicted");
    }
}

void report_draw_plans(FILE *f, const json_t *plans)
{
    struct point *points = calloc(json_array_size(plans) + 1, sizeof(*points));
    struct plane p = {INFINITY, 0, INFINITY, 0};
    const json_t *plan;
    size_t i, n = 0;

    json_array_foreach(plans, i, plan)
    {
        const bool measured = json_is_number(json_object_get(plan, "kld"));
        const struct point at = {report_number(plan, "bytes"),
                                 report_number(plan, measured ? "kld" : "predicted"), measured,
                                 plan};
        if (!points || !(at.bytes > 0) || !(at.kld > 0))
            continue;
        points[n++] = at;
        p = (struct plane){fmin(p.min_x, at.bytes), fmax(p.max_x, at.bytes), fmin(p.min_y, at.kld),
                           fmax(p.max_y, at.kld)};
    }
    if (n) {
        qsort(points, n, sizeof(*points), by_bytes);
        p = (struct plane){p.min_x * 0.98, p.max_x * 1.02, p.min_y * 0.8, p.max_y * 1.25};
        open_chart(f, PLANE_HIGH, "Plans tried: bytes against KL divergence");
        draw_scales(f, &p);
        draw_points(f, &p, points, n);
        fputs("</svg>\n", f);
    }
    free(points);
}
