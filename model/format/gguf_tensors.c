#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "model/format/gguf.h"
#include "model/format/gguf_priv.h"

/* Elements and bytes of a block, from ggml's published layouts. No block: known by name only. */
static const struct type_info {
    const char *name;
    uint16_t block, bytes;
} type_infos[] = {
    [GGUF_F32] = {"F32", 1, 4},       [GGUF_F16] = {"F16", 1, 2},
    [GGUF_Q4_0] = {"Q4_0", 32, 18},   [GGUF_Q4_1] = {"Q4_1", 32, 20},
    [GGUF_Q5_0] = {"Q5_0", 32, 22},   [GGUF_Q5_1] = {"Q5_1", 32, 24},
    [GGUF_Q8_0] = {"Q8_0", 32, 34},   [GGUF_Q4_K] = {"Q4_K", 256, 144},
    [GGUF_Q5_K] = {"Q5_K", 256, 176}, [GGUF_Q6_K] = {"Q6_K", 256, 210},
    [GGUF_I8] = {"I8", 1, 1},         [GGUF_BF16] = {"BF16", 1, 2},
    [9] = {.name = "Q8_1"},           [10] = {.name = "Q2_K"},
    [11] = {.name = "Q3_K"},          [15] = {.name = "Q8_K"},
    [16] = {.name = "IQ2_XXS"},       [17] = {.name = "IQ2_XS"},
    [18] = {.name = "IQ3_XXS"},       [19] = {.name = "IQ1_S"},
    [20] = {.name = "IQ4_NL"},        [21] = {.name = "IQ3_S"},
    [22] = {.name = "IQ2_S"},         [23] = {.name = "IQ4_XS"},
    [25] = {.name = "I16"},           [26] = {.name = "I32"},
    [27] = {.name = "I64"},           [28] = {.name = "F64"},
    [29] = {.name = "IQ1_M"},         [34] = {.name = "TQ1_0"},
    [35] = {.name = "TQ2_0"},         [39] = {.name = "MXFP4"},
    [40] = {.name = "NVFP4"},         [41] = {.name = "Q1_0"},
};
#define N_TYPES (sizeof(type_infos) / sizeof(*type_infos))
#define READABLE "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K and I8"

uint32_t gguf_type_block(uint32_t type)
{
    return type < N_TYPES ? type_infos[type].block : 0;
}

const char *gguf_type_name(uint32_t type)
{
    return type < N_TYPES ? type_infos[type].name : NULL;
}

uint64_t gguf_type_bytes(uint32_t type, uint64_t n)
{
    uint32_t block = gguf_type_block(type);
    uint64_t bytes;

    if (block == 0 || n % block || !checked_mul(n / block, type_infos[type].bytes, &bytes))
        return 0;
    return bytes;
}

/* ---- reading ---- */

static int read_dims(const struct gguf *g, struct cursor *c, uint64_t i, struct gguf_tensor *t,
                     struct error *err)
{
    struct gguf_shown shown = gguf_show(t->name);
    const char *name = shown.text;

    if (!cursor_u32(c, &t->n_dims))
        return error_set(err, ST_FORMAT,
                         "%s: the file ends inside the description of tensor %" PRIu64, g->path, i);
    if (t->n_dims == 0 || t->n_dims > LIMIT_GGUF_DIMS)
        return error_set(err, ST_FORMAT,
                         "%s: tensor '%s' claims %" PRIu32 " dimensions; 1 to %u are possible",
                         g->path, name, t->n_dims, LIMIT_GGUF_DIMS);
    t->n_elems = 1;
    for (uint32_t d = 0; d < LIMIT_GGUF_DIMS; d++) {
        t->dims[d] = 1;
        if (d < t->n_dims && !cursor_u64(c, &t->dims[d]))
            return error_set(err, ST_FORMAT,
                             "%s: the file ends inside the description of tensor %" PRIu64, g->path,
                             i);
        if (t->dims[d] == 0)
            return error_set(err, ST_FORMAT, "%s: dimension %" PRIu32 " of tensor '%s' is 0",
                             g->path, d, name);
        if (!checked_mul(t->n_elems, t->dims[d], &t->n_elems))
            return error_set(err, ST_FORMAT,
                             "%s: the dimensions of tensor '%s' multiply beyond 64 bits", g->path,
                             name);
    }
    return ST_OK;
}

static int check_type(const struct gguf *g, struct gguf_tensor *t, struct error *err)
{
    struct gguf_shown shown = gguf_show(t->name);
    const char *type = gguf_type_name(t->type);
    uint32_t block = gguf_type_block(t->type);

    if (block == 0 && g->vocab_only)
        return ST_OK;
    if (block == 0)
        return error_set(err, ST_UNSUPPORTED,
                         "%s: tensor '%s' has type %s (number %" PRIu32
                         "), which is not read; " READABLE " are",
                         g->path, shown.text, type ? type : "unknown", t->type);
    if (t->dims[0] % block)
        return error_set(err, ST_FORMAT,
                         "%s: rows of tensor '%s' have %" PRIu64
                         " elements; %s needs a multiple of %" PRIu32,
                         g->path, shown.text, t->dims[0], type, block);
    t->n_bytes = gguf_type_bytes(t->type, t->n_elems);
    if (t->n_bytes == 0)
        return error_set(err, ST_FORMAT, "%s: the size of tensor '%s' is beyond 64 bits", g->path,
                         shown.text);
    return ST_OK;
}

/* offset counts from start, the first byte after the descriptions. */
static int place(const struct gguf *g, struct gguf_tensor *t, uint64_t start, uint64_t offset,
                 struct error *err)
{
    struct gguf_shown shown = gguf_show(t->name);
    uint64_t first, end;

    if (offset % g->alignment)
        return error_set(err, ST_FORMAT,
                         "%s: tensor '%s' lies at offset %" PRIu64
                         ", which is not a multiple of the alignment %" PRIu32,
                         g->path, shown.text, offset, g->alignment);
    if (!checked_add(start, offset, &first) || !checked_add(first, t->n_bytes, &end))
        return error_set(err, ST_FORMAT,
                         "%s: tensor '%s' lies at offset %" PRIu64 ", beyond 64 bits", g->path,
                         shown.text, offset);
    if (end > g->n_bytes)
        return error_set(err, ST_FORMAT,
                         "%s: tensor '%s' reaches to byte %" PRIu64
                         ", but the file has only %zu (was it cut short?)",
                         g->path, shown.text, end, g->n_bytes);
    t->data = g->bytes + first;
    return ST_OK;
}

static int compare_place(const void *a, const void *b)
{
    const struct gguf_tensor *const *left = a, *const *right = b;
    const uint8_t *l = (*left)->data, *r = (*right)->data;

    return (l > r) - (l < r);
}

static int check_overlap(const struct gguf *g, struct error *err)
{
    int r = ST_OK;
    const struct gguf_tensor **order = malloc((g->n_tensors ? g->n_tensors : 1) * sizeof(*order));

    if (!order)
        return error_set(err, ST_NOMEM, "%s: no memory for %zu tensors", g->path, g->n_tensors);
    for (size_t i = 0; i < g->n_tensors; i++)
        order[i] = &g->tensors[i];
    qsort(order, g->n_tensors, sizeof(*order), compare_place);
    for (size_t i = 1; i < g->n_tensors && r == ST_OK; i++) {
        const struct gguf_tensor *a = order[i - 1], *b = order[i];

        if ((const uint8_t *)b->data < (const uint8_t *)a->data + a->n_bytes)
            r = error_set(err, ST_FORMAT, "%s: the data of tensors '%s' and '%s' overlap", g->path,
                          gguf_show(a->name).text, gguf_show(b->name).text);
    }
    free(order);
    return r;
}

static int place_all(const struct gguf *g, const uint64_t *offsets, uint64_t end, struct error *err)
{
    int r;
    uint64_t start;

    if (!checked_align(end, g->alignment, &start))
        return error_set(err, ST_FORMAT, "%s: the tensor data begin beyond 64 bits", g->path);
    for (size_t i = 0; i < g->n_tensors; i++) {
        if ((r = place(g, &g->tensors[i], start, offsets[i], err)))
            return r;
    }
    return check_overlap(g, err);
}

int gguf_read_tensors(struct gguf *g, struct cursor *c, uint64_t n, struct error *err)
{
    int r = ST_NOMEM;
    uint64_t *offsets = malloc((n ? n : 1) * sizeof(*offsets));

    g->tensors = calloc(n ? n : 1, sizeof(*g->tensors));
    if (!offsets || !g->tensors) {
        error_set(err, ST_NOMEM, "%s: no memory for %" PRIu64 " tensors", g->path, n);
        goto out;
    }
    for (uint64_t i = 0; i < n; i++) {
        struct gguf_tensor *t = &g->tensors[i];

        if ((r = gguf_read_name(g, c, "tensor", i, &t->name, err)) ||
            (r = read_dims(g, c, i, t, err)))
            goto out;
        if (!cursor_u32(c, &t->type) || !cursor_u64(c, &offsets[i])) {
            r = error_set(err, ST_FORMAT,
                          "%s: the file ends inside the description of tensor %" PRIu64, g->path,
                          i);
            goto out;
        }
        if ((r = check_type(g, t, err)))
            goto out;
    }
    g->n_tensors = (size_t)n;
    r = gguf_index_make(g, "tensor", g->tensors, g->n_tensors, sizeof(*g->tensors),
                        &g->tensor_index, err);
    if (r == ST_OK && !g->vocab_only)
        r = place_all(g, offsets, g->n_bytes - c->left, err);
out:
    free(offsets);
    return r;
}
