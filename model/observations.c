#include "model/observations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "model/format/digest.h"
#include "model/quant/gram.h"

static const char *const SITE_NAMES[SITES + 1] = {"attn_qkv", "attn_output", "ffn_gate_up",
                                                  "ffn_down", "output"};

static size_t width(const struct hparams *hp, enum observe_site site)
{
    if (site == SITE_O)
        return (size_t)hp->n_head * hp->head_dim;
    return site == SITE_DOWN ? hp->d_ff : hp->d_model;
}

int observations_new(const struct hparams *hp, struct observations **ret_observations)
{
    struct observations *o = calloc(1, sizeof(*o));

    if (!o)
        return ST_NOMEM;
    o->n_layer = hp->n_layer;
    o->n_sites = (size_t)hp->n_layer * SITES + 1;
    o->sites = calloc(o->n_sites, sizeof(*o->sites));
    for (size_t i = 0; i < o->n_sites; i++) {
        struct site *s = o->sites ? &o->sites[i] : NULL;
        if (!s) {
            observations_free(o);
            return ST_NOMEM;
        }
        s->k = width(hp, i + 1 == o->n_sites ? SITE_HEAD : (enum observe_site)(i % SITES));
        s->gram = calloc(gram_floats(s->k), sizeof(*s->gram));
        s->max_abs = calloc(s->k, sizeof(*s->max_abs));
        if (!s->gram || !s->max_abs) {
            observations_free(o);
            return ST_NOMEM;
        }
    }
    *ret_observations = o;
    return ST_OK;
}

void observations_free(struct observations *o)
{
    if (!o)
        return;
    for (size_t i = 0; o->sites && i < o->n_sites; i++) {
        free(o->sites[i].gram);
        free(o->sites[i].max_abs);
    }
    free(o->sites);
    free(o);
}

uint64_t observations_tokens(const struct observations *o)
{
    return o->n_rows;
}

struct site *observations_at(const struct observations *o, size_t layer, enum observe_site site)
{
    return site == SITE_HEAD ? &o->sites[o->n_sites - 1] : &o->sites[layer * SITES + site];
}

const struct site *observations_of(const struct observations *o, const char *tensor)
{
    static const struct {
        const char *name;
        enum observe_site site;
    } readers[] = {{"attn_q", SITE_QKV},    {"attn_k", SITE_QKV},       {"attn_v", SITE_QKV},
                   {"attn_output", SITE_O}, {"ffn_gate", SITE_GATE_UP}, {"ffn_up", SITE_GATE_UP},
                   {"ffn_down", SITE_DOWN}};
    unsigned layer;
    char name[32];

    if (strcmp(tensor, "output.weight") == 0)
        return observations_at(o, o->n_layer, SITE_HEAD);
    if (sscanf(tensor, "blk.%u.%31[^.]", &layer, name) != 2 || layer >= o->n_layer)
        return NULL;
    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
        if (strcmp(name, readers[i].name) == 0)
            return observations_at(o, layer, readers[i].site);
    return NULL;
}

int observations_check(const struct observations *o, const struct gguf *g, struct error *err)
{
    char hex[SHA256_HEX];

    gguf_digest(g, NULL, NULL, hex);
    if (strcmp(hex, o->source) == 0)
        return ST_OK;
    return error_set(
        err, ST_INVALID,
        "%s: the observations are of another file (digest %.12s..., not %.12s...): make "
        "them anew from this one",
        gguf_path(g), o->source, hex);
}

int observations_write_keys(const struct observations *o, struct gguf_writer *w)
{
    int r = gguf_write_u32(w, "octet.calibration.tokens", (uint32_t)o->n_rows);

    if (r == ST_OK)
        r = gguf_write_bool(w, "octet.calibration.drawn", o->drawn);
    return r == ST_OK ? gguf_write_str(w, "octet.calibration.sha256", o->text, SHA256_HEX - 1) : r;
}

static void tensor_name(const struct observations *o, size_t i, const char *what, char out[64])
{
    if (i + 1 == o->n_sites)
        snprintf(out, 64, "%s.%s", SITE_NAMES[SITE_HEAD], what);
    else
        snprintf(out, 64, "blk.%zu.%s.%s", i / SITES, SITE_NAMES[i % SITES], what);
}

static int declare(const struct observations *o, struct gguf_writer *w)
{
    char name[64];
    int r = gguf_write_str(w, "general.architecture", "octet-observations", 18);

    if (r == ST_OK)
        r = gguf_write_u32(w, "octet.observations.version", 1);
    if (r == ST_OK)
        r = gguf_write_u32(w, "octet.observations.layers", o->n_layer);
    if (r == ST_OK)
        r = gguf_write_str(w, "octet.observations.source", o->source, SHA256_HEX - 1);
    if (r == ST_OK)
        r = observations_write_keys(o, w);
    for (size_t i = 0; r == ST_OK && i < o->n_sites; i++) {
        const struct site *s = &o->sites[i];
        tensor_name(o, i, "gram", name);
        r = gguf_write_tensor(w, name, GGUF_F32, (uint64_t[1]){gram_floats(s->k)}, 1);
        tensor_name(o, i, "max_abs", name);
        if (r == ST_OK)
            r = gguf_write_tensor(w, name, GGUF_F32, (uint64_t[1]){s->k}, 1);
    }
    return r;
}

int observations_write(const struct observations *o, const char *path, struct error *err)
{
    struct gguf_writer *w;
    int r = gguf_write_open(path, &w, err);

    if (r != ST_OK)
        return r;
    r = declare(o, w);
    if (r != ST_OK)
        error_set(err, r, "%s: out of memory", path);
    for (size_t i = 0; r == ST_OK && i < o->n_sites; i++) {
        const struct site *s = &o->sites[i];
        r = gguf_write_data(w, s->gram, gram_floats(s->k) * sizeof(float), err);
        if (r == ST_OK)
            r = gguf_write_data(w, s->max_abs, s->k * sizeof(float), err);
    }
    if (r == ST_OK)
        return gguf_write_commit(w, err);
    gguf_write_abort(w);
    return r;
}

/* A tensor of n finite floats (any n, if n is 0) → *ret, which the caller frees. */
static int read_floats(const struct gguf *g, const char *name, size_t n, float **ret, size_t *ret_n,
                       struct error *err)
{
    const struct gguf_tensor *t = gguf_find(g, name);
    bool finite = true;

    if (!t || t->type != GGUF_F32 || t->n_dims != 1 || (n && t->n_elems != n))
        return error_set(err, ST_FORMAT,
                         "%s: tensor %s is missing, or not a vector of f32s as long "
                         "as it must be: is this a file of --observations?",
                         gguf_path(g), name);
    float *x = malloc(t->n_bytes ? t->n_bytes : 1);
    if (!x)
        return error_set(err, ST_NOMEM, "out of memory for %s", name);
    memcpy(x, t->data, t->n_bytes);
    for (size_t i = 0; i < t->n_elems; i++)
        finite &= x[i] - x[i] == 0.0f;
    if (!finite) {
        free(x);
        return error_set(err, ST_FORMAT, "%s: tensor %s holds a NaN or an infinity", gguf_path(g),
                         name);
    }
    *ret = x;
    *ret_n = t->n_elems;
    return ST_OK;
}

static int read_sites(const struct gguf *g, struct observations *o, struct error *err)
{
    int r = ST_OK;

    for (size_t i = 0; r == ST_OK && i < o->n_sites; i++) {
        struct site *s = &o->sites[i];
        char name[64];
        size_t n;
        tensor_name(o, i, "max_abs", name);
        r = read_floats(g, name, 0, &s->max_abs, &s->k, err);
        if (r == ST_OK && (s->k == 0 || s->k > LIMIT_WIDTH))
            r = error_set(err, ST_FORMAT, "%s: tensor %s has %zu channels", gguf_path(g), name,
                          s->k);
        tensor_name(o, i, "gram", name);
        if (r == ST_OK)
            r = read_floats(g, name, gram_floats(s->k), &s->gram, &n, err);
    }
    return r;
}

static int read_sha(const struct gguf *g, const char *key, char ret_hex[static SHA256_HEX])
{
    struct gguf_str s;

    if (gguf_get_str(g, key, &s, NULL) != ST_OK || !sha256_is_hex(s.data, s.len))
        return ST_FORMAT;
    memcpy(ret_hex, s.data, s.len);
    ret_hex[s.len] = 0;
    return ST_OK;
}

static int read_keys(const struct gguf *g, struct observations *o, struct error *err)
{
    uint32_t version = 0, tokens = 0;
    bool ok = gguf_get_u32(g, "octet.observations.version", &version, NULL) == ST_OK &&
              gguf_get_u32(g, "octet.observations.layers", &o->n_layer, NULL) == ST_OK &&
              gguf_get_u32(g, "octet.calibration.tokens", &tokens, NULL) == ST_OK &&
              gguf_get_bool(g, "octet.calibration.drawn", &o->drawn, NULL) == ST_OK &&
              read_sha(g, "octet.calibration.sha256", o->text) == ST_OK &&
              read_sha(g, "octet.observations.source", o->source) == ST_OK;

    o->n_rows = tokens;
    if (ok && version == 1 && tokens && o->n_layer && o->n_layer <= LIMIT_LAYERS)
        return ST_OK;
    return error_set(err, ST_FORMAT,
                     "%s: not a file of observations: give one that octet quantize --observations "
                     "has written",
                     gguf_path(g));
}

int observations_read(const char *path, struct observations **ret_observations, struct error *err)
{
    struct observations *o = calloc(1, sizeof(*o));
    struct gguf *g = NULL;
    int r = o ? gguf_open(path, NULL, &g, err) : error_set(err, ST_NOMEM, "out of memory");

    if (r == ST_OK)
        r = read_keys(g, o, err);
    if (r != ST_OK)
        goto out;
    o->n_sites = (size_t)o->n_layer * SITES + 1;
    o->sites = calloc(o->n_sites, sizeof(*o->sites));
    r = o->sites ? read_sites(g, o, err) : error_set(err, ST_NOMEM, "out of memory");
out:
    gguf_close(g);
    if (r != ST_OK) {
        observations_free(o);
        return r;
    }
    *ret_observations = o;
    return ST_OK;
}
