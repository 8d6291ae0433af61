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

/* The block of the default scheme. */
static uint32_t turned_block(const struct hparams *hp, enum observe_site site, size_t k)
{
    return quant_spec_for(&QUANT_INT8, site == SITE_O ? QUANT_O : QUANT_PLAIN, k,
                          hparams_head_block(hp))
        .block_in;
}

static int open_site(const struct hparams *hp, enum observe_site site, struct site *s)
{
    s->k = width(hp, site);
    s->gram = calloc(gram_floats(s->k), sizeof(*s->gram));
    s->max_abs = calloc(s->k, sizeof(*s->max_abs));
    if (!s->gram || !s->max_abs || view_open(&s->views[0], s->k, 0) != ST_OK)
        return ST_NOMEM;
    return view_open(&s->views[1], s->k, turned_block(hp, site, s->k));
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
        bool head = i + 1 == o->n_sites;
        if (!o->sites || open_site(hp, head ? SITE_HEAD : (enum observe_site)(i % SITES),
                                   &o->sites[i]) != ST_OK) {
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
        for (size_t v = 0; v < VIEWS; v++)
            view_done(&o->sites[i].views[v]);
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

int observations_steps(const struct observations *o, const char *tensor, bool tied,
                       const float *factors, const struct observer_choice *by,
                       const struct quant_spec *spec, struct steps *ret_steps, struct error *err)
{
    const bool head = tied && strcmp(tensor, "token_embd.weight") == 0;
    const struct site *s = observations_of(o, head ? "output.weight" : tensor);
    size_t v = 0;

    while (s && v < VIEWS && s->views[v].block != spec->block_in)
        v++;
    if (!s || v == VIEWS)
        return error_set(
            err, ST_INVALID,
            "%s: static activations after Hadamard blocks of %u were not observed: take "
            "the default's, or none",
            tensor, spec->block_in);
    int r = view_steps(&s->views[v], factors, by, spec, ret_steps);
    if (r == ST_INVALID)
        return error_set(
            err, r,
            "%s: of smoothed inputs only the extremes before a Hadamard transform are "
            "known: write the smoothed model first (--scheme f32 --smooth), then quantize "
            "that, or take --hadamard none and --observer minmax or moving",
            tensor);
    return r == ST_OK ? r : error_set(err, r, "out of memory for %s", tensor);
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

void observations_name(const struct observations *o, size_t i, char out[OBSERVATIONS_NAME])
{
    if (i + 1 == o->n_sites)
        snprintf(out, OBSERVATIONS_NAME, "%s", SITE_NAMES[SITE_HEAD]);
    else
        snprintf(out, OBSERVATIONS_NAME, "blk.%zu.%s", i / SITES, SITE_NAMES[i % SITES]);
}

static void tensor_name(const struct observations *o, size_t i, const char *what, char out[64])
{
    char site[OBSERVATIONS_NAME];

    observations_name(o, i, site);
    snprintf(out, 64, "%.48s.%s", site, what);
}

enum { VERSION = 2, RANGES = 5 };

static const char *const VIEW_NAMES[VIEWS][3] = {
    {"plain_counts", "plain_ranges", "plain_channels"},
    {"turned_counts", "turned_ranges", "turned_channels"}};

static int declare_views(const struct observations *o, size_t i, struct gguf_writer *w)
{
    const uint64_t counts[2] = {sizeof(uint64_t), HISTOGRAM_BINS}, ranges = RANGES,
                   channels = VIEW_CHANNELS * o->sites[i].k;
    char name[64];
    int r = ST_OK;

    for (size_t v = 0; v < VIEWS && r == ST_OK; v++) {
        tensor_name(o, i, VIEW_NAMES[v][0], name);
        r = gguf_write_tensor(w, name, GGUF_I8, counts, 2);
        tensor_name(o, i, VIEW_NAMES[v][1], name);
        if (r == ST_OK)
            r = gguf_write_tensor(w, name, GGUF_F32, &ranges, 1);
        tensor_name(o, i, VIEW_NAMES[v][2], name);
        if (r == ST_OK)
            r = gguf_write_tensor(w, name, GGUF_F32, &channels, 1);
    }
    return r;
}

/* The counts as little-endian numbers of 64 bits. */
static int write_view(const struct view *v, struct gguf_writer *w, struct error *err)
{
    const struct histogram *h = &v->histogram;
    const float ranges[RANGES] = {(float)h->top, h->range.min, h->range.max, v->moving.min,
                                  v->moving.max};
    int r = gguf_write_data(w, h->bins, sizeof(h->bins), err);

    if (r == ST_OK)
        r = gguf_write_data(w, ranges, sizeof(ranges), err);
    return r == ST_OK
               ? gguf_write_data(w, v->channels[0], VIEW_CHANNELS * v->k * sizeof(float), err)
               : r;
}

/* octet.observations.blocks: of the turned inputs. */
static int write_blocks(const struct observations *o, struct gguf_writer *w)
{
    uint32_t *blocks = calloc(o->n_sites, sizeof(*blocks));
    int r = blocks ? ST_OK : ST_NOMEM;

    for (size_t i = 0; r == ST_OK && i < o->n_sites; i++)
        blocks[i] = o->sites[i].views[1].block;
    if (r == ST_OK)
        r = gguf_write_u32s(w, "octet.observations.blocks", blocks, o->n_sites);
    free(blocks);
    return r;
}

static int declare(const struct observations *o, struct gguf_writer *w)
{
    char name[64];
    int r = gguf_write_str(w, "general.architecture", "octet-observations", 18);

    if (r == ST_OK)
        r = gguf_write_u32(w, "octet.observations.version", VERSION);
    if (r == ST_OK)
        r = gguf_write_u32(w, "octet.observations.layers", o->n_layer);
    if (r == ST_OK)
        r = gguf_write_str(w, "octet.observations.source", o->source, SHA256_HEX - 1);
    if (r == ST_OK)
        r = write_blocks(o, w);
    if (r == ST_OK)
        r = observations_write_keys(o, w);
    for (size_t i = 0; r == ST_OK && i < o->n_sites; i++) {
        const struct site *s = &o->sites[i];
        tensor_name(o, i, "gram", name);
        r = gguf_write_tensor(w, name, GGUF_F32, (uint64_t[1]){gram_floats(s->k)}, 1);
        tensor_name(o, i, "max_abs", name);
        if (r == ST_OK)
            r = gguf_write_tensor(w, name, GGUF_F32, (uint64_t[1]){s->k}, 1);
        if (r == ST_OK)
            r = declare_views(o, i, w);
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
        for (size_t v = 0; v < VIEWS && r == ST_OK; v++)
            r = write_view(&s->views[v], w, err);
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

static int read_counts(const struct gguf *g, const char *name, struct histogram *h,
                       struct error *err)
{
    const struct gguf_tensor *t = gguf_find(g, name);
    bool few = true;

    if (!t || t->type != GGUF_I8 || t->n_elems != sizeof(h->bins))
        return error_set(err, ST_FORMAT, "%s: tensor %s is missing, or not %u counts of 8 bytes",
                         gguf_path(g), name, HISTOGRAM_BINS);
    memcpy(h->bins, t->data, sizeof(h->bins));
    for (size_t i = 0; i < HISTOGRAM_BINS; i++) {
        few &= h->bins[i] < UINT64_MAX / HISTOGRAM_BINS;
        h->n += h->bins[i];
    }
    return few ? ST_OK
               : error_set(err, ST_FORMAT, "%s: tensor %s counts more than there can be",
                           gguf_path(g), name);
}

static int read_view(const struct gguf *g, const struct observations *o, size_t i, size_t which,
                     struct error *err)
{
    struct view *v = &o->sites[i].views[which];
    char name[64];
    float *f = NULL;
    size_t n;
    int r;

    v->k = o->sites[i].k;
    tensor_name(o, i, VIEW_NAMES[which][0], name);
    r = read_counts(g, name, &v->histogram, err);
    tensor_name(o, i, VIEW_NAMES[which][1], name);
    if (r == ST_OK)
        r = read_floats(g, name, RANGES, &f, &n, err);
    if (r == ST_OK &&
        !(f[0] >= 0.0f && f[1] <= f[2] && -f[1] <= f[0] && f[2] <= f[0] && f[3] <= f[4]))
        r = error_set(err, ST_FORMAT, "%s: tensor %s holds no ranges", gguf_path(g), name);
    if (r == ST_OK) {
        v->histogram.top = (double)f[0];
        v->histogram.range = (struct range){f[1], f[2], true};
        v->moving = (struct range){f[3], f[4], true};
    }
    free(f);
    tensor_name(o, i, VIEW_NAMES[which][2], name);
    if (r == ST_OK)
        r = read_floats(g, name, VIEW_CHANNELS * v->k, &v->channels[0], &n, err);
    for (size_t c = 1; r == ST_OK && c < VIEW_CHANNELS; c++)
        v->channels[c] = v->channels[0] + c * v->k;
    return r;
}

static int read_blocks(const struct gguf *g, const struct observations *o, struct error *err)
{
    struct gguf_array blocks;
    int r = gguf_get_ints(g, "octet.observations.blocks", &blocks, err);

    if (r == ST_OK && blocks.n != o->n_sites)
        r = error_set(err, ST_FORMAT, "%s: octet.observations.blocks has %llu numbers, not %zu",
                      gguf_path(g), (unsigned long long)blocks.n, o->n_sites);
    for (size_t i = 0; r == ST_OK && i < o->n_sites; i++)
        o->sites[i].views[1].block = (uint32_t)gguf_array_i32(&blocks, i);
    return r;
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
        for (size_t v = 0; v < VIEWS && r == ST_OK; v++)
            r = read_view(g, o, i, v, err);
    }
    return r == ST_OK ? read_blocks(g, o, err) : r;
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
    if (ok && version != VERSION)
        return error_set(err, ST_FORMAT,
                         "%s: observations of version %u, where this octet reads version %u: make "
                         "them anew",
                         gguf_path(g), version, VERSION);
    if (ok && tokens && o->n_layer && o->n_layer <= LIMIT_LAYERS)
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
