#include "model/format/hf.h"

#include <stdlib.h>
#include <string.h>

#include "model/format/hf_priv.h"
#include "model/format/map.h"

void hf_parts_free(struct hf_parts *parts)
{
    if (!parts)
        return;
    for (size_t i = 0; i < parts->n_shards; i++)
        safetensors_close(parts->shards[i]);
    for (size_t i = 0; i < parts->n_copies; i++)
        free(parts->copies[i]);
    free(parts->shards);
    free(parts->copies);
    free(parts->names);
    free(parts->keys);
    free(parts);
}

static int open_json(struct hf *hf, const char *name, bool required, struct json_file *file)
{
    int r = json_file_open(hf->dir, name, file, hf->err);

    if (r == ST_NOTFOUND && required)
        return error_set(hf->err, ST_IO,
                         "%s holds no %s; a GGUF file or a Hugging Face directory is expected",
                         hf->dir, name);
    return r == ST_NOTFOUND ? ST_OK : r;
}

static int open_files(struct hf *hf)
{
    int r;

    if ((r = open_json(hf, "config.json", !hf->vocab_only, &hf->config)) ||
        (r = open_json(hf, "tokenizer.json", true, &hf->tokenizer)) ||
        (r = open_json(hf, "tokenizer_config.json", false, &hf->tokenizer_config)) ||
        (r = open_json(hf, "special_tokens_map.json", false, &hf->special_map)))
        return r;
    return open_json(hf, "generation_config.json", false, &hf->generation);
}

/* The keys as the bytes of a GGUF file without tensors, which gguf.c checks as any other. */
static int make_keys(struct hf *hf, struct hf_parts *parts, size_t *ret_n)
{
    int r = gguf_write_open_keys(&hf->keys);

    if (r == ST_OK)
        r = hf_write_config(hf);
    if (r == ST_OK && !hf->vocab_only)
        r = hf_open_shards(hf, parts);
    if (r == ST_OK && hf->quantized.on)
        r = hf_write_quantized(hf, parts);
    if (r == ST_OK)
        r = hf_write_tokenizer(hf);
    if (r == ST_OK)
        r = gguf_write_commit_keys(hf->keys, &parts->keys, ret_n);
    else
        gguf_write_abort(hf->keys);
    hf->keys = NULL;
    return r;
}

static int open_parts(struct hf *hf, const struct gguf_opts *opts, struct gguf **ret_gguf)
{
    struct hf_parts *parts = calloc(1, sizeof(*parts));
    struct gguf *g = NULL;
    size_t n_keys = 0;
    int r = parts ? make_keys(hf, parts, &n_keys) : ST_NOMEM;

    if (r == ST_OK)
        r = gguf_open_memory(hf->dir, parts->keys, n_keys, opts, &g, hf->err);
    if (r != ST_OK)
        goto out;
    g->parts = parts;
    parts = NULL;
    if (!hf->vocab_only && (r = hf_read_tensors(hf, g, g->parts)))
        goto out;
    *ret_gguf = g;
    g = NULL;
out:
    gguf_close(g);
    hf_parts_free(parts);
    return r;
}

int hf_open(const char *dir, const struct gguf_opts *opts, struct gguf **ret_gguf,
            struct error *err)
{
    struct hf hf = {.dir = dir, .vocab_only = opts && opts->vocab_only, .err = err};
    int r = open_files(&hf);

    if (r == ST_OK)
        r = open_parts(&hf, opts, ret_gguf);
    if (r == ST_NOMEM)
        error_set(err, r, "%s: no memory to open it", dir);
    json_file_close(&hf.config);
    json_file_close(&hf.generation);
    json_file_close(&hf.tokenizer);
    json_file_close(&hf.tokenizer_config);
    json_file_close(&hf.special_map);
    return r;
}
