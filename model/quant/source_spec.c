/* source_spec.c - what a file says of how a matrix is stored: the names and numbers of source.h. */
#include <stdio.h>
#include <string.h>

#include "model/kernels/kernels.h"
#include "model/quant/source.h"

const char *const source_linear_keys[SOURCE_LINEAR_KEYS] = {
    "octet.linear.bits",      "octet.linear.group",     "octet.linear.block_in",
    "octet.linear.block_out", "octet.linear.act_group", "octet.linear.scale_f32",
    "octet.linear.zero",      "octet.linear.act_zero",  "octet.linear.act_static"};

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
    snprintf(to->act, sizeof(to->act), "%.*s.octet_act", n, name);
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
        *ret_spec = t->type == GGUF_Q8_0  ? (struct quant_spec){.bits = 8, .group = 32}
                    : t->type == GGUF_F16 ? (struct quant_spec){.bits = 16}
                    : t->type == GGUF_F32 || t->type == GGUF_BF16 ? (struct quant_spec){.bits = 32}
                                                                  : (struct quant_spec){0};
        return ST_OK;
    }
    if (source_octet_names(name, &octet) != ST_OK || !gguf_find(g, octet.q))
        return error_set(err, ST_NOTFOUND, "%s: the tensor %s is missing", gguf_path(g), name);
    return octet_spec(g, name, ret_spec, err);
}
