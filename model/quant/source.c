#include "model/quant/source.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/format/dequant.h"
#include "model/kernels/kernels.h"

struct source {
    const struct gguf *g;
    const struct gguf_tensor *values; /* floats, foreign blocks, Q8_0, or I8 */
    const struct gguf_tensor *scales; /* beside I8 */
    const struct kernels *kernels;
    size_t n, k;
    struct quant_spec stored, want;
    float *turned; /* [n][k]: rows after the head rotation, where stored and wanted differ in it */
    float *row;    /* [padded k] */
    struct source_noise noise;
};

bool source_exists(const struct gguf *g, const char *name)
{
    char q[256], scale[256];

    if (gguf_find(g, name))
        return true;
    return source_octet_names(name, q, scale) == ST_OK && gguf_find(g, q);
}

int source_octet_names(const char *name, char q[static 256], char scale[static 256])
{
    static const char suffix[] = ".weight", sq[] = ".octet_q", ss[] = ".octet_scale";
    size_t len = strlen(name), cut = sizeof(suffix) - 1;

    if (len < cut || len - cut + sizeof(ss) > 256 || strcmp(name + len - cut, suffix) != 0)
        return ST_INVALID;
    memcpy(q, name, len - cut);
    memcpy(q + len - cut, sq, sizeof(sq));
    memcpy(scale, name, len - cut);
    memcpy(scale + len - cut, ss, sizeof(ss));
    return ST_OK;
}

/* Where name stands in octet.linear.names; the parallel arrays hold its spec. */
static int octet_spec(const struct gguf *g, const char *name, struct quant_spec *ret,
                      struct error *err)
{
    static const char *const keys[4] = {"octet.linear.bits", "octet.linear.group",
                                        "octet.linear.block_in", "octet.linear.block_out"};
    struct gguf_array names, nums[4];
    size_t len = strlen(name) - strlen(".weight");
    uint32_t v[4];
    int r = gguf_get_strs(g, "octet.linear.names", &names, err);

    for (size_t i = 0; r == ST_OK && i < 4; i++) {
        r = gguf_get_ints(g, keys[i], &nums[i], err);
        if (r == ST_OK && nums[i].n != names.n)
            r = error_set(err, ST_FORMAT, "%s: %s and octet.linear.names differ in length",
                          gguf_path(g), keys[i]);
    }
    if (r == ST_NOTFOUND)
        return error_set(err, ST_FORMAT,
                         "%s: octet.linear.* keys are missing beside octet's own tensors",
                         gguf_path(g));
    if (r != ST_OK)
        return r;
    uint64_t at = 0;
    while (at < names.n &&
           (names.strs[at].len != len || memcmp(names.strs[at].data, name, len) != 0))
        at++;
    if (at == names.n)
        return error_set(err, ST_FORMAT, "%s: %.*s is not in octet.linear.names", gguf_path(g),
                         (int)len, name);
    for (size_t i = 0; i < 4; i++)
        v[i] = (uint32_t)gguf_array_i32(&nums[i], at);
    struct quant_spec s = {v[0], v[1], v[2], v[3]};
    bool block_ok = s.block_in <= 64 && s.block_out <= 64 && !(s.block_in & (s.block_in - 1)) &&
                    !(s.block_out & (s.block_out - 1));
    bool group_ok = s.group && s.group % 32 == 0 && s.group <= GROUP_MAX;
    /* A block that a group does not hold would reach beyond the last one. */
    if (s.bits != 8 || !group_ok || !block_ok || (s.block_in && s.group % s.block_in))
        return error_set(err, ST_UNSUPPORTED,
                         "%s: %.*s has %u bits, groups of %u, blocks of %u and %u: not built (8 "
                         "bits, groups of a multiple of 32 up to %u, blocks of a power of two up "
                         "to 64 that divides the group are)",
                         gguf_path(g), (int)len, name, s.bits, s.group, s.block_in, s.block_out,
                         GROUP_MAX);
    *ret = s;
    return ST_OK;
}

int source_stored_spec(const struct gguf *g, const char *name, struct quant_spec *ret_spec,
                       struct error *err)
{
    char q[256], scale[256];
    const struct gguf_tensor *t = gguf_find(g, name);

    if (t) {
        *ret_spec = t->type == GGUF_Q8_0 ? (struct quant_spec){.bits = 8, .group = 32}
                                         : (struct quant_spec){0};
        return ST_OK;
    }
    if (source_octet_names(name, q, scale) != ST_OK || !gguf_find(g, q))
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

static int find_tensors(struct source *s, const char *name, struct error *err)
{
    char q[256], scale[256];
    int r = source_stored_spec(s->g, name, &s->stored, err);

    if (r != ST_OK)
        return r;
    s->values = gguf_find(s->g, name);
    if (s->values)
        return check_dims(s, s->values, s->k, err);
    source_octet_names(name, q, scale);
    s->values = gguf_find(s->g, q);
    s->scales = gguf_find(s->g, scale);
    if (!s->scales)
        return error_set(err, ST_FORMAT, "%s: the tensor %s is missing beside %s", gguf_path(s->g),
                         scale, q);
    if (s->values->type != GGUF_I8 || s->scales->type != GGUF_F16)
        return error_set(err, ST_FORMAT, "%s: %s must be I8 and %s F16", gguf_path(s->g), q, scale);
    size_t kp = quant_padded(&s->stored, s->k);
    r = check_dims(s, s->values, kp, err);
    return r == ST_OK ? check_dims(s, s->scales, kp / s->stored.group, err) : r;
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

/* Row i as the file has it along N: floats in the original space along K. */
static void file_row(struct source *s, size_t i, float *out)
{
    const struct gguf_tensor *t = s->values;

    if (!s->scales) {
        dequant_row(t->type, (const char *)t->data + t->n_bytes / s->n * i, out, s->k);
        return;
    }
    size_t kp = t->dims[0], group = s->stored.group;
    const int8_t *q = (const int8_t *)t->data + i * kp;
    const char *scales = (const char *)s->scales->data + 2 * (i * (kp / group));
    for (size_t c = 0; c < s->k; c++) {
        uint16_t h;
        memcpy(&h, scales + 2 * (c / group), sizeof(h));
        out[c] = f16_to_f32(h) * (float)q[c];
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

/* Symmetric: s = max|x| / 127 rounded to f16, q = rint(x / s) held to [-127, 127]. */
static int quantize_span(struct source *s, const float *x, int8_t *q, uint16_t *ret_scale)
{
    const float magic = 12582912.0f; /* x + magic - magic is rint(x) for |x| < 2^22 */
    size_t n = s->want.group;
    float max = 0.0f, signal = 0.0f, noise = 0.0f;

    for (size_t i = 0; i < n; i++)
        max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
    *ret_scale = f32_to_f16(max / 127.0f);
    float scale = f16_to_f32(*ret_scale);
    if (isinf(scale))
        return ST_FORMAT;
    /* Too small for f16: the group is zeros, off by max|x| at most. */
    for (size_t i = 0; i < n; i++) {
        float v = scale > 0.0f ? x[i] / scale : 0.0f;
        v = v > 127.0f ? 127.0f : v < -127.0f ? -127.0f : v;
        v = (v + magic) - magic;
        float e = x[i] - v * scale;
        q[i] = (int8_t)v;
        signal += x[i] * x[i];
        noise += e * e;
    }
    s->noise.signal += (double)signal;
    s->noise.noise += (double)noise;
    return ST_OK;
}

/* The file already stores what is wanted: no arithmetic. */
static bool row_as_stored(struct source *s, size_t i, int8_t *q, uint16_t *scales)
{
    const struct gguf_tensor *t = s->values;
    const char *row = (const char *)t->data + t->n_bytes / s->n * i;

    if (memcmp(&s->stored, &s->want, sizeof(s->stored)) != 0 || !s->stored.bits)
        return false;
    size_t kp = quant_padded(&s->want, s->k), groups = kp / s->want.group;
    if (s->scales) {
        memcpy(q, row, kp);
        memcpy(scales, (const char *)s->scales->data + 2 * groups * i, 2 * groups);
        return true;
    }
    for (size_t g = 0; g < groups; g++, row += 34) { /* Q8_0: an f16 scale, then 32 bytes */
        memcpy(&scales[g], row, 2);
        memcpy(q + 32 * g, row + 2, 32);
    }
    return true;
}

int source_row_i8(struct source *s, size_t i, int8_t *q, uint16_t *scales, struct error *err)
{
    size_t kp = quant_padded(&s->want, s->k), group = s->want.group;

    if (row_as_stored(s, i, q, scales)) {
        unsigned bad = 0;
        for (size_t g = 0; g < kp / group; g++)
            bad |= (scales[g] & 0x7C00u) == 0x7C00u;
        if (bad)
            return error_set(err, ST_FORMAT,
                             "%s: tensor %.*s has a scale that is NaN or infinite in row %zu",
                             gguf_path(s->g), (int)s->values->name.len, s->values->name.data, i);
        return ST_OK;
    }
    int r = source_row_f32(s, i, s->row, err);
    if (r != ST_OK)
        return r;
    s->kernels->hadamard(s->row, s->k, s->want.block_in);
    for (size_t g = 0; g < kp / group; g++)
        if (quantize_span(s, s->row + g * group, q + g * group, &scales[g]) != ST_OK)
            return error_set(err, ST_FORMAT,
                             "%s: tensor %.*s, row %zu: a scale is beyond f16 (weights above 8e6)",
                             gguf_path(s->g), (int)s->values->name.len, s->values->name.data, i);
    s->noise.n_weights += s->k;
    return ST_OK;
}

const struct source_noise *source_noise(const struct source *s)
{
    return &s->noise;
}
