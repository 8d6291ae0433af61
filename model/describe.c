/* describe.c - what a model file holds, for people and as JSON. Behind model_describe of model.h.
 *
 * Reads metadata and the tensor list only; weights are not touched, so any size of file answers at
 * once. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/escape.h"
#include "model/format/gguf.h"
#include "model/model.h"
#include "model/net/weights.h"
#include "model/quant/source.h"

static void put_json(FILE *f, const char *s, size_t n)
{
    char out[ESCAPE_MAX];

    fputc('"', f);
    for (const char *end = s + n; s < end;)
        fwrite(out, 1, escape_step(&s, end, out), f);
    fputc('"', f);
}

static struct gguf_str get_str(const struct gguf *g, const char *key)
{
    struct gguf_str s = {"", 0};
    gguf_get_str(g, key, &s, NULL);
    return s;
}

struct totals {
    uint64_t params, weight_bytes;
    uint64_t by_type[256]; /* bytes */
};

static void add_up(const struct gguf *g, struct totals *t)
{
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *x = gguf_tensor_at(g, i);
        bool scale =
            x->name.len > 12 && memcmp(x->name.data + x->name.len - 12, ".octet_scale", 12) == 0;
        t->params += scale ? 0 : x->n_elems;
        t->weight_bytes += x->n_bytes;
        if (x->type < 256)
            t->by_type[x->type] += x->n_bytes;
    }
}

static void scheme_of(const struct gguf *g, char *buf, size_t len)
{
    struct gguf_str s = get_str(g, "octet.scheme");
    const struct gguf_tensor *t = gguf_find(g, "blk.0.attn_q.weight");
    const char *type = t ? gguf_type_name(t->type) : NULL;

    if (s.len)
        snprintf(buf, len, "%s", gguf_show(s).text);
    else
        snprintf(buf, len, "%s", type ? type : "unknown");
}

struct row {
    const char *key;
    uint64_t value;
};

static size_t shape_rows(const struct hparams *hp, struct row rows[10])
{
    const struct row all[] = {{"n_layer", hp->n_layer},   {"d_model", hp->d_model},
                              {"d_ff", hp->d_ff},         {"n_head", hp->n_head},
                              {"n_kv_head", hp->n_kv},    {"head_dim", hp->head_dim},
                              {"n_ctx_train", hp->n_ctx}, {"n_rot", hp->n_rot}};
    memcpy(rows, all, sizeof(all));
    return sizeof(all) / sizeof(all[0]);
}

static void print_json(FILE *f, const struct gguf *g, const struct hparams *hp,
                       const struct totals *t)
{
    struct gguf_str arch = get_str(g, "general.architecture"), name = get_str(g, "general.name");
    struct gguf_str tok = get_str(g, "tokenizer.ggml.model"),
                    pre = get_str(g, "tokenizer.ggml.pre");
    struct row rows[10];
    char scheme[sizeof(struct gguf_shown)];

    scheme_of(g, scheme, sizeof(scheme));
    fputs("{\"file\":", f);
    put_json(f, gguf_path(g), strlen(gguf_path(g)));
    fprintf(f, ",\"file_bytes\":%" PRIu64 ",\"name\":", gguf_file_bytes(g));
    put_json(f, name.data, name.len);
    fputs(",\"architecture\":", f);
    put_json(f, arch.data, arch.len);
    fputs(",\"scheme\":", f);
    put_json(f, scheme, strlen(scheme));
    fputs(",\"tokenizer\":", f);
    put_json(f, tok.data, tok.len);
    fputs(",\"pre_tokenizer\":", f);
    put_json(f, pre.data, pre.len);
    fprintf(f, ",\"parameters\":%" PRIu64 ",\"weight_bytes\":%" PRIu64 ",\"bits_per_weight\":%.4f",
            t->params, t->weight_bytes,
            t->params ? 8.0 * (double)t->weight_bytes / (double)t->params : 0.0);
    for (size_t i = 0, n = hp ? shape_rows(hp, rows) : 0; i < n; i++)
        fprintf(f, ",\"%s\":%" PRIu64, rows[i].key, rows[i].value);
    fputs(",\"quality\":null,\"tensors\":[", f);
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *x = gguf_tensor_at(g, i);
        fputs(i ? ",{\"name\":" : "{\"name\":", f);
        put_json(f, x->name.data, x->name.len);
        fprintf(f, ",\"type\":\"%s\",\"dims\":[",
                gguf_type_name(x->type) ? gguf_type_name(x->type) : "unknown");
        for (uint32_t d = 0; d < x->n_dims; d++)
            fprintf(f, "%s%" PRIu64, d ? "," : "", x->dims[d]);
        fprintf(f, "],\"bytes\":%" PRIu64 "}", x->n_bytes);
    }
    fputs("]}\n", f);
}

static void print_text(FILE *f, const struct gguf *g, const struct hparams *hp,
                       const struct totals *t)
{
    struct gguf_str arch = get_str(g, "general.architecture"), name = get_str(g, "general.name");
    struct gguf_str tok = get_str(g, "tokenizer.ggml.model"),
                    pre = get_str(g, "tokenizer.ggml.pre");
    struct row rows[10];
    char scheme[sizeof(struct gguf_shown)];

    scheme_of(g, scheme, sizeof(scheme));
    fprintf(f, "%-16s %s (%.1f MB)\n", "file", gguf_path(g), (double)gguf_file_bytes(g) / 1e6);
    fprintf(f, "%-16s %s\n%-16s %s\n", "name", gguf_show(name).text, "architecture",
            gguf_show(arch).text);
    fprintf(f, "%-16s %s\n%-16s %s, pre-tokenizer %s\n", "scheme", scheme, "tokenizer",
            gguf_show(tok).text, gguf_show(pre).text);
    fprintf(f, "%-16s %.1f M, %.1f MB of tensors, %.2f bits each\n", "parameters",
            (double)t->params / 1e6, (double)t->weight_bytes / 1e6,
            t->params ? 8.0 * (double)t->weight_bytes / (double)t->params : 0.0);
    for (size_t i = 0, n = hp ? shape_rows(hp, rows) : 0; i < n; i++)
        fprintf(f, "%-16s %" PRIu64 "\n", rows[i].key, rows[i].value);
    fprintf(f, "%-16s %zu", "tensors", gguf_n_tensors(g));
    for (uint32_t type = 0; type < 256; type++)
        if (t->by_type[type])
            fprintf(f, ", %s %.1f MB", gguf_type_name(type) ? gguf_type_name(type) : "unknown",
                    (double)t->by_type[type] / 1e6);
    fprintf(f, "\n%-16s none recorded\n", "quality");
}

int model_describe(const char *path, bool json, char **ret_text, struct error *err)
{
    const struct gguf_opts whole = {0}, vocab = {.vocab_only = true};
    struct gguf *g = NULL;
    struct hparams hp;
    struct totals t = {0};
    char *text = NULL;
    size_t len = 0;
    int r = gguf_open(path, &whole, &g, err);

    /* A file with tensors that are not built, or with none, is still worth describing. */
    if (r == ST_UNSUPPORTED)
        r = gguf_open(path, &vocab, &g, err);
    if (r != ST_OK)
        return r;
    FILE *f = open_memstream(&text, &len);
    if (!f) {
        gguf_close(g);
        return error_set(err, ST_NOMEM, "out of memory");
    }
    bool shape = hparams_read(g, &hp, NULL) == ST_OK;
    add_up(g, &t);
    (json ? print_json : print_text)(f, g, shape ? &hp : NULL, &t);
    bool failed = ferror(f) != 0;
    failed |= fclose(f) != 0;
    gguf_close(g);
    if (failed) {
        free(text);
        return error_set(err, ST_NOMEM, "out of memory");
    }
    *ret_text = text;
    return ST_OK;
}
