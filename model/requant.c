#include "model/requant.h"

#include <stdlib.h>
#include <string.h>

#include "model/net/sites.h"
#include "model/quant/grid.h"

struct rows {
    const struct requant *q;
    struct linear *to;
    size_t kp, groups;
    _Atomic int status;
};

/* What a worker has for COMPENSATE_ROWS rows. */
struct chunk {
    float *w, *scratch;
    struct quant_row row;
};

static void round_row(const struct rows *rows, const float *w, const struct quant_row *to, int *r)
{
    const struct quant_spec *spec = &rows->q->spec;

    for (size_t g = 0; g < rows->groups; g++, w += spec->group) {
        struct grid grid;
        if (grid_fit(rows->q->kernels, spec, grid_plain_how(spec, NULL), w, NULL, spec->group,
                     &grid) != ST_OK) {
            *r = ST_FORMAT;
            return;
        }
        to->scales[g] = grid.scale;
        to->zeros[g] = (int8_t)grid.zero;
        grid_put(&grid, w, spec->group, to->q + g * spec->group);
    }
}

static struct quant_row row_of(const struct rows *rows, const struct chunk *c, size_t i)
{
    return (struct quant_row){c->row.q + i * rows->kp, c->row.scales + i * rows->groups,
                              c->row.zeros + i * rows->groups};
}

/* Outputs [begin, begin + n) as integers. */
static int quantize_chunk(const struct rows *rows, const struct chunk *c, size_t begin, size_t n)
{
    const struct requant *q = rows->q;
    const size_t k = q->from->desc.k, kp = rows->kp;
    int r = ST_OK;

    memset(c->w, 0, n * kp * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        linear_get_row(q->from, begin + i, c->w + i * kp);
        q->kernels->hadamard(c->w + i * kp, k, q->spec.block_in);
    }
    if (q->factor)
        r = compensate_rows(q->factor, &q->spec, q->clip, c->w, n, &c->row, c->scratch);
    for (size_t i = 0; i < n && r == ST_OK; i++) {
        const struct quant_row row = row_of(rows, c, i);
        if (!q->factor)
            round_row(rows, c->w + i * kp, &row, &r);
        if (r == ST_OK)
            linear_set_row(rows->to, begin + i, &row);
    }
    return r;
}

/* The same as floats. */
static int float_chunk(const struct rows *rows, const struct chunk *c, size_t begin, size_t n)
{
    for (size_t i = begin; i < begin + n; i++) {
        linear_get_row(rows->q->from, i, c->w);
        linear_set_row_f32(rows->to, i, c->w);
    }
    return ST_OK;
}

static void run_share(void *arg, unsigned worker, unsigned n_workers)
{
    struct rows *rows = arg;
    const size_t step = COMPENSATE_ROWS, n = rows->to->desc.n, kp = rows->kp;
    struct chunk c = {malloc(step * kp * sizeof(float)),
                      malloc(compensate_scratch(kp) * sizeof(float)),
                      {malloc(step * kp), malloc(step * rows->groups * sizeof(float) + 1),
                       malloc(step * rows->groups + 1)}};
    int r = c.w && c.scratch && c.row.q && c.row.scales && c.row.zeros ? ST_OK : ST_NOMEM;

    for (size_t i = worker * step; r == ST_OK && i < n; i += n_workers * step) {
        const size_t many = n - i < step ? n - i : step;
        r = rows->groups ? quantize_chunk(rows, &c, i, many) : float_chunk(rows, &c, i, many);
    }
    if (r != ST_OK)
        rows->status = r;
    free(c.w);
    free(c.scratch);
    free(c.row.q);
    free(c.row.scales);
    free(c.row.zeros);
}

int requant(const struct requant *q, struct arena *arena, struct linear *ret_linear,
            struct error *err)
{
    const size_t k = q->from->desc.k, kp = quant_padded(&q->spec, k);
    const struct linear_desc desc = site_desc(&q->spec, q->from->desc.n, k, true);
    struct linear to;
    struct rows rows = {
        .q = q, .to = &to, .kp = kp, .groups = q->spec.group ? kp / q->spec.group : 0};
    size_t bytes;
    int r;

    if (!linear_room(&desc, &bytes) || arena_open(arena, bytes) != ST_OK)
        return error_set(err, ST_NOMEM, "out of memory for %s", q->name);
    r = linear_open(&to, &desc, q->kernels, arena, q->name, err);
    if (r == ST_OK) {
        pool_run(q->pool, run_share, &rows);
        r = rows.status;
        if (r != ST_OK)
            error_set(err, r, "%s: %s", q->name,
                      r == ST_FORMAT ? "a scale is beyond what is stored" : "out of memory");
    }
    if (r != ST_OK) {
        arena_done(arena);
        return r;
    }
    *ret_linear = to;
    return ST_OK;
}
