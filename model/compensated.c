#include "model/compensated.h"

#include <stdlib.h>
#include <string.h>

#include "model/net/pool.h"
#include "model/quant/compensate.h"
#include "model/quant/gram.h"

#define DAMP 0.01 /* of the mean diagonal, as GPTQ has it */

struct compensated {
    const struct observations *o;
    bool tied;
    const struct kernels *kernels;
    struct pool *pool;
    /* The factor at hand: matrices that read the same follow each other. */
    struct compensate *factor;
    const struct site *site;
    struct quant_spec spec;
};

/* One matrix, its rows shared out. */
struct rows {
    const struct compensated *c;
    const float *w;
    size_t n, kp;
    const struct quant_spec *spec;
    const struct quant_row *all;
    _Atomic int status;
};

int compensated_open(const struct observations *o, bool tied, unsigned threads,
                     struct compensated **ret_compensated, struct error *err)
{
    struct compensated *c = calloc(1, sizeof(*c));
    int r = c ? ST_OK : error_set(err, ST_NOMEM, "out of memory");

    if (r != ST_OK)
        return r;
    c->o = o;
    c->tied = tied;
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

/* An embedding that is the head is multiplied as the head, and only copied as an embedding. */
static const struct site *site_of(const struct compensated *c, const char *name)
{
    bool head = c->tied && strcmp(name, "token_embd.weight") == 0;

    return observations_of(c->o, head ? "output.weight" : name);
}

bool compensated_has(const struct compensated *c, const struct tensor_role *t)
{
    const struct site *s = site_of(c, t->name);

    return s && s->k == t->k;
}

static int take_factor(struct compensated *c, const struct tensor_role *t,
                       const struct quant_spec *spec, struct error *err)
{
    const struct site *site = site_of(c, t->name);
    const size_t kp = quant_padded(spec, t->k);
    float *h;
    int r;

    if (c->factor && site == c->site && spec->block_in == c->spec.block_in &&
        kp == quant_padded(&c->spec, t->k))
        return ST_OK;
    compensate_free(c->factor);
    c->factor = NULL;
    h = malloc(kp * kp * sizeof(*h));
    if (!h)
        return error_set(err, ST_NOMEM, "out of memory for %s", t->name);
    gram_mean(c->kernels, site->gram, site->k, (double)c->o->n_rows, spec->block_in, kp, h);
    r = compensate_open(c->kernels, h, kp, DAMP, &c->factor);
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
        const struct quant_row part = {rows->all->q + i * kp, rows->all->scales + i * groups,
                                       rows->all->zeros + i * groups};
        r = compensate_rows(rows->c->factor, rows->spec, rows->w + i * kp,
                            rows->n - i < step ? rows->n - i : step, &part, scratch);
    }
    if (r != ST_OK)
        rows->status = r;
    free(scratch);
}

/* Rows as floats in the space where they are rounded. */
static int read_rows(const struct compensated *c, const struct tensor_role *t,
                     const struct quant_spec *spec, struct source *s, float *w, struct error *err)
{
    const size_t kp = quant_padded(spec, t->k);
    int r = ST_OK;

    for (size_t i = 0; r == ST_OK && i < t->n; i++) {
        r = source_row_f32(s, i, w + i * kp, err);
        c->kernels->hadamard(w + i * kp, t->k, spec->block_in);
    }
    return r;
}

static struct source_noise noise_of(const struct rows *rows)
{
    struct source_noise noise = {.n_weights = rows->n * rows->kp};

    for (size_t i = 0; i < rows->n * rows->kp; i++) {
        const size_t g = i / rows->spec->group;
        double x = (double)rows->w[i];
        double e = x - (double)rows->all->scales[g] * (rows->all->q[i] - rows->all->zeros[g]);
        noise.signal += x * x;
        noise.noise += e * e;
    }
    return noise;
}

int compensated_matrix(struct compensated *c, const struct tensor_role *t,
                       const struct quant_spec *spec, struct source *s, const struct quant_row *all,
                       struct source_noise *ret_noise, struct error *err)
{
    const size_t kp = quant_padded(spec, t->k);
    float *w = calloc(t->n * kp, sizeof(*w));
    struct rows rows = {.c = c, .w = w, .n = t->n, .kp = kp, .spec = spec, .all = all};
    int r = w ? take_factor(c, t, spec, err)
              : error_set(err, ST_NOMEM, "out of memory for %s", t->name);

    if (r == ST_OK)
        r = read_rows(c, t, spec, s, w, err);
    if (r != ST_OK)
        goto out;
    pool_run(c->pool, run_share, &rows);
    r = rows.status;
    if (r == ST_OK) {
        *ret_noise = noise_of(&rows);
    } else if (r == ST_FORMAT) {
        ret_noise->beyond_f16 = !spec->scale_f32;
        error_set(err, r, "%s: a scale is beyond %s", t->name, spec->scale_f32 ? "f32" : "f16");
    } else {
        error_set(err, r, "out of memory for %s", t->name);
    }
out:
    free(w);
    return r;
}
