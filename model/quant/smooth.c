#include "model/quant/smooth.h"

#include <math.h>
#include <stdbool.h>

static bool is_there(const struct smooth *m, size_t j)
{
    return m->size_x[j] > 0.0f && m->size_w[j] > 0.0f;
}

void smooth_scales(const struct smooth *m, float a, float *s)
{
    double sum = 0.0;
    size_t n = 0;

    for (size_t j = 0; j < m->k; j++) {
        if (!is_there(m, j))
            continue;
        s[j] = a * logf(m->size_x[j]) - (1.0f - a) * logf(m->size_w[j]);
        sum += (double)s[j];
        n++;
    }
    for (size_t j = 0; j < m->k; j++)
        s[j] = is_there(m, j) ? expf(s[j] - (float)(sum / (double)n)) : 1.0f;
}

float smooth_search(const struct smooth *m, float *s)
{
    enum { TRIES = 20 };
    double best;
    float at = -1.0f;

    for (size_t j = 0; j < m->k; j++)
        s[j] = 1.0f;
    best = m->error(m->arg, s);
    for (int i = 0; i <= TRIES; i++) {
        float a = (float)i / TRIES;
        smooth_scales(m, a, s);
        double e = m->error(m->arg, s);
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
