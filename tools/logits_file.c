#include "tools/logits_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define RANGE 40.0f
#define STEPS 65535u

_Static_assert(sizeof(struct logits_head) == 240 && sizeof(struct logits_head) % 8 == 0,
               "the head has no holes and keeps rows aligned");

struct row {
    float max, step;
    uint16_t at[];
};

size_t logits_row_bytes(size_t n_vocab)
{
    return sizeof(struct row) + (n_vocab + n_vocab % 2) * sizeof(uint16_t);
}

/* A NaN or an infinity comes back as a NaN in every place: the scores show it. */
void logits_encode(const float *logits, size_t n_vocab, void *out)
{
    struct row *row = out;
    float max = -INFINITY, min = INFINITY, sum = 0;
    bool top = true;

    for (size_t i = 0; i < n_vocab; i++) {
        max = logits[i] > max ? logits[i] : max;
        min = logits[i] < min ? logits[i] : min;
        sum += logits[i] * 0.0f;
    }
    min = min < max - RANGE ? max - RANGE : min;
    *row = (struct row){.max = isfinite(sum) ? max : NAN, .step = (max - min) / (float)STEPS};
    for (size_t i = 0; i < n_vocab; i++) {
        float below = row->step > 0 ? (max - logits[i]) / row->step : 0;
        uint32_t steps = below >= (float)STEPS ? STEPS : below > 0 ? (uint32_t)(below + 0.5f) : 0;
        bool is_top = top && logits[i] == max;
        top = top && !is_top;
        row->at[i] = (uint16_t)(STEPS - (is_top ? 0 : steps ? steps : 1));
    }
    if (n_vocab % 2)
        row->at[n_vocab] = 0;
}

void logits_decode(const void *in, size_t n_vocab, float *logits)
{
    const struct row *row = in;

    for (size_t i = 0; i < n_vocab; i++)
        logits[i] = row->max - row->step * (float)(STEPS - row->at[i]);
}

/* ---- reading ---- */

bool logits_is_file(const char *path)
{
    char magic[sizeof(LOGITS_MAGIC) - 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool is = fd >= 0 && read(fd, magic, sizeof(magic)) == (ssize_t)sizeof(magic) &&
              memcmp(magic, LOGITS_MAGIC, sizeof(magic)) == 0;

    if (fd >= 0)
        close(fd);
    return is;
}

static bool is_sha(const char text[SHA256_HEX])
{
    return text[SHA256_HEX - 1] == 0 && sha256_is_hex(text, SHA256_HEX - 1);
}

static int check_head(const struct logits_reader *reader, const char *path, struct error *err)
{
    const struct logits_head *head = &reader->head;
    uint64_t bytes;

    if (head->version != LOGITS_VERSION)
        return error_set(err, ST_UNSUPPORTED,
                         "%s: stored logits of version %" PRIu32 "; version %u is read", path,
                         head->version, LOGITS_VERSION);
    if (!is_sha(head->model_sha256) || !is_sha(head->text_sha256) || !is_sha(head->ids_sha256) ||
        head->n_vocab == 0 || head->n_vocab > UINT32_MAX)
        return error_set(err, ST_FORMAT, "%s: the head of these stored logits is damaged", path);
    if (__builtin_mul_overflow(head->n_rows, logits_row_bytes((size_t)head->n_vocab), &bytes) ||
        bytes != reader->map_bytes - sizeof(*head))
        return error_set(err, ST_FORMAT,
                         "%s: the head promises %" PRIu64 " rows of %" PRIu64
                         " logits, the file has %zu bytes: was it cut short?",
                         path, head->n_rows, head->n_vocab, reader->map_bytes);
    return ST_OK;
}

int logits_read_open(struct logits_reader *reader, const char *path, struct error *err)
{
    struct logits_reader opened = {.map = MAP_FAILED};
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC), r;

    if (fd < 0 || fstat(fd, &st)) {
        r = error_set(err, ST_IO, "%s: cannot be opened: %s", path, strerror(errno));
        goto out;
    }
    opened.map_bytes = (size_t)st.st_size;
    if (opened.map_bytes < sizeof(opened.head)) {
        r = error_set(err, ST_FORMAT, "%s: too short for stored logits", path);
        goto out;
    }
    opened.map = mmap(NULL, opened.map_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (opened.map == MAP_FAILED) {
        r = error_set(err, ST_IO, "%s: cannot be mapped: %s", path, strerror(errno));
        goto out;
    }
    memcpy(&opened.head, opened.map, sizeof(opened.head));
    opened.rows = (const uint8_t *)opened.map + sizeof(opened.head);
    r = check_head(&opened, path, err);
    if (r != ST_OK)
        goto out;
    *reader = opened;
    opened.map = MAP_FAILED;
out:
    if (opened.map != MAP_FAILED)
        munmap(opened.map, opened.map_bytes);
    if (fd >= 0)
        close(fd);
    return r;
}

void logits_read_close(struct logits_reader *reader)
{
    if (reader->map)
        munmap(reader->map, reader->map_bytes);
    reader->map = NULL;
}

/* ---- writing ---- */

int logits_write_open(struct logits_writer *writer, const char *path,
                      const struct logits_head *head, struct error *err)
{
    struct logits_head whole = *head;
    int r = outfile_open(&writer->out, path, err);

    if (r != ST_OK)
        return r;
    memcpy(whole.magic, LOGITS_MAGIC, sizeof(whole.magic));
    whole.version = LOGITS_VERSION;
    writer->row_bytes = logits_row_bytes((size_t)head->n_vocab);
    fwrite(&whole, sizeof(whole), 1, writer->out.file);
    return ST_OK;
}

int logits_write_rows(struct logits_writer *writer, const void *rows, size_t n, struct error *err)
{
    if (fwrite(rows, writer->row_bytes, n, writer->out.file) == n)
        return ST_OK;
    return error_set(err, ST_IO, "%s: cannot be written: %s", writer->out.path, strerror(errno));
}
