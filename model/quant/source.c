#include "model/quant/source.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/format/dequant.h"
#include "model/kernels/kernels.h"
#include "model/quant/grid.h"

struct source {
    const struct gguf *g;
    const struct gguf_tensor *values; /* floats, foreign blocks, Q8_0, or I8 */
    const struct gguf_tensor *scales; /* beside I8, f16 or f32 */
    const struct gguf_tensor *zeros;  /* beside I8, where the spec has them */
    const struct kernels *kernels;
    size_t n, k;
    struct quant_spec stored, want;
    float *turned; /* [n][k]: rows after the head rotation, where stored and wanted differ in it */
    float *row;    /* [padded k] */
    struct source_fold fold;
    const float *energy; /* [padded k], or NULL: of a search for ranges */
    bool one_scale;
    float min, max; /* then: of the whole matrix */
    struct steps stored_steps;
    const struct steps *want_steps; /* NULL: none */
    struct source_noise noise;
};

static int check_dims(const struct source *s, const struct gguf_tensor *t, uint64_t d0,
                      struct error *err)
{
    if (t->dims[0] == d0 && t->dims[1] == s->n && t->dims[2] == 1 && t->dims[3] == 1)
        return ST_OK;
    return error_set(
        err, ST_FORMAT, "%s: tensor %.*s is %llu x %llu, this network needs %llu x %zu",
        gguf_path(s->g), (int)t->name.len, t->name.data, (unsigned long long)t->dims[0],
        (unsigned long long)t->dims[1], (unsigned long long)d0, s->n);
}

/* A tensor beside the integers: there, of this type, a number a group. */
static int find_beside(struct source *s, const char *name, uint32_t type,
                       const struct gguf_tensor **ret, struct error *err)
{
    size_t kp = quant_padded(&s->stored, s->k);

    *ret = gguf_find(s->g, name);
    if (!*ret)
        return error_set(err, ST_FORMAT, "%s: the tensor %s is missing beside %.*s",
                         gguf_path(s->g), name, (int)s->values->name.len, s->values->name.data);
    if ((*ret)->type != type)
        return error_set(err, ST_FORMAT, "%s: %s must be %s", gguf_path(s->g), name,
                         gguf_type_name(type));
    return check_dims(s, *ret, kp / s->stored.group, err);
}

static int find_tensors(struct source *s, const char *name, struct error *err)
{
    struct source_names octet;
    int r = source_stored_spec(s->g, name, &s->stored, err);

    if (r != ST_OK)
        return r;
    s->values = gguf_find(s->g, name);
    if (s->values)
        return check_dims(s, s->values, s->k, err);
    source_octet_names(name, &octet);
    s->values = gguf_find(s->g, octet.q);
    if (s->values->type != GGUF_I8)
        return error_set(err, ST_FORMAT, "%s: %s must be I8", gguf_path(s->g), octet.q);
    size_t kp = quant_padded(&s->stored, s->k);
    if (s->stored.block_in && kp % s->stored.block_in)
        return error_set(err, ST_FORMAT, "%s: the blocks of %s do not divide its rows of %zu",
                         gguf_path(s->g), name, kp);
    if (s->stored.act_group && kp % s->stored.act_group)
        return error_set(err, ST_FORMAT,
                         "%s: activations in groups of %u do not divide the rows of %s, %zu",
                         gguf_path(s->g), s->stored.act_group, name, kp);
    r = check_dims(s, s->values, s->stored.bits == 4 ? kp / 2 : kp, err);
    if (r == ST_OK)
        r = find_beside(s, octet.scale, s->stored.scale_f32 ? GGUF_F32 : GGUF_F16, &s->scales, err);
    if (r == ST_OK && s->stored.zero)
        r = find_beside(s, octet.zero, GGUF_I8, &s->zeros, err);
    if (r == ST_OK && s->stored.act_static)
        r = steps_read(s->g, name, &s->stored, s->k, &s->stored_steps, err);
    return r;
}

/* Integer c of row i of octet's own tensor. */
static int stored_int(const struct source *s, size_t i, size_t c)
{
    const int8_t *row = (const int8_t *)s->values->data + i * s->values->dims[0];

    if (s->stored.bits == 8)
        return row[c];
    return ((uint8_t)row[c / 2] >> (c % 2 ? 4 : 0) & 15) - 8;
}

static float stored_scale(const struct source *s, size_t i, size_t group)
{
    const size_t at = i * s->scales->dims[0] + group;
    float scale;
    uint16_t h;

    if (s->stored.scale_f32) {
        memcpy(&scale, (const char *)s->scales->data + 4 * at, sizeof(scale));
        return scale;
    }
    memcpy(&h, (const char *)s->scales->data + 2 * at, sizeof(h));
    return f16_to_f32(h);
}

static int stored_zero(const struct source *s, size_t i, size_t group)
{
    return s->zeros ? ((const int8_t *)s->zeros->data)[i * s->zeros->dims[0] + group] : 0;
}

/* Row i as the file has it along N: floats in the original space along K. */
static void file_row(struct source *s, size_t i, float *out)
{
    const struct gguf_tensor *t = s->values;

    if (!s->scales) {
        dequant_row(t->type, (const char *)t->data + t->n_bytes / s->n * i, out, s->k);
        return;
    }
    const size_t group = s->stored.group;
    for (size_t g = 0; g * group < s->k; g++) {
        float scale = stored_scale(s, i, g);
        int zero = stored_zero(s, i, g);
        for (size_t c = g * group; c < s->k && c < (g + 1) * group; c++)
            out[c] = scale * (float)(stored_int(s, i, c) - zero);
    }
    steps_unfold(&s->stored_steps, out);
    s->kernels->hadamard(out, s->k, s->stored.block_in);
}

/* Rows are divided before they are rotated. */
static int turn_all(struct source *s)
{
    size_t bytes;
    const size_t from = s->stored.block_out, to = s->want.block_out;

    if (from == to && !(s->fold.rows && to))
        return ST_OK;
    if (__builtin_mul_overflow(s->n * s->k, sizeof(float), &bytes) || !(s->turned = malloc(bytes)))
        return ST_NOMEM;
    for (size_t i = 0; i < s->n; i++)
        file_row(s, i, s->turned + i * s->k);
    source_turn(s->turned, s->n, s->k, from);
    for (size_t i = 0; s->fold.rows && i < s->n * s->k; i++)
        s->turned[i] /= s->fold.rows[i / s->k];
    source_turn(s->turned, s->n, s->k, to);
    return ST_OK;
}

int source_open(const struct gguf *g, const char *name, size_t n, size_t k,
                const struct quant_spec *want, struct source **ret_source, struct error *err)
{
    struct source *s = calloc(1, sizeof(*s));
    int r = ST_NOMEM;

    if (!s)
        return error_set(err, ST_NOMEM, "out of memory for %s", name);
    *s = (struct source){.g = g, .n = n, .k = k, .want = *want};
    s->kernels = kernels_get(err);
    if (!s->kernels) {
        r = ST_INVALID;
        goto out;
    }
    r = find_tensors(s, name, err);
    if (r != ST_OK)
        goto out;
    size_t kp = quant_padded(want, k);
    if ((s->stored.block_out && n % s->stored.block_out) ||
        (want->block_out && n % want->block_out) || (want->block_in && k % want->block_in) ||
        (s->stored.block_in && k % s->stored.block_in)) {
        r = error_set(err, ST_FORMAT, "%s: the blocks of %s do not divide its shape", gguf_path(g),
                      name);
        goto out;
    }
    s->row = calloc(kp, sizeof(float));
    r = s->row ? turn_all(s) : ST_NOMEM;
    if (r == ST_NOMEM)
        error_set(err, r, "out of memory for %s", name);
out:
    if (r != ST_OK) {
        source_free(s);
        return r;
    }
    *ret_source = s;
    return ST_OK;
}

void source_free(struct source *s)
{
    if (!s)
        return;
    if (s->values)
        gguf_release(s->g, s->values);
    steps_done(&s->stored_steps);
    free(s->turned);
    free(s->row);
    free(s);
}

int source_prepare(struct source *s, const struct source_fold *fold, const float *energy,
                   struct error *err)
{
    s->fold = *fold;
    s->energy = energy;
    free(s->turned);
    s->turned = NULL;
    return turn_all(s) == ST_OK ? ST_OK : error_set(err, ST_NOMEM, "out of memory for a matrix");
}

static void folded_row(struct source *s, size_t i, float *out)
{
    const struct source_fold *f = &s->fold;

    if (s->turned)
        memcpy(out, s->turned + i * s->k, s->k * sizeof(float));
    else
        file_row(s, i, out);
    for (size_t c = 0; !s->turned && f->rows && c < s->k; c++)
        out[c] /= f->rows[i];
    for (size_t c = 0; f->columns && c < s->k; c++)
        out[c] *= f->columns[c];
}

/* x[k] as f16 holds it. */
static bool round_row(struct source *s, float *x)
{
    bool ok = true;

    for (size_t c = 0; c < s->k; c++) {
        const double was = (double)x[c];
        x[c] = f16_to_f32(f32_to_f16(x[c]));
        ok &= isfinite(x[c]) != 0;
        s->noise.signal += was * was;
        s->noise.noise += (was - (double)x[c]) * (was - (double)x[c]);
    }
    s->noise.n_weights += s->k;
    return ok;
}

int source_row_f32(struct source *s, size_t i, float *out, struct error *err)
{
    bool ok = true;

    folded_row(s, i, out);
    for (size_t c = 0; c < s->k; c++)
        ok &= isfinite(out[c]) != 0;
    if (!ok)
        return error_set(err, ST_FORMAT, "%s: tensor %.*s holds a NaN or an infinity in row %zu",
                         gguf_path(s->g), (int)s->values->name.len, s->values->name.data, i);
    if (s->want.bits == 16 && !round_row(s, out))
        return error_set(err, ST_FORMAT,
                         "%s: tensor %.*s, row %zu: a weight is beyond f16; use f32",
                         gguf_path(s->g), (int)s->values->name.len, s->values->name.data, i);
    return ST_OK;
}

/* Group g of a row: x → q. */
static int quantize_span(struct source *s, size_t g, const float *x, int8_t *q, float *ret_scale,
                         int8_t *ret_zero)
{
    const float *energy = s->energy ? s->energy + g * s->want.group : NULL;
    const enum grid_how how = grid_plain_how(&s->want, energy);
    struct grid grid;
    double signal = 0.0, noise = 0.0;
    int r = s->one_scale ? grid_of(&s->want, s->min, s->max, &grid)
                         : grid_fit(s->kernels, &s->want, how, x, energy, s->want.group, &grid);

    if (r != ST_OK)
        return r;
    grid_put(&grid, x, s->want.group, q);
    for (size_t i = 0; i < s->want.group; i++) {
        float e = x[i] - ((float)q[i] - grid.zero) * grid.scale;
        signal += (double)x[i] * (double)x[i];
        noise += (double)e * (double)e;
    }
    s->noise.signal += signal;
    s->noise.noise += noise;
    *ret_scale = grid.scale;
    *ret_zero = (int8_t)grid.zero;
    return ST_OK;
}

/* The file already stores what is wanted: no arithmetic. */
static bool row_as_stored(struct source *s, size_t i, const struct quant_row *to)
{
    const struct gguf_tensor *t = s->values;
    const char *row = (const char *)t->data + t->n_bytes / s->n * i;

    if (memcmp(&s->stored, &s->want, sizeof(s->stored)) != 0 || !s->stored.bits ||
        s->fold.columns || s->fold.rows || s->energy)
        return false;
    size_t kp = quant_padded(&s->want, s->k), groups = kp / s->want.group;
    if (!s->scales) { /* Q8_0: an f16 scale, then 32 bytes */
        for (size_t g = 0; g < groups; g++, row += 34) {
            uint16_t h;
            memcpy(&h, row, 2);
            to->scales[g] = f16_to_f32(h);
            to->zeros[g] = 0;
            memcpy(to->q + 32 * g, row + 2, 32);
        }
        return true;
    }
    for (size_t g = 0; g < groups; g++) {
        to->scales[g] = stored_scale(s, i, g);
        to->zeros[g] = (int8_t)stored_zero(s, i, g);
    }
    if (s->stored.bits == 8)
        memcpy(to->q, row, kp);
    for (size_t c = 0; s->stored.bits == 4 && c < kp; c++)
        to->q[c] = (int8_t)stored_int(s, i, c);
    return true;
}

static int check_scales(const struct source *s, size_t i, const float *scales, struct error *err)
{
    bool ok = true;

    for (size_t g = 0; g < quant_padded(&s->want, s->k) / s->want.group; g++)
        ok &= isfinite(scales[g]) != 0;
    if (ok)
        return ST_OK;
    return error_set(err, ST_FORMAT,
                     "%s: tensor %.*s has a scale that is NaN or infinite in row %zu",
                     gguf_path(s->g), (int)s->values->name.len, s->values->name.data, i);
}

void source_set_steps(struct source *s, const struct steps *steps)
{
    s->want_steps = steps;
}

const struct steps *source_steps(const struct source *s)
{
    return s->want_steps;
}

int source_row_rotated(struct source *s, size_t i, float *out, struct error *err)
{
    int r = source_row_f32(s, i, out, err);

    if (r == ST_OK)
        s->kernels->hadamard(out, s->k, s->want.block_in);
    if (r == ST_OK && s->want_steps)
        steps_fold(s->want_steps, out);
    return r;
}

int source_one_scale(struct source *s, struct error *err)
{
    int r = ST_OK;

    for (size_t i = 0; r == ST_OK && i < s->n; i++) {
        r = source_row_rotated(s, i, s->row, err);
        for (size_t c = 0; r == ST_OK && c < s->k; c++) {
            s->min = s->row[c] < s->min ? s->row[c] : s->min;
            s->max = s->row[c] > s->max ? s->row[c] : s->max;
        }
    }
    s->one_scale = true;
    return r;
}

int source_row_ints(struct source *s, size_t i, const struct quant_row *row, struct error *err)
{
    size_t kp = quant_padded(&s->want, s->k), group = s->want.group;

    if (!s->one_scale && !s->want_steps && row_as_stored(s, i, row))
        return check_scales(s, i, row->scales, err);
    int r = source_row_rotated(s, i, s->row, err);
    if (r != ST_OK)
        return r;
    for (size_t g = 0; r == ST_OK && g < kp / group; g++)
        r = quantize_span(s, g, s->row + g * group, row->q + g * group, &row->scales[g],
                          &row->zeros[g]);
    s->noise.n_weights += s->k;
    if (r == ST_OK)
        return ST_OK;
    s->noise.beyond_f16 = true;
    return error_set(err, r, "%s: tensor %.*s, row %zu: a scale is beyond f16 (weights above 8e6)",
                     gguf_path(s->g), (int)s->values->name.len, s->values->name.data, i);
}

const struct source_noise *source_noise(const struct source *s)
{
    return &s->noise;
}
