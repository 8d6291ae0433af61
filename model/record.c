/* record.c - what was measured of a model, in and out of its file. Behind model_record and
 * model_digest of model.h. */
#include "model/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/format/digest.h"
#include "model/format/gguf_write.h"
#include "model/model.h"

#define PREFIX "octet.quality."
#define COPY_BYTES (UINT64_C(4) << 20)

struct key {
    char text[48];
};

static struct key key_of(const char *name)
{
    struct key key;

    snprintf(key.text, sizeof(key.text), PREFIX "%s", name);
    return key;
}

/* ---- reading ---- */

static int not_possible(const struct gguf *g, const char *key, const char *wanted,
                        struct error *err)
{
    return error_set(err, ST_FORMAT, "%s: key '%s' must be %s", gguf_path(g), key, wanted);
}

static int read_number(const struct gguf *g, const struct quality_number *number,
                       struct quality *quality, struct error *err)
{
    struct key key = key_of(number->name);
    double value;
    int r = gguf_get_f64(g, key.text, &value, err);

    if (r != ST_OK)
        return r;
    if (!(value >= 0 && value <= number->max))
        return not_possible(g, key.text, number->max < 2 ? "from 0 to 1" : "0 or more", err);
    memcpy((char *)quality + number->offset, &value, sizeof(value));
    return ST_OK;
}

static int read_text(const struct gguf *g, const struct quality_text *text, struct quality *quality,
                     struct error *err)
{
    struct key key = key_of(text->name);
    struct gguf_str s;
    int r = gguf_get_str(g, key.text, &s, err);

    if (r != ST_OK)
        return r;
    if (text->sha && !sha256_is_hex(s.data, s.len))
        return not_possible(g, key.text, "64 lower-case hexadecimal digits", err);
    if (s.len >= text->size || memchr(s.data, 0, s.len))
        return not_possible(g, key.text, "a short text", err);
    memcpy((char *)quality + text->offset, s.data, s.len);
    return ST_OK;
}

static int read_all(const struct gguf *g, struct quality *quality, struct error *err)
{
    int r = gguf_get_u64(g, PREFIX "tokens", &quality->tokens, err);

    if (r == ST_OK)
        r = gguf_get_u64(g, PREFIX "chunks", &quality->chunks, err);
    if (r == ST_OK)
        r = gguf_get_u32(g, PREFIX "ctx", &quality->ctx, err);
    for (size_t i = 0; i < QUALITY_NUMBERS && r == ST_OK; i++)
        r = read_number(g, &QUALITY_NUMBER[i], quality, err);
    for (size_t i = 0; i < QUALITY_TEXTS && r == ST_OK; i++)
        r = read_text(g, &QUALITY_TEXT[i], quality, err);
    return r;
}

static bool is_record(const struct gguf_kv *kv)
{
    struct gguf_str name = gguf_kv_name(kv);

    return name.len >= strlen(PREFIX) && memcmp(name.data, PREFIX, strlen(PREFIX)) == 0;
}

int record_read(const struct gguf *g, struct quality *ret_quality, struct error *err)
{
    struct quality quality = {0};
    size_t n = 0;

    for (size_t i = 0; i < gguf_n_keys(g); i++)
        n += is_record(gguf_kv_at(g, i));
    if (n == 0)
        return ST_NOTFOUND;
    int r = read_all(g, &quality, err);
    if (r == ST_NOTFOUND)
        return error_set(err, ST_FORMAT,
                         "%s: its record of quality (keys " PREFIX "*) is not whole: measure again "
                         "with octet eval --record",
                         gguf_path(g));
    if (r == ST_OK)
        *ret_quality = quality;
    return r;
}

/* ---- writing ---- */

static int write_record(struct gguf_writer *w, const struct quality *q)
{
    int r = gguf_write_u64(w, PREFIX "tokens", q->tokens);

    if (r == ST_OK)
        r = gguf_write_u64(w, PREFIX "chunks", q->chunks);
    if (r == ST_OK)
        r = gguf_write_u32(w, PREFIX "ctx", q->ctx);
    for (size_t i = 0; i < QUALITY_NUMBERS && r == ST_OK; i++) {
        double value;
        memcpy(&value, (const char *)q + QUALITY_NUMBER[i].offset, sizeof(value));
        r = gguf_write_f64(w, key_of(QUALITY_NUMBER[i].name).text, value);
    }
    for (size_t i = 0; i < QUALITY_TEXTS && r == ST_OK; i++) {
        const char *text = (const char *)q + QUALITY_TEXT[i].offset;
        r = gguf_write_str(w, key_of(QUALITY_TEXT[i].name).text, text, strlen(text));
    }
    return r;
}

static int write_head(struct gguf_writer *w, const struct gguf *g, const struct quality *quality)
{
    int r = gguf_write_alignment(w, gguf_alignment(g));

    for (size_t i = 0; i < gguf_n_keys(g) && r == ST_OK; i++)
        if (!is_record(gguf_kv_at(g, i)))
            r = gguf_write_copy(w, gguf_kv_at(g, i));
    if (r == ST_OK)
        r = write_record(w, quality);
    for (size_t i = 0; i < gguf_n_tensors(g) && r == ST_OK; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        char *name = strndup(t->name.data, t->name.len);
        r = name ? gguf_write_tensor(w, name, t->type, t->dims, t->n_dims) : ST_NOMEM;
        free(name);
    }
    return r;
}

static int write_data(struct gguf_writer *w, const struct gguf *g,
                      const struct model_progress *progress, struct error *err)
{
    uint64_t done = 0, total = 0;
    int r = ST_OK;

    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        total += gguf_tensor_at(g, i)->n_bytes;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        for (uint64_t at = 0, n; at < t->n_bytes && r == ST_OK; at += n) {
            n = t->n_bytes - at < COPY_BYTES ? t->n_bytes - at : COPY_BYTES;
            r = gguf_write_data(w, (const char *)t->data + at, (size_t)n, err);
            done += n;
            if (progress->fn)
                progress->fn(progress->arg, "recording", done, total);
        }
    }
    return r;
}

static int rewrite(const char *path, const struct gguf *g, const struct quality *quality,
                   const struct model_progress *progress, struct error *err)
{
    struct gguf_writer *w = NULL;
    int r = gguf_write_open(path, &w, err);

    if (r != ST_OK)
        return r;
    r = write_head(w, g, quality);
    if (r != ST_OK)
        error_set(err, r, "%s: no memory to record its quality", path);
    else
        r = write_data(w, g, progress, err);
    if (r == ST_OK)
        return gguf_write_commit(w, err);
    gguf_write_abort(w);
    return r;
}

/* ---- the door ---- */

static void hashing(void *arg, uint64_t done, uint64_t total)
{
    const struct model_progress *progress = arg;

    if (progress->fn)
        progress->fn(progress->arg, "hashing", done, total);
}

void record_digest(const struct gguf *g, const struct model_progress *progress,
                   char hex[static SHA256_HEX])
{
    struct model_progress none = {0}, told = progress ? *progress : none;

    gguf_digest(g, hashing, &told, hex);
}

int model_digest(const char *path, const struct model_progress *progress,
                 char hex[static SHA256_HEX], struct error *err)
{
    struct gguf *g = NULL;
    int r = gguf_open(path, NULL, &g, err);

    if (r == ST_OK)
        record_digest(g, progress, hex);
    gguf_close(g);
    return r;
}

int model_record(const char *path, const struct quality *quality,
                 const struct model_progress *progress, struct error *err)
{
    const struct model_progress none = {0};
    struct gguf *g = NULL;
    char hex[SHA256_HEX], *real = realpath(path, NULL); /* a link is not to become a file */
    int r = gguf_open(real ? real : path, NULL, &g, err);

    if (r != ST_OK)
        goto out;
    record_digest(g, progress, hex);
    if (strcmp(hex, quality->digest) != 0)
        r = error_set(err, ST_INVALID, "%s: was changed while it was measured: nothing is recorded",
                      path);
    else
        r = rewrite(real ? real : path, g, quality, progress ? progress : &none, err);
out:
    gguf_close(g);
    free(real);
    return r;
}
