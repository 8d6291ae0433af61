#include "model/quant/smooth.h"

#include <math.h>

void smooth_scales(const struct smooth *m, float a, float *s)
{
    for (size_t j = 0; j < m->k; j++) {
        s[j] = powf(m->max_x[j], a) / powf(m->max_w[j], 1.0f - a);
        if (!(m->max_x[j] > 0.0f && m->max_w[j] > 0.0f && isfinite(s[j]) && s[j] > 0.0f))
            s[j] = 1.0f;
    }
}

double smooth_error(const struct smooth *m, const float *s)
{
    double max_x = 0.0, max_w = 0.0, energy_x = 0.0, energy_w = 0.0;

    for (size_t j = 0; j < m->k; j++) {
        const double scale = (double)s[j];
        max_x = fmax(max_x, (double)m->max_x[j] / scale);
        max_w = fmax(max_w, (double)m->max_w[j] * scale);
        energy_x += (double)m->energy_x[j] / (scale * scale);
        energy_w += (double)m->energy_w[j] * (scale * scale);
    }
    const double step_x = max_x / 127.0, step_w = max_w / 127.0;
    return (step_x * step_x * energy_w + step_w * step_w * energy_x) / 12.0;
}

float smooth_search(const struct smooth *m, float *s)
{
    enum { TRIES = 20 };
    double best;
    float at = -1.0f;

    for (size_t j = 0; j < m->k; j++)
        s[j] = 1.0f;
    best = smooth_error(m, s);
    for (int i = 0; i <= TRIES; i++) {
        float a = (float)i / TRIES;
        smooth_scales(m, a, s);
        double e = smooth_error(m, s);
        if (e < best) {
            best = e;
            at = a;
        }
    }
    if (at >= 0.0f)
        smooth_scales(m, at, s);
    for (size_t j = 0; at < 0.0f && j < m->k; j++)
        s[j] = 1.0f;
    return at;
}
