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
    bool one_scale;
    float min, max; /* then: of the whole matrix */
    struct source_noise noise;
};

const char *const source_linear_keys[SOURCE_LINEAR_KEYS] = {
    "octet.linear.bits",      "octet.linear.group",     "octet.linear.block_in",
    "octet.linear.block_out", "octet.linear.act_group", "octet.linear.scale_f32",
    "octet.linear.zero",      "octet.linear.act_zero"};

_Static_assert(sizeof(struct quant_spec) == SOURCE_LINEAR_KEYS * sizeof(uint32_t),
               "a key for each number of a spec");

bool source_exists(const struct gguf *g, const char *name)
{
    struct source_names octet;

    if (gguf_find(g, name))
        return true;
    return source_octet_names(name, &octet) == ST_OK && gguf_find(g, octet.q);
}

int source_octet_names(const char *name, struct source_names *ret_names)
{
    static const char suffix[] = ".weight", longest[] = ".octet_scale";
    struct source_names *to = ret_names;
    size_t len = strlen(name), cut = sizeof(suffix) - 1;

    if (len < cut || len - cut + sizeof(longest) > sizeof(to->q) ||
        strcmp(name + len - cut, suffix) != 0)
        return ST_INVALID;
    int n = (int)(len - cut);
    snprintf(to->q, sizeof(to->q), "%.*s.octet_q", n, name);
    snprintf(to->scale, sizeof(to->scale), "%.*s.octet_scale", n, name);
    snprintf(to->zero, sizeof(to->zero), "%.*s.octet_zero", n, name);
    return ST_OK;
}

/* Key i of octet.linear.*: what it says of the matrix at `at`. Those beyond the first four are there
 * only where something is not as it was before them. */
static int linear_number(const struct gguf *g, size_t i, uint64_t n_names, uint64_t at,
                         uint32_t *ret, struct error *err)
{
    struct gguf_array nums;
    int r = gguf_get_ints(g, source_linear_keys[i], &nums, err);

    if (r == ST_NOTFOUND && i >= 4) {
        *ret = 0;
        return ST_OK;
    }
    if (r == ST_OK && nums.n != n_names)
        r = error_set(err, ST_FORMAT, "%s: %s and octet.linear.names differ in length",
                      gguf_path(g), source_linear_keys[i]);
    if (r == ST_OK)
        *ret = (uint32_t)gguf_array_i32(&nums, at);
    return r;
}

static int check_spec(const struct gguf *g, const char *name, const struct quant_spec *s,
                      struct error *err)
{
    if (quant_spec_is_built(s))
        return ST_OK;
    return error_set(
        err, ST_UNSUPPORTED,
        "%s: %.*s has %u bits, groups of %u, blocks of %u and %u: not built (8 bits in "
        "groups of a multiple of 32 up to %u, 4 bits up to %u, blocks of a power of "
        "two up to 64 are)",
        gguf_path(g), (int)(strlen(name) - strlen(".weight")), name, s->bits, s->group, s->block_in,
        s->block_out, GROUP_MAX, NIBBLE_GROUP_MAX);
}

/* Where name stands in octet.linear.names; the parallel arrays hold its spec. */
static int octet_spec(const struct gguf *g, const char *name, struct quant_spec *ret,
                      struct error *err)
{
    struct gguf_array names;
    size_t len = strlen(name) - strlen(".weight");
    uint32_t v[SOURCE_LINEAR_KEYS];
    uint64_t at = 0;
    int r = gguf_get_strs(g, "octet.linear.names", &names, err);

    while (r == ST_OK && at < names.n &&
           (names.strs[at].len != len || memcmp(names.strs[at].data, name, len) != 0))
        at++;
    if (r == ST_OK && at == names.n)
        return error_set(err, ST_FORMAT, "%s: %.*s is not in octet.linear.names", gguf_path(g),
                         (int)len, name);
    for (size_t i = 0; r == ST_OK && i < SOURCE_LINEAR_KEYS; i++)
        r = linear_number(g, i, names.n, at, &v[i], err);
    if (r == ST_NOTFOUND)
        return error_set(err, ST_FORMAT,
                         "%s: octet.linear.* keys are missing beside octet's own tensors",
                         gguf_path(g));
    if (r != ST_OK)
        return r;
    struct quant_spec s;
    memcpy(&s, v, sizeof(s));
    r = check_spec(g, name, &s, err);
    if (r == ST_OK)
        *ret = s;
    return r;
}

int source_stored_spec(const struct gguf *g, const char *name, struct quant_spec *ret_spec,
                       struct error *err)
{
    struct source_names octet;
    const struct gguf_tensor *t = gguf_find(g, name);

    if (t) {
        *ret_spec = t->type == GGUF_Q8_0 ? (struct quant_spec){.bits = 8, .group = 32}
                                         : (struct quant_spec){0};
        return ST_OK;
    }
    if (source_octet_names(name, &octet) != ST_OK || !gguf_find(g, octet.q))
        return error_set(err, ST_NOTFOUND, "%s: the tensor %s is missing", gguf_path(g), name);
    return octet_spec(g, name, ret_spec, err);
}

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
    return r;
}

void source_turn(float *x, size_t n, size_t k, size_t block)
{
    float norm = 1.0f / sqrtf((float)block);

    if (block < 2)
        return;
    assert(n % block == 0);
    for (size_t s = 1; s < block; s *= 2)
        for (size_t i = 0; i < n; i++)
            for (size_t c = 0; !(i & s) && c < k; c++) {
                float a = x[i * k + c], b = x[(i + s) * k + c];
                x[i * k + c] = a + b;
                x[(i + s) * k + c] = a - b;
            }
    for (size_t i = 0; i < n * k; i++)
        x[i] *= norm;
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
    const size_t group = s->stored.group;

    if (!s->scales) {
        dequant_row(t->type, (const char *)t->data + t->n_bytes / s->n * i, out, s->k);
        return;
    }
    for (size_t g = 0; g * group < s->k; g++) {
        float scale = stored_scale(s, i, g);
        int zero = stored_zero(s, i, g);
        for (size_t c = g * group; c < s->k && c < (g + 1) * group; c++)
            out[c] = scale * (float)(stored_int(s, i, c) - zero);
    }
    s->kernels->hadamard(out, s->k, s->stored.block_in);
}

static int turn_all(struct source *s)
{
    size_t bytes;
    size_t from = s->stored.block_out, to = s->want.bits ? s->want.block_out : 0;

    if (from == to)
        return ST_OK;
    if (__builtin_mul_overflow(s->n * s->k, sizeof(float), &bytes) || !(s->turned = malloc(bytes)))
        return ST_NOMEM;
    for (size_t i = 0; i < s->n; i++)
        file_row(s, i, s->turned + i * s->k);
    source_turn(s->turned, s->n, s->k, from);
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
    free(s->turned);
    free(s->row);
    free(s);
}

static void row_turned(struct source *s, size_t i, float *out)
{
    if (s->turned)
        memcpy(out, s->turned + i * s->k, s->k * sizeof(float));
    else
        file_row(s, i, out);
}

int source_row_f32(struct source *s, size_t i, float *out, struct error *err)
{
    bool ok = true;

    row_turned(s, i, out);
    for (size_t c = 0; c < s->k; c++)
        ok &= isfinite(out[c]) != 0;
    if (ok)
        return ST_OK;
    return error_set(err, ST_FORMAT, "%s: tensor %.*s holds a NaN or an infinity in row %zu",
                     gguf_path(s->g), (int)s->values->name.len, s->values->name.data, i);
}

/* The range that a scale and a zero point are made for. */
static void range_of(const struct source *s, const float *x, float *ret_min, float *ret_max)
{
    float min = 0.0f, max = 0.0f;

    for (size_t i = 0; i < s->want.group; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
    }
    *ret_min = s->one_scale ? s->min : min;
    *ret_max = s->one_scale ? s->max : max;
}

static int quantize_span(struct source *s, const float *x, int8_t *q, float *ret_scale,
                         int8_t *ret_zero)
{
    struct grid grid;
    float min, max;
    double signal = 0.0, noise = 0.0;

    range_of(s, x, &min, &max);
    int r = grid_of(&s->want, min, max, &grid);
    if (r != ST_OK)
        return r;
    for (size_t i = 0; i < s->want.group; i++) {
        float v = grid_round(&grid, x[i]), e = x[i] - v * grid.scale;
        q[i] = (int8_t)(v + grid.zero);
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

    if (memcmp(&s->stored, &s->want, sizeof(s->stored)) != 0 || !s->stored.bits)
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

/* Row i, rotated, in s->row. */
static int rotated_row(struct source *s, size_t i, struct error *err)
{
    int r = source_row_f32(s, i, s->row, err);

    if (r == ST_OK)
        s->kernels->hadamard(s->row, s->k, s->want.block_in);
    return r;
}

int source_one_scale(struct source *s, struct error *err)
{
    int r = ST_OK;

    for (size_t i = 0; r == ST_OK && i < s->n; i++) {
        r = rotated_row(s, i, err);
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

    if (!s->one_scale && row_as_stored(s, i, row))
        return check_scales(s, i, row->scales, err);
    int r = rotated_row(s, i, err);
    if (r != ST_OK)
        return r;
    for (size_t g = 0; r == ST_OK && g < kp / group; g++)
        r = quantize_span(s, s->row + g * group, row->q + g * group, &row->scales[g],
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
