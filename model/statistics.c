#include "model/statistics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/kernels/kernels.h"

struct statistics {
    struct model_tensor_stats *to;
    struct source *source;
    const struct kernels *kernels;
    struct quant_spec spec;
    size_t n, k, groups;
    double signal, noise;
    float x[]; /* [k]: a row */
};

/* Signal over noise, both sums of squares. */
static double snr_db(double signal, double noise)
{
    if (noise <= 0.0)
        return 200.0; /* exact */
    return signal > 0.0 ? 10.0 * log10(signal / noise) : 0.0;
}

static uint64_t bytes_of(const struct gguf *g, const char *name)
{
    const struct gguf_tensor *t = gguf_find(g, name);

    return t ? t->n_bytes : 0;
}

/* As the source has it: its own tensor, or octet's and what is beside that. */
static uint64_t source_bytes(const struct gguf *g, const char *name)
{
    struct source_names octet;

    if (gguf_find(g, name) || source_octet_names(name, &octet) != ST_OK)
        return bytes_of(g, name);
    return bytes_of(g, octet.q) + bytes_of(g, octet.scale) + bytes_of(g, octet.zero);
}

int statistics_open(const struct gguf *g, const struct tensor_role *t,
                    const struct quant_spec *spec, struct source *source,
                    struct model_tensor_stats *to, struct statistics **ret_statistics)
{
    const bool ints = quant_is_ints(spec);
    const size_t kp = ints ? quant_padded(spec, t->k) : t->k;
    struct statistics *s = calloc(1, sizeof(*s) + t->k * sizeof(float));

    if (!s)
        return ST_NOMEM;
    s->to = to;
    s->source = source;
    s->kernels = kernels_get(NULL); /* there: the source has it too */
    s->spec = *spec;
    s->n = t->n;
    s->k = t->k;
    s->groups = ints ? kp / spec->group : 0;
    *to = (struct model_tensor_stats){.rows = t->n,
                                      .columns = t->k,
                                      .bytes_in = source_bytes(g, t->name),
                                      .bytes_out = quant_stored_bytes(spec, t->n, t->k),
                                      .bits = spec->bits,
                                      .group = spec->group,
                                      .block = spec->block_in,
                                      .affine = spec->zero != 0,
                                      .min = INFINITY,
                                      .max = -INFINITY};
    snprintf(to->name, sizeof(to->name), "%s", t->name);
    *ret_statistics = s;
    return ST_OK;
}

void statistics_free(struct statistics *s)
{
    free(s);
}

/* One group, n of it weights. */
static void add_group(struct statistics *s, const float *x, size_t n, const int8_t *q, float scale,
                      int zero)
{
    struct model_tensor_stats *to = s->to;
    const bool four = s->spec.bits == 4;
    const float first = four ? -8.0f : -128.0f, last = -first - 1.0f;
    const float low = four || s->spec.zero ? first : -last;
    const double bins_a_step = four ? 16.0 : 1.0;
    double signal = 0.0, noise = 0.0;

    for (size_t i = 0; i < n; i++) {
        const float place = (scale != 0.0f ? x[i] / scale : 0.0f) + (float)zero;
        const double e = (double)x[i] - (double)scale * (q[i] - zero);
        to->min = x[i] < to->min ? x[i] : to->min;
        to->max = x[i] > to->max ? x[i] : to->max;
        if (place >= low - 0.5f && place < last + 0.5f)
            to->bins[(size_t)(((double)place - (double)first + 0.5) * bins_a_step)]++;
        else
            to->clipped++;
        signal += (double)x[i] * (double)x[i];
        noise += e * e;
    }
    s->signal += signal;
    s->noise += noise;
}

int statistics_row(struct statistics *s, size_t i, const struct quant_row *row, struct error *err)
{
    const size_t group = s->spec.group;
    int r = source_row_rotated(s->source, i, s->x, err);

    for (size_t at = 0; r == ST_OK && at < s->k; at += group) {
        const size_t g = at / group, n = s->k - at < group ? s->k - at : group;
        add_group(s, s->x + at, n, row->q + at, row->scales[g], row->zeros[g]);
    }
    return r;
}

void statistics_floats(struct statistics *s, const float *row)
{
    for (size_t i = 0; i < s->k; i++) {
        s->to->min = fminf(s->to->min, row[i]);
        s->to->max = fmaxf(s->to->max, row[i]);
    }
    s->to->snr_db = snr_db(source_noise(s->source)->signal, source_noise(s->source)->noise);
}

static int by_size(const void *a, const void *b)
{
    float x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

int statistics_end(struct statistics *s, const float *scales, const int8_t *zeros)
{
    const size_t n = s->n * s->groups;
    struct model_tensor_stats *to = s->to;
    float *sorted = malloc(n * sizeof(*sorted));

    if (!sorted)
        return ST_NOMEM;
    to->zero_min = to->zero_max = zeros[0];
    for (size_t i = 0; i < n; i++) {
        sorted[i] = fabsf(scales[i]);
        to->zero_min = zeros[i] < to->zero_min ? zeros[i] : to->zero_min;
        to->zero_max = zeros[i] > to->zero_max ? zeros[i] : to->zero_max;
    }
    qsort(sorted, n, sizeof(*sorted), by_size);
    to->scale_min = sorted[0];
    to->scale_median = sorted[n / 2];
    to->scale_max = sorted[n - 1];
    to->snr_db = snr_db(s->signal, s->noise);
    free(sorted);
    return ST_OK;
}

void statistics_add(struct model_quantize_report *report, struct source_noise *sum,
                    const struct tensor_role *t, const struct source_noise *noise)
{
    double db = snr_db(noise->signal, noise->noise);

    if (sum->n_weights == 0 || db < report->worst_snr_db) {
        report->worst_snr_db = db;
        snprintf(report->worst_name, sizeof(report->worst_name), "%s", t->name);
    }
    sum->signal += noise->signal;
    sum->noise += noise->noise;
    sum->n_weights += (uint64_t)t->n * t->k;
    report->n_weights = sum->n_weights;
    report->snr_db = snr_db(sum->signal, sum->noise);
}
