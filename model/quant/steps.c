#include "model/quant/steps.h"

#include <math.h>
#include <stdlib.h>

#include "model/quant/source.h"

int steps_new(const struct quant_spec *spec, size_t k, struct steps *ret_steps)
{
    struct steps s = {.n = spec->act_static == QUANT_CHANNEL ? k : 1};

    s.step = malloc(s.n * sizeof(*s.step));
    s.zero = spec->act_zero ? calloc(s.n, sizeof(*s.zero)) : NULL;
    if (!s.step || (spec->act_zero && !s.zero)) {
        steps_done(&s);
        return ST_NOMEM;
    }
    for (size_t i = 0; i < s.n; i++)
        s.step[i] = 1.0f;
    *ret_steps = s;
    return ST_OK;
}

void steps_done(struct steps *s)
{
    free(s->step);
    free(s->zero);
    *s = (struct steps){0};
}

/* Their inverses and quotients are floats too. */
static bool is_step(float step)
{
    return step >= 1e-30f && step <= 1e30f;
}

static bool is_zero_point(float zero)
{
    return zero >= -128.0f && zero <= 127.0f && zero == rintf(zero);
}

static int take(const struct gguf_tensor *t, struct steps *s)
{
    const float *from = t->data;
    bool ok = true;

    for (size_t i = 0; i < s->n; i++) {
        s->step[i] = from[i];
        ok &= is_step(s->step[i]);
        if (s->zero) {
            s->zero[i] = from[s->n + i];
            ok &= is_zero_point(s->zero[i]);
        }
    }
    return ok ? ST_OK : ST_FORMAT;
}

int steps_read(const struct gguf *g, const char *name, const struct quant_spec *spec, size_t k,
               struct steps *ret_steps, struct error *err)
{
    struct source_names names;
    struct steps s;
    int r = source_octet_names(name, &names);
    const struct gguf_tensor *t = r == ST_OK ? gguf_find(g, names.act) : NULL;

    if (r == ST_OK)
        r = steps_new(spec, k, &s);
    if (r != ST_OK)
        return error_set(err, r, "out of memory for %s", name);
    if (!t || t->type != GGUF_F32 || t->dims[0] != s.n || t->n_elems != s.n * (s.zero ? 2 : 1))
        r = error_set(err, ST_FORMAT,
                      "%s: %s is missing, or not the %zu f32 steps%s that static activations have",
                      gguf_path(g), names.act, s.n, s.zero ? " and zero points" : "");
    else if (take(t, &s) != ST_OK)
        r = error_set(err, ST_FORMAT,
                      "%s: %s: a step is not finite and above 0, or a zero point is no integer of "
                      "-128 to 127",
                      gguf_path(g), names.act);
    if (r == ST_OK)
        *ret_steps = s;
    else
        steps_done(&s);
    return r;
}

float steps_largest(const struct steps *s)
{
    float most = 0.0f;

    for (size_t i = 0; i < s->n; i++)
        most = fmaxf(most, s->step[i]);
    return most;
}

void steps_fold(const struct steps *s, float *x)
{
    const float most = steps_largest(s);

    for (size_t i = 0; s->n > 1 && i < s->n; i++)
        x[i] *= s->step[i] / most;
}

void steps_unfold(const struct steps *s, float *x)
{
    const float most = steps_largest(s);

    for (size_t i = 0; s->n > 1 && i < s->n; i++)
        x[i] *= most / s->step[i];
}
