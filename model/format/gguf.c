#include "model/format/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "model/format/gguf_priv.h"
#include "model/format/hf.h"

/* The least bytes of a key (length, one letter, type, one-byte value) and of a tensor description
 * (length, one letter, rank, one dimension, type, offset): they bound how many can be real. */
#define KEY_BYTES_MIN (8 + 1 + 4 + 1)
#define TENSOR_BYTES_MIN (8 + 1 + 4 + 8 + 4 + 8)

/* ---- names ---- */

struct gguf_shown gguf_show(struct gguf_str str)
{
    struct gguf_shown shown;
    size_t n = str.len;

    if (n >= sizeof(shown.text))
        n = sizeof(shown.text) - 1;
    for (size_t i = 0; i < n; i++)
        shown.text[i] = str.data[i] >= ' ' && str.data[i] <= '~' ? str.data[i] : '?';
    shown.text[n] = '\0';
    if (n < str.len)
        memcpy(shown.text + n - 3, "...", 3);
    return shown;
}

int gguf_read_name(const struct gguf *g, struct cursor *c, const char *what, uint64_t i,
                   struct gguf_str *ret_name, struct error *err)
{
    uint64_t len;
    const uint8_t *name;

    if (!cursor_u64(c, &len))
        return error_set(err, ST_FORMAT, "%s: the file ends before the name of %s %" PRIu64,
                         g->path, what, i);
    if (len == 0 || len > LIMIT_GGUF_NAME)
        return error_set(err, ST_FORMAT,
                         "%s: the name of %s %" PRIu64 " claims %" PRIu64
                         " bytes; 1 to %u are possible",
                         g->path, what, i, len, LIMIT_GGUF_NAME);
    if (!cursor_take(c, len, &name))
        return error_set(err, ST_FORMAT, "%s: the file ends inside the name of %s %" PRIu64,
                         g->path, what, i);
    if (memchr(name, 0, len))
        return error_set(err, ST_FORMAT, "%s: the name of %s %" PRIu64 " holds a NUL byte", g->path,
                         what, i);
    *ret_name = (struct gguf_str){(const char *)name, (size_t)len};
    return ST_OK;
}

static int compare_str(const struct gguf_str *a, const struct gguf_str *b)
{
    int order = memcmp(a->data, b->data, a->len < b->len ? a->len : b->len);

    return order ? order : (a->len > b->len) - (a->len < b->len);
}

static int compare_name(const void *a, const void *b)
{
    return compare_str(*(const struct gguf_str *const *)a, *(const struct gguf_str *const *)b);
}

int gguf_index_make(const struct gguf *g, const char *what, const void *items, size_t n,
                    size_t stride, struct gguf_index *ret_index, struct error *err)
{
    const struct gguf_str **names = malloc((n ? n : 1) * sizeof(*names));

    if (!names)
        return error_set(err, ST_NOMEM, "%s: no memory for %zu names", g->path, n);
    for (size_t i = 0; i < n; i++)
        names[i] = (const void *)((const char *)items + i * stride);
    qsort(names, n, sizeof(*names), compare_name);
    for (size_t i = 1; i < n; i++) {
        if (compare_str(names[i - 1], names[i]) == 0) {
            int r = error_set(err, ST_FORMAT, "%s: there are two %ss named '%s'", g->path, what,
                              gguf_show(*names[i]).text);
            free(names);
            return r;
        }
    }
    *ret_index = (struct gguf_index){names, n};
    return ST_OK;
}

const void *gguf_index_find(const struct gguf_index *index, const char *name)
{
    const struct gguf_str wanted = {name, strlen(name)}, *key = &wanted;
    const struct gguf_str **found = NULL;

    if (index->n)
        found = bsearch(&key, index->names, index->n, sizeof(*index->names), compare_name);
    return found ? *found : NULL;
}

/* ---- the header ---- */

static int check_magic(const struct gguf *g, struct cursor *c, struct error *err)
{
    const uint8_t *magic;
    uint32_t version;

    if (g->n_bytes == 0)
        return error_set(err, ST_FORMAT, "%s is empty; a GGUF file is expected", g->path);
    if (!cursor_take(c, 4, &magic))
        return error_set(err, ST_FORMAT, "%s has only %zu bytes; a GGUF file is expected", g->path,
                         g->n_bytes);
    if (!memcmp(magic, "FUGG", 4))
        return error_set(err, ST_UNSUPPORTED,
                         "%s is a big-endian GGUF file; only little-endian ones are read", g->path);
    if (!memcmp(magic, "lmgg", 4) || !memcmp(magic, "tjgg", 4) || !memcmp(magic, "fmgg", 4))
        return error_set(err, ST_UNSUPPORTED,
                         "%s is a GGML file from before GGUF; convert it to GGUF version 2 or 3",
                         g->path);
    if (memcmp(magic, "GGUF", 4))
        return error_set(
            err, ST_FORMAT,
            "%s is not a GGUF file: it begins with '%s' (%02x %02x %02x %02x), not 'GGUF'", g->path,
            gguf_show((struct gguf_str){(const char *)magic, 4}).text, magic[0], magic[1], magic[2],
            magic[3]);
    if (!cursor_u32(c, &version))
        return error_set(err, ST_FORMAT, "%s: the file ends inside its header", g->path);
    if (version && (version & 0xffffff) == 0)
        return error_set(
            err, ST_UNSUPPORTED,
            "%s is a big-endian GGUF file (version %u); only little-endian ones are read", g->path,
            version >> 24);
    if (version != 2 && version != 3)
        return error_set(err, ST_UNSUPPORTED,
                         "%s is of GGUF version %" PRIu32 "; versions 2 and 3 are read", g->path,
                         version);
    return ST_OK;
}

static int check_count(const struct gguf *g, const char *what, uint64_t n, uint64_t limit,
                       struct error *err)
{
    if (n > limit)
        return error_set(err, ST_FORMAT,
                         "%s: the header claims %" PRIu64 " %s; at most %" PRIu64 " are read",
                         g->path, n, what, limit);
    return ST_OK;
}

static int check_room(const struct gguf *g, const char *what, uint64_t n, uint64_t each,
                      struct error *err)
{
    if (n > g->n_bytes / each)
        return error_set(err, ST_FORMAT,
                         "%s: the header claims %" PRIu64 " %s, more than %zu bytes can hold",
                         g->path, n, what, g->n_bytes);
    return ST_OK;
}

static int check_alignment(struct gguf *g, struct error *err)
{
    uint32_t value;
    int r = gguf_get_u32(g, GGUF_ALIGNMENT_KEY, &value, err);

    g->alignment = GGUF_DEFAULT_ALIGNMENT;
    if (r == ST_NOTFOUND)
        return ST_OK;
    if (r)
        return r;
    if (value == 0 || (value & (value - 1)) || value > GGUF_MAX_ALIGNMENT)
        return error_set(err, ST_FORMAT,
                         "%s: key '%s' is %" PRIu32 "; a power of two up to %u is expected",
                         g->path, GGUF_ALIGNMENT_KEY, value, GGUF_MAX_ALIGNMENT);
    g->alignment = value;
    return ST_OK;
}

static int check_split(const struct gguf *g, struct error *err)
{
    uint64_t n_parts;
    int r = gguf_get_u64(g, "split.count", &n_parts, err);

    if (r == ST_NOTFOUND)
        return ST_OK;
    if (r)
        return r;
    if (n_parts > 1)
        return error_set(err, ST_UNSUPPORTED,
                         "%s is one of %" PRIu64
                         " parts (key 'split.count'); files in several parts are not read, "
                         "merge them into one",
                         g->path, n_parts);
    return ST_OK;
}

static int read_all(struct gguf *g, struct error *err)
{
    struct cursor c = {g->bytes, g->n_bytes};
    uint64_t n_tensors, n_keys;
    int r = check_magic(g, &c, err);

    if (r)
        return r;
    if (!cursor_u64(&c, &n_tensors) || !cursor_u64(&c, &n_keys))
        return error_set(err, ST_FORMAT, "%s: the file ends inside its header", g->path);
    if ((r = check_count(g, "tensors", n_tensors, LIMIT_GGUF_TENSORS, err)) ||
        (r = check_count(g, "keys", n_keys, LIMIT_GGUF_KEYS, err)) ||
        (r = check_room(g, "tensors", n_tensors, TENSOR_BYTES_MIN, err)) ||
        (r = check_room(g, "keys", n_keys, KEY_BYTES_MIN, err)) ||
        (r = gguf_read_keys(g, &c, n_keys, err)) || (r = check_alignment(g, err)) ||
        (r = check_split(g, err)))
        return r;
    return gguf_read_tensors(g, &c, n_tensors, err);
}

/* ---- open and close ---- */

static int open_bytes(const char *name, const uint8_t *bytes, size_t n_bytes,
                      const struct gguf_opts *opts, struct gguf **ret_gguf, struct error *err)
{
    int r = ST_NOMEM;
    struct gguf *g = calloc(1, sizeof(*g));

    if (g)
        g->path = strdup(name);
    if (!g || !g->path) {
        error_set(err, ST_NOMEM, "%s: no memory to open it", name);
        goto out;
    }
    g->bytes = bytes;
    g->n_bytes = n_bytes;
    g->vocab_only = opts && opts->vocab_only;
    r = read_all(g, err);
    if (r)
        goto out;
    *ret_gguf = g;
    g = NULL;
out:
    gguf_close(g);
    return r;
}

int gguf_open(const char *path, const struct gguf_opts *opts, struct gguf **ret_gguf,
              struct error *err)
{
    struct map map;
    int r;

    if (map_is_folder(path))
        return hf_open(path, opts, ret_gguf, err);
    if ((r = map_open(path, "a GGUF file", &map, err)))
        return r;
    r = open_bytes(path, map.bytes, map.n_bytes, opts, ret_gguf, err);
    if (r == ST_OK)
        (*ret_gguf)->map = map;
    else
        map_close(&map);
    return r;
}

int gguf_open_memory(const char *name, const void *data, size_t len, const struct gguf_opts *opts,
                     struct gguf **ret_gguf, struct error *err)
{
    return open_bytes(name, data, len, opts, ret_gguf, err);
}

void gguf_close(struct gguf *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_keys; i++)
        free(g->keys[i].strs);
    free(g->keys);
    free(g->key_index.names);
    free(g->tensors);
    free(g->tensor_index.names);
    free(g->path);
    map_close(&g->map);
    hf_parts_free(g->parts);
    free(g);
}

/* ---- facts ---- */

void gguf_release(const struct gguf *gguf, const struct gguf_tensor *t)
{
    map_release(&gguf->map, t->data, t->n_bytes);
}

const char *gguf_path(const struct gguf *g)
{
    return g->path;
}

uint64_t gguf_file_bytes(const struct gguf *g)
{
    return g->n_bytes;
}

uint32_t gguf_alignment(const struct gguf *g)
{
    return g->alignment;
}

size_t gguf_n_tensors(const struct gguf *g)
{
    return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i)
{
    return &g->tensors[i];
}

const struct gguf_tensor *gguf_find(const struct gguf *g, const char *name)
{
    return gguf_index_find(&g->tensor_index, name);
}

size_t gguf_n_keys(const struct gguf *g)
{
    return g->n_keys;
}

const struct gguf_kv *gguf_kv_at(const struct gguf *g, size_t i)
{
    return &g->keys[i];
}

const struct gguf_kv *gguf_key(const struct gguf *g, const char *key)
{
    return gguf_index_find(&g->key_index, key);
}
