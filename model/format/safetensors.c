#include "model/format/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "model/format/checked.h"
#include "model/format/json_file.h"
#include "model/format/map.h"

#define MAX_DIMS 4

/* The format's types and their bytes. */
static const struct dtype {
    const char *name;
    uint8_t bytes;
} dtypes[] = {
    {"F32", 4},  {"F16", 2}, {"BF16", 2},    {"I8", 1},      {"U8", 1},      {"F64", 8},
    {"I16", 2},  {"U16", 2}, {"I32", 4},     {"U32", 4},     {"I64", 8},     {"U64", 8},
    {"BOOL", 1}, {"C64", 8}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1},
};

struct safetensors {
    char *path;
    struct map map; /* of a file that was opened by path */
    json_t *header; /* names lead into it */
    const uint8_t *data;
    uint64_t n_data;
    uint64_t file_bytes;
    struct safetensor *tensors;
    size_t n_tensors;
};

/* What one tensor's entry is read with. */
struct entry {
    const struct safetensors *file;
    const char *name; /* as a sentence may show it */
    const json_t *value;
    struct error *err;
};

static int wrong(const struct entry *e, const char *field, const char *wanted)
{
    return error_set(e->err, ST_FORMAT, "%s: %s of tensor '%s' must be %s", e->file->path, field,
                     e->name, wanted);
}

static int read_dtype(const struct entry *e, struct safetensor *t, uint64_t *ret_each)
{
    const json_t *dtype = json_object_get(e->value, "dtype");

    if (!json_is_string(dtype))
        return wrong(e, "dtype", "a string");
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(*dtypes); i++) {
        if (json_is(dtype, dtypes[i].name)) {
            t->dtype = dtypes[i].name;
            *ret_each = dtypes[i].bytes;
            return ST_OK;
        }
    }
    return error_set(e->err, ST_UNSUPPORTED, "%s: dtype of tensor '%s' is '%s', which is not known",
                     e->file->path, e->name, json_shown(dtype).text);
}

static int read_shape(const struct entry *e, struct safetensor *t)
{
    const json_t *shape = json_object_get(e->value, "shape");
    size_t n = json_array_size(shape);

    if (!json_is_array(shape) || n > MAX_DIMS)
        return wrong(e, "shape", "an array of at most 4 integers");
    t->n_dims = (uint32_t)n;
    t->n_elems = 1;
    for (size_t d = 0; d < MAX_DIMS; d++) {
        const json_t *dim = json_array_get(shape, d);

        t->dims[d] = 1;
        if (d >= n)
            continue;
        if (!json_is_integer(dim) || json_integer_value(dim) < 1)
            return wrong(e, "shape", "an array of integers of 1 or more");
        t->dims[d] = (uint64_t)json_integer_value(dim);
        if (!checked_mul(t->n_elems, t->dims[d], &t->n_elems))
            return wrong(e, "shape", "an array whose product fits 64 bits");
    }
    return ST_OK;
}

static int read_offsets(const struct entry *e, struct safetensor *t)
{
    const json_t *offsets = json_object_get(e->value, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    json_int_t first = json_integer_value(begin), last = json_integer_value(end);

    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        first < 0 || last < first)
        return wrong(e, "data_offsets", "[begin, end], two integers with 0 <= begin <= end");
    if ((uint64_t)(last - first) != t->n_bytes)
        return error_set(e->err, ST_FORMAT,
                         "%s: data_offsets of tensor '%s' hold %" PRIu64
                         " bytes; its dtype and shape need %" PRIu64,
                         e->file->path, e->name, (uint64_t)(last - first), t->n_bytes);
    if ((uint64_t)last > e->file->n_data)
        return error_set(e->err, ST_FORMAT,
                         "%s: tensor '%s' reaches to byte %" PRIu64
                         " of the data, but the file has only %" PRIu64 " (was it cut short?)",
                         e->file->path, e->name, (uint64_t)last, e->file->n_data);
    t->offset = (uint64_t)first;
    t->data = e->file->data + first;
    return ST_OK;
}

static int read_tensor(const struct safetensors *s, const char *name, const json_t *value,
                       struct safetensor *t, struct error *err)
{
    const struct gguf_shown shown = gguf_show((struct gguf_str){name, strlen(name)});
    const struct entry e = {s, shown.text, value, err};
    uint64_t each = 1;
    int r;

    if (!json_is_object(value))
        return error_set(err, ST_FORMAT, "%s: the entry of tensor '%s' must be an object", s->path,
                         shown.text);
    if (!*name || strlen(name) > LIMIT_GGUF_NAME)
        return error_set(err, ST_FORMAT,
                         "%s: the name of tensor '%s' has %zu bytes; 1 to %u are possible", s->path,
                         shown.text, strlen(name), LIMIT_GGUF_NAME);
    t->name = name;
    if ((r = read_dtype(&e, t, &each)) || (r = read_shape(&e, t)))
        return r;
    if (!checked_mul(t->n_elems, each, &t->n_bytes))
        return wrong(&e, "shape", "an array whose bytes fit 64 bits");
    return read_offsets(&e, t);
}

static int compare_offset(const void *a, const void *b)
{
    const struct safetensor *l = a, *r = b;

    return (l->offset > r->offset) - (l->offset < r->offset);
}

/* Sorted by offset, each tensor begins where the one before it ends, and the last ends the file. */
static int check_cover(const struct safetensors *s, struct error *err)
{
    uint64_t end = 0;

    for (size_t i = 0; i < s->n_tensors; i++) {
        const struct safetensor *t = &s->tensors[i];

        if (t->offset != end)
            return error_set(err, ST_FORMAT,
                             "%s: tensor '%s' begins at byte %" PRIu64
                             " of the data, where the one before it ends at %" PRIu64
                             "; neither holes nor overlaps are allowed",
                             s->path, gguf_show((struct gguf_str){t->name, strlen(t->name)}).text,
                             t->offset, end);
        end += t->n_bytes;
    }
    if (end != s->n_data)
        return error_set(err, ST_FORMAT,
                         "%s: the tensors end at byte %" PRIu64
                         " of the data, the file at %" PRIu64,
                         s->path, end, s->n_data);
    return ST_OK;
}

static int read_tensors(struct safetensors *s, struct error *err)
{
    size_t n = json_object_size(s->header);
    const char *name;
    json_t *value;
    int r;

    if (n > LIMIT_GGUF_TENSORS)
        return error_set(err, ST_FORMAT, "%s: the header has %zu tensors; at most %u are read",
                         s->path, n, LIMIT_GGUF_TENSORS);
    s->tensors = calloc(n + 1, sizeof(*s->tensors));
    if (!s->tensors)
        return error_set(err, ST_NOMEM, "%s: no memory for %zu tensors", s->path, n);
    json_object_foreach(s->header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        if ((r = read_tensor(s, name, value, &s->tensors[s->n_tensors], err)))
            return r;
        s->n_tensors++;
    }
    qsort(s->tensors, s->n_tensors, sizeof(*s->tensors), compare_offset);
    return check_cover(s, err);
}

static int read_all(struct safetensors *s, const uint8_t *bytes, size_t n_bytes, struct error *err)
{
    struct cursor c = {bytes, n_bytes};
    const uint8_t *text;
    uint64_t n_text;
    int r;

    s->file_bytes = n_bytes;
    if (!cursor_u64(&c, &n_text))
        return error_set(err, ST_FORMAT,
                         "%s has only %zu bytes; a safetensors file begins with the 8 of its "
                         "header's length",
                         s->path, n_bytes);
    if (n_text < 2 || n_text > LIMIT_SAFETENSORS_HEADER)
        return error_set(err, ST_FORMAT,
                         "%s is not a safetensors file: its header would have %" PRIu64
                         " bytes; 2 to %u are possible",
                         s->path, n_text, LIMIT_SAFETENSORS_HEADER);
    if (!cursor_take(&c, n_text, &text))
        return error_set(err, ST_FORMAT,
                         "%s: the header claims %" PRIu64 " bytes, but the file has only %zu more",
                         s->path, n_text, c.left);
    if (*text != '{')
        return error_set(err, ST_FORMAT,
                         "%s is not a safetensors file: its header begins with '%s'", s->path,
                         gguf_show((struct gguf_str){(const char *)text, 1}).text);
    if ((r = json_file_parse(s->path, (const char *)text, (size_t)n_text, &s->header, err)))
        return r;
    s->data = c.at;
    s->n_data = c.left;
    return read_tensors(s, err);
}

int safetensors_open_memory(const char *name, const void *data, size_t len,
                            struct safetensors **ret_file, struct error *err)
{
    struct safetensors *s = calloc(1, sizeof(*s));
    int r;

    if (s)
        s->path = strdup(name);
    if (!s || !s->path)
        r = error_set(err, ST_NOMEM, "%s: no memory to open it", name);
    else
        r = read_all(s, data, len, err);
    if (r == ST_OK)
        *ret_file = s;
    else
        safetensors_close(s);
    return r;
}

int safetensors_open(const char *path, struct safetensors **ret_file, struct error *err)
{
    struct map map;
    int r = map_open(path, "a safetensors file", &map, err);

    if (r)
        return r;
    r = safetensors_open_memory(path, map.bytes, map.n_bytes, ret_file, err);
    if (r == ST_OK)
        (*ret_file)->map = map;
    else
        map_close(&map);
    return r;
}

void safetensors_close(struct safetensors *s)
{
    if (!s)
        return;
    json_decref(s->header);
    map_close(&s->map);
    free(s->tensors);
    free(s->path);
    free(s);
}

uint64_t safetensors_file_bytes(const struct safetensors *s)
{
    return s->file_bytes;
}

size_t safetensors_n(const struct safetensors *s)
{
    return s->n_tensors;
}

const struct safetensor *safetensors_at(const struct safetensors *s, size_t i)
{
    return &s->tensors[i];
}
