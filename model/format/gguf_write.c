#include "model/format/gguf_write.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/limits.h"
#include "model/format/dequant.h"
#include "model/format/gguf_priv.h"

/* Names tried for the temporary file before giving up: leftovers of crashed runs are in the way. */
#define TRIES 100

struct bytes {
    uint8_t *data;
    size_t n, room;
};

/* Phases: keys and declarations gather in memory; the first data (or the commit) writes them. */
struct gguf_writer {
    char *path, *temp_path;
    FILE *file;
    struct bytes keys, tensors;
    uint64_t n_keys, n_tensors;
    uint64_t *tensor_bytes; /* of each declared tensor */
    size_t tensor_room;
    uint32_t alignment;
    uint64_t offset; /* of the next declared tensor's data */
    bool header_written;
    uint64_t current, current_bytes; /* tensor whose data come now, and how many came */
};

/* ---- bytes in memory ---- */

static int grow(struct bytes *b, size_t n)
{
    size_t room = b->room ? b->room : 4096;
    uint8_t *data;

    if (n <= b->room - b->n)
        return ST_OK;
    while (room - b->n < n) {
        if (room > SIZE_MAX / 2)
            return ST_NOMEM;
        room *= 2;
    }
    data = realloc(b->data, room);
    if (!data)
        return ST_NOMEM;
    b->data = data;
    b->room = room;
    return ST_OK;
}

static int put(struct bytes *b, const void *data, size_t n)
{
    if (grow(b, n))
        return ST_NOMEM;
    if (n)
        memcpy(b->data + b->n, data, n);
    b->n += n;
    return ST_OK;
}

static int put_u32(struct bytes *b, uint32_t value)
{
    return put(b, &value, sizeof(value));
}

static int put_u64(struct bytes *b, uint64_t value)
{
    return put(b, &value, sizeof(value));
}

static int put_str(struct bytes *b, const char *data, size_t len)
{
    return put_u64(b, len) || put(b, data, len) ? ST_NOMEM : ST_OK;
}

/* ---- metadata ---- */

static int put_key(struct gguf_writer *w, const char *key, enum gguf_value type)
{
    assert(!w->header_written);
    w->n_keys++;
    return put_str(&w->keys, key, strlen(key)) || put_u32(&w->keys, type) ? ST_NOMEM : ST_OK;
}

static int put_scalar(struct gguf_writer *w, const char *key, enum gguf_value type,
                      const void *value, size_t n)
{
    return put_key(w, key, type) || put(&w->keys, value, n) ? ST_NOMEM : ST_OK;
}

static int put_array(struct gguf_writer *w, const char *key, enum gguf_value elem, size_t n)
{
    return put_key(w, key, GGUF_V_ARRAY) || put_u32(&w->keys, elem) || put_u64(&w->keys, n)
               ? ST_NOMEM
               : ST_OK;
}

int gguf_write_u32(struct gguf_writer *w, const char *key, uint32_t value)
{
    return put_scalar(w, key, GGUF_V_U32, &value, sizeof(value));
}

int gguf_write_u64(struct gguf_writer *w, const char *key, uint64_t value)
{
    return put_scalar(w, key, GGUF_V_U64, &value, sizeof(value));
}

int gguf_write_f64(struct gguf_writer *w, const char *key, double value)
{
    return put_scalar(w, key, GGUF_V_F64, &value, sizeof(value));
}

int gguf_write_f32(struct gguf_writer *w, const char *key, float value)
{
    return put_scalar(w, key, GGUF_V_F32, &value, sizeof(value));
}

int gguf_write_bool(struct gguf_writer *w, const char *key, bool value)
{
    uint8_t byte = value;

    return put_scalar(w, key, GGUF_V_BOOL, &byte, sizeof(byte));
}

int gguf_write_str(struct gguf_writer *w, const char *key, const char *value, size_t len)
{
    return put_key(w, key, GGUF_V_STRING) || put_str(&w->keys, value, len) ? ST_NOMEM : ST_OK;
}

int gguf_write_u32s(struct gguf_writer *w, const char *key, const uint32_t *values, size_t n)
{
    return put_array(w, key, GGUF_V_U32, n) || put(&w->keys, values, n * sizeof(*values)) ? ST_NOMEM
                                                                                          : ST_OK;
}

int gguf_write_i32s(struct gguf_writer *w, const char *key, const int32_t *values, size_t n)
{
    return put_array(w, key, GGUF_V_I32, n) || put(&w->keys, values, n * sizeof(*values)) ? ST_NOMEM
                                                                                          : ST_OK;
}

int gguf_write_strs(struct gguf_writer *w, const char *key, const struct gguf_str *values, size_t n)
{
    int r = put_array(w, key, GGUF_V_STRING, n);

    for (size_t i = 0; i < n && r == ST_OK; i++)
        r = put_str(&w->keys, values[i].data, values[i].len);
    return r;
}

int gguf_write_copy(struct gguf_writer *w, const struct gguf_kv *kv)
{
    assert(!w->header_written);
    if (kv->name.len == strlen(GGUF_ALIGNMENT_KEY) &&
        !memcmp(kv->name.data, GGUF_ALIGNMENT_KEY, kv->name.len))
        return ST_OK;
    w->n_keys++;
    return put(&w->keys, kv->entry, kv->entry_bytes);
}

/* ---- tensors ---- */

static uint64_t padding(const struct gguf_writer *w, uint64_t n_bytes)
{
    return -n_bytes % w->alignment;
}

int gguf_write_alignment(struct gguf_writer *w, uint32_t alignment)
{
    assert(w->n_tensors == 0 && alignment && alignment <= GGUF_MAX_ALIGNMENT &&
           (alignment & (alignment - 1)) == 0);
    w->alignment = alignment;
    if (alignment == GGUF_DEFAULT_ALIGNMENT)
        return ST_OK;
    return gguf_write_u32(w, GGUF_ALIGNMENT_KEY, alignment);
}

static int remember_bytes(struct gguf_writer *w, uint64_t n_bytes)
{
    if (w->n_tensors == w->tensor_room) {
        size_t room = w->tensor_room ? 2 * w->tensor_room : 64;
        uint64_t *grown = realloc(w->tensor_bytes, room * sizeof(*grown));

        if (!grown)
            return ST_NOMEM;
        w->tensor_bytes = grown;
        w->tensor_room = room;
    }
    w->tensor_bytes[w->n_tensors++] = n_bytes;
    return ST_OK;
}

int gguf_write_tensor(struct gguf_writer *w, const char *name, uint32_t type, const uint64_t *dims,
                      uint32_t n_dims)
{
    uint64_t n_elems = 1, n_bytes;

    assert(!w->header_written && n_dims > 0 && n_dims <= LIMIT_GGUF_DIMS);
    for (uint32_t d = 0; d < n_dims; d++)
        n_elems *= dims[d];
    n_bytes = gguf_type_bytes(type, n_elems);
    assert(n_bytes > 0 && dims[0] % gguf_type_block(type) == 0);
    if (remember_bytes(w, n_bytes) || put_str(&w->tensors, name, strlen(name)) ||
        put_u32(&w->tensors, n_dims) || put(&w->tensors, dims, n_dims * sizeof(*dims)) ||
        put_u32(&w->tensors, type) || put_u64(&w->tensors, w->offset))
        return ST_NOMEM;
    w->offset += n_bytes + padding(w, n_bytes);
    return ST_OK;
}

/* ---- the file ---- */

static int cannot_write(const struct gguf_writer *w, struct error *err)
{
    return error_set(err, ST_IO, "cannot write %s: %s", w->path, strerror(errno));
}

static int write_bytes(struct gguf_writer *w, const void *data, size_t n, struct error *err)
{
    return n == 0 || fwrite(data, 1, n, w->file) == n ? ST_OK : cannot_write(w, err);
}

static int write_padding(struct gguf_writer *w, uint64_t after, struct error *err)
{
    static const uint8_t zeros[4096];
    int r = ST_OK;

    for (uint64_t left = padding(w, after), n; left && r == ST_OK; left -= n) {
        n = left < sizeof(zeros) ? left : sizeof(zeros);
        r = write_bytes(w, zeros, (size_t)n, err);
    }
    return r;
}

static int write_header(struct gguf_writer *w, struct error *err)
{
    struct {
        char magic[4];
        uint32_t version;
        uint64_t n_tensors, n_keys;
    } head = {{'G', 'G', 'U', 'F'}, 3, w->n_tensors, w->n_keys};
    int r;

    if (w->header_written)
        return ST_OK;
    w->header_written = true;
    if ((r = write_bytes(w, &head, sizeof(head), err)) ||
        (r = write_bytes(w, w->keys.data, w->keys.n, err)) ||
        (r = write_bytes(w, w->tensors.data, w->tensors.n, err)))
        return r;
    return write_padding(w, sizeof(head) + w->keys.n + w->tensors.n, err);
}

int gguf_write_data(struct gguf_writer *w, const void *data, size_t n_bytes, struct error *err)
{
    int r = write_header(w, err);

    if (r || n_bytes == 0)
        return r;
    assert(w->current < w->n_tensors);
    assert(n_bytes <= w->tensor_bytes[w->current] - w->current_bytes);
    r = write_bytes(w, data, n_bytes, err);
    if (r)
        return r;
    w->current_bytes += n_bytes;
    if (w->current_bytes < w->tensor_bytes[w->current])
        return ST_OK;
    w->current_bytes = 0;
    return write_padding(w, w->tensor_bytes[w->current++], err);
}

int gguf_write_floats(struct gguf_writer *w, float *x, size_t n, bool half, struct error *err)
{
    uint16_t *to = (uint16_t *)(void *)x;

    for (size_t i = 0; half && i < n; i++) {
        float value;
        memcpy(&value, &x[i], sizeof(value));
        uint16_t h = f32_to_f16(value);
        memcpy(&to[i], &h, sizeof(h));
    }
    return gguf_write_data(w, x, n * (half ? sizeof(*to) : sizeof(*x)), err);
}

/* Our own O_EXCL instead of mkstemp, so that the file gets the usual permissions. */
static int make_temp(struct gguf_writer *w, mode_t mode, struct error *err)
{
    size_t room = strlen(w->path) + 64;
    int fd = -1;

    w->temp_path = malloc(room);
    if (!w->temp_path)
        return error_set(err, ST_NOMEM, "no memory to write %s", w->path);
    for (int i = 0; i < TRIES && fd < 0 && (i == 0 || errno == EEXIST); i++) {
        snprintf(w->temp_path, room, "%s.%ld-%d.tmp", w->path, (long)getpid(), i);
        fd = open(w->temp_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    }
    if (fd >= 0 && (mode == 0 || fchmod(fd, mode) == 0))
        w->file = fdopen(fd, "wb");
    if (w->file)
        return ST_OK;
    error_set(err, ST_IO, "cannot write %s: %s", w->path, strerror(errno));
    if (fd >= 0) {
        unlink(w->temp_path);
        close(fd);
    }
    return ST_IO;
}

int gguf_write_open(const char *path, struct gguf_writer **ret_writer, struct error *err)
{
    int r;
    struct stat st;
    struct gguf_writer *w = calloc(1, sizeof(*w));

    if (w) {
        w->path = strdup(path);
        w->alignment = GGUF_DEFAULT_ALIGNMENT;
    }
    if (!w || !w->path) {
        r = error_set(err, ST_NOMEM, "no memory to write %s", path);
        goto out;
    }
    /* The rename at the end would replace a device, or fail on a folder after all the work. */
    bool there = stat(path, &st) == 0;
    if (there && !S_ISREG(st.st_mode)) {
        r = error_set(err, ST_IO, "cannot write %s: it exists and is not a regular file", path);
        goto out;
    }
    r = make_temp(w, there ? st.st_mode & 0777 : 0, err);
    if (r)
        goto out;
    *ret_writer = w;
    w = NULL;
out:
    gguf_write_abort(w);
    return r;
}

static void writer_free(struct gguf_writer *w)
{
    free(w->path);
    free(w->temp_path);
    free(w->keys.data);
    free(w->tensors.data);
    free(w->tensor_bytes);
    free(w);
}

void gguf_write_abort(struct gguf_writer *w)
{
    if (!w)
        return;
    if (w->file) {
        fclose(w->file);
        unlink(w->temp_path);
    }
    writer_free(w);
}

/* So that the rename itself survives a power cut. Some file systems can't sync a folder (EINVAL).
 */
static int sync_folder(const struct gguf_writer *w, struct error *err)
{
    const char *slash = strrchr(w->path, '/');
    char *folder = slash ? strndup(w->path, (size_t)(slash - w->path) + 1) : strdup(".");
    int fd = -1, r = ST_OK;

    if (!folder)
        return error_set(err, ST_NOMEM, "no memory to write %s", w->path);
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || (fsync(fd) && errno != EINVAL))
        r = error_set(err, ST_IO, "wrote %s, but cannot sync its folder: %s", w->path,
                      strerror(errno));
    if (fd >= 0)
        close(fd);
    free(folder);
    return r;
}

int gguf_write_commit(struct gguf_writer *w, struct error *err)
{
    int r = write_header(w, err);

    if (r)
        goto out;
    assert(w->current == w->n_tensors);
    if (fflush(w->file) || fsync(fileno(w->file)) || rename(w->temp_path, w->path)) {
        r = cannot_write(w, err);
        goto out;
    }
    fclose(w->file); /* nothing is left in it: synced */
    w->file = NULL;
    r = sync_folder(w, err);
out:
    gguf_write_abort(w);
    return r;
}

/* ---- keys alone ---- */

int gguf_write_open_keys(struct gguf_writer **ret_writer)
{
    struct gguf_writer *w = calloc(1, sizeof(*w));

    if (!w)
        return ST_NOMEM;
    *ret_writer = w;
    return ST_OK;
}

int gguf_write_commit_keys(struct gguf_writer *w, uint8_t **ret_bytes, size_t *ret_n)
{
    struct bytes file = {0};
    int r = ST_OK;

    assert(!w->path && w->n_tensors == 0);
    if (put(&file, "GGUF", 4) || put_u32(&file, 3) || put_u64(&file, 0) ||
        put_u64(&file, w->n_keys) || put(&file, w->keys.data, w->keys.n)) {
        free(file.data);
        r = ST_NOMEM;
    } else {
        *ret_bytes = file.data;
        *ret_n = file.n;
    }
    gguf_write_abort(w);
    return r;
}
