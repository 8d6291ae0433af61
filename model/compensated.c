#include "model/compensated.h"

#include <stdlib.h>
#include <string.h>

#include "model/net/pool.h"
#include "model/quant/compensate.h"
#include "model/quant/gram.h"

enum { ROWS = 4096 }; /* of a matrix that are floats at a time */

struct compensated {
    const struct observations *o;
    const struct prepared *prepared;
    bool clip;
    const struct kernels *kernels;
    struct pool *pool;
    /* The factor at hand: matrices that read the same follow each other. */
    struct compensate *factor;
    const struct site *site;
    struct quant_spec spec;
};

/* Some rows of a matrix, shared out. */
struct rows {
    const struct compensated *c;
    float *w;
    size_t n, kp;
    const struct quant_spec *spec;
    struct quant_row all;
    _Atomic int status;
};

int compensated_open(const struct observations *o, const struct prepared *prepared, bool clip,
                     unsigned threads, struct compensated **ret_compensated, struct error *err)
{
    struct compensated *c = calloc(1, sizeof(*c));
    int r = c ? ST_OK : error_set(err, ST_NOMEM, "out of memory");

    if (r != ST_OK)
        return r;
    c->o = o;
    c->prepared = prepared;
    c->clip = clip;
    c->kernels = kernels_get(err);
    r = c->kernels ? pool_open(threads, &c->pool) : ST_INVALID;
    if (r != ST_OK && c->kernels)
        error_set(err, r, "cannot start %u compute threads", threads);
    if (r != ST_OK) {
        compensated_free(c);
        return r;
    }
    *ret_compensated = c;
    return ST_OK;
}

void compensated_free(struct compensated *c)
{
    if (!c)
        return;
    compensate_free(c->factor);
    pool_free(c->pool);
    free(c);
}

bool compensated_has(const struct compensated *c, const struct tensor_role *t)
{
    const struct site *s = prepare_site(c->prepared, t->name);

    return s && s->k == t->k;
}

/* H of inputs that are as much smaller as steps make the weights: columns, then rows. It is damped
 * before: else what rounding has made of its smallest part would grow. */
static void unfold(const struct steps *steps, float *h, size_t k, size_t kp)
{
    const float most = steps_largest(steps);
    double sum = 0.0;

    for (size_t i = 0; i < k; i++)
        sum += (double)h[i * kp + i];
    for (size_t i = 0; i < k; i++)
        h[i * kp + i] += (float)(COMPENSATE_DAMP * sum / (double)k);
    for (size_t i = 0; i < k; i++) {
        steps_unfold(steps, h + i * kp);
        for (size_t c = 0; c < k; c++)
            h[i * kp + c] *= most / steps->step[i];
    }
}

static int take_factor(struct compensated *c, const struct tensor_role *t,
                       const struct quant_spec *spec, const struct steps *steps, struct error *err)
{
    const struct site *site = prepare_site(c->prepared, t->name);
    const size_t kp = quant_padded(spec, t->k);
    float *h;
    int r;

    if (c->factor && site == c->site && spec->block_in == c->spec.block_in &&
        spec->act_static == c->spec.act_static && kp == quant_padded(&c->spec, t->k))
        return ST_OK;
    compensate_free(c->factor);
    c->factor = NULL;
    h = malloc(kp * kp * sizeof(*h));
    if (!h)
        return error_set(err, ST_NOMEM, "out of memory for %s", t->name);
    gram_mean(c->kernels, site->gram, site->k, (double)c->o->n_rows,
              prepare_factors(c->prepared, t->name), spec->block_in, kp, h);
    if (steps)
        unfold(steps, h, site->k, kp);
    r = compensate_open(c->kernels, h, kp, COMPENSATE_DAMP, &c->factor);
    free(h);
    if (r != ST_OK)
        return error_set(err, r, "%s: %s", t->name,
                         r == ST_NOMEM ? "out of memory"
                                       : "the observations of its input are not those of a text");
    c->site = site;
    c->spec = *spec;
    return ST_OK;
}

static void run_share(void *arg, unsigned worker, unsigned n_workers)
{
    struct rows *rows = arg;
    const size_t step = COMPENSATE_ROWS, kp = rows->kp, groups = kp / rows->spec->group;
    float *scratch = malloc(compensate_scratch(kp) * sizeof(*scratch));
    int r = scratch ? ST_OK : ST_NOMEM;

    for (size_t i = worker * step; r == ST_OK && i < rows->n; i += n_workers * step) {
        const struct quant_row part = {rows->all.q + i * kp, rows->all.scales + i * groups,
                                       rows->all.zeros + i * groups};
        r = compensate_rows(rows->c->factor, rows->spec, rows->c->clip, rows->w + i * kp,
                            rows->n - i < step ? rows->n - i : step, &part, scratch);
    }
    if (r != ST_OK)
        rows->status = r;
    free(scratch);
}

/* Rows from `first` on as floats in the space where they are rounded. */
static int read_rows(const struct rows *rows, struct source *s, size_t first, struct error *err)
{
    int r = ST_OK;

    for (size_t i = 0; r == ST_OK && i < rows->n; i++)
        r = source_row_rotated(s, first + i, rows->w + i * rows->kp, err);
    return r;
}

static void add_noise(const struct rows *rows, struct source_noise *noise)
{
    noise->n_weights += rows->n * rows->kp;
    for (size_t i = 0; i < rows->n * rows->kp; i++) {
        const size_t g = i / rows->spec->group;
        double x = (double)rows->w[i];
        double e = x - (double)rows->all.scales[g] * (rows->all.q[i] - rows->all.zeros[g]);
        noise->signal += x * x;
        noise->noise += e * e;
    }
}

static int make_rows(struct rows *rows, const struct tensor_role *t, struct source *s, size_t first,
                     struct source_noise *noise, struct error *err)
{
    const struct quant_spec *spec = rows->spec;
    int r = read_rows(rows, s, first, err);

    if (r != ST_OK)
        return r;
    pool_run(rows->c->pool, run_share, rows);
    if (rows->status == ST_OK) {
        add_noise(rows, noise);
        return ST_OK;
    }
    if (rows->status != ST_FORMAT)
        return error_set(err, rows->status, "out of memory for %s", t->name);
    noise->beyond_f16 = !spec->scale_f32;
    return error_set(err, ST_FORMAT, "%s: a scale is beyond %s", t->name,
                     spec->scale_f32 ? "f32" : "f16");
}

int compensated_matrix(struct compensated *c, const struct tensor_role *t,
                       const struct quant_spec *spec, struct source *s, const struct quant_row *all,
                       struct source_noise *ret_noise, struct error *err)
{
    const size_t kp = quant_padded(spec, t->k), step = t->n < ROWS ? t->n : ROWS;
    struct rows rows = {.c = c, .w = calloc(step * kp, sizeof(float)), .kp = kp, .spec = spec};
    int r = rows.w ? take_factor(c, t, spec, source_steps(s), err)
                   : error_set(err, ST_NOMEM, "out of memory for %s", t->name);

    *ret_noise = (struct source_noise){0};
    for (size_t i = 0; r == ST_OK && i < t->n; i += step) {
        rows.n = t->n - i < step ? t->n - i : step;
        rows.all = (struct quant_row){all->q + i * kp, all->scales + i * (kp / spec->group),
                                      all->zeros + i * (kp / spec->group)};
        r = make_rows(&rows, t, s, i, ret_noise, err);
    }
    free(rows.w);
    return r;
}
