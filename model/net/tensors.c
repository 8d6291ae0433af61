/* tensors.c - which tensors a network of given numbers has, and the small ones of them. */
#include "model/net/weights.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "model/format/dequant.h"
#include "model/quant/source.h"

enum { GLOBALS = 5, PER_LAYER = 12 };

static void global_role(const struct hparams *hp, size_t i, struct tensor_role *t)
{
    static const char *const names[GLOBALS] = {"token_embd.weight", "output_norm.weight",
                                               "output.weight", "rope_freqs.weight",
                                               WEIGHTS_EMBED_SMOOTH};
    snprintf(t->name, sizeof(t->name), "%s", names[i]);
    t->n = i == 0 || i == 2 ? hp->n_vocab : i == 3 ? hp->n_rot / 2 : hp->d_model;
    t->k = i == 0 || i == 2 ? hp->d_model : 0;
    t->unit = t->n;
    t->optional = i >= 2;
}

static void layer_role(const struct hparams *hp, size_t layer, size_t i, struct tensor_role *t)
{
    const size_t d = hp->d_model, q = (size_t)hp->n_head * hp->head_dim,
                 kv = (size_t)hp->n_kv * hp->head_dim;
    const bool bias_optional = strcmp(hp->arch, "qwen2") != 0;
    const struct {
        const char *name;
        size_t n, k;
        int role;
        bool optional;
    } list[PER_LAYER] = {
        {"attn_norm.weight", d, 0, QUANT_PLAIN, false},
        {"attn_q.weight", q, d, QUANT_PLAIN, false},
        {"attn_k.weight", kv, d, QUANT_PLAIN, false},
        {"attn_v.weight", kv, d, QUANT_V, false},
        {"attn_q.bias", q, 0, QUANT_PLAIN, bias_optional},
        {"attn_k.bias", kv, 0, QUANT_PLAIN, bias_optional},
        {"attn_v.bias", kv, 0, QUANT_V, bias_optional},
        {"attn_output.weight", d, q, QUANT_O, false},
        {"ffn_norm.weight", d, 0, QUANT_PLAIN, false},
        {"ffn_gate.weight", hp->d_ff, d, QUANT_PLAIN, false},
        {"ffn_up.weight", hp->d_ff, d, QUANT_PLAIN, false},
        {"ffn_down.weight", d, hp->d_ff, QUANT_PLAIN, false},
    };
    snprintf(t->name, sizeof(t->name), "blk.%zu.%s", layer, list[i].name);
    t->n = list[i].n;
    t->k = list[i].k;
    t->unit = i >= 1 && i <= 3 ? hp->head_dim : t->n; /* q, k and v are heads */
    t->role = list[i].role;
    t->optional = list[i].optional;
}

bool weights_tensor_at(const struct hparams *hp, size_t i, struct tensor_role *ret_role)
{
    memset(ret_role, 0, sizeof(*ret_role));
    if (i < GLOBALS)
        global_role(hp, i, ret_role);
    else if (i < GLOBALS + (size_t)PER_LAYER * hp->n_layer)
        layer_role(hp, (i - GLOBALS) / PER_LAYER, (i - GLOBALS) % PER_LAYER, ret_role);
    else
        return false;
    return true;
}

/* Mark a tensor as one that the network reads; returns whether it is there. */
static bool mark(const struct gguf *g, const char *name, bool *seen)
{
    const struct gguf_tensor *t = gguf_find(g, name);

    if (t)
        seen[t - gguf_tensor_at(g, 0)] = true;
    return t != NULL;
}

static int check_roles(const struct gguf *g, const struct hparams *hp, bool *seen,
                       struct error *err)
{
    struct tensor_role role;
    struct source_names octet_names;

    for (size_t i = 0; weights_tensor_at(hp, i, &role); i++) {
        bool plain = mark(g, role.name, seen), octet = false;
        if (role.k && source_octet_names(role.name, &octet_names) == ST_OK &&
            mark(g, octet_names.q, seen)) {
            octet = true;
            mark(g, octet_names.scale, seen);
            mark(g, octet_names.zero, seen);
            mark(g, octet_names.act, seen);
        }
        if (!plain && !octet && !role.optional)
            return error_set(err, ST_FORMAT, "%s: the tensor %s is missing", gguf_path(g),
                             role.name);
        if (plain && octet)
            return error_set(err, ST_FORMAT, "%s: %s is there twice, as %s too", gguf_path(g),
                             role.name, octet_names.q);
    }
    return ST_OK;
}

static int check_names(const struct gguf *g, const struct hparams *hp, struct error *err)
{
    bool *seen = calloc(gguf_n_tensors(g) + 1, sizeof(*seen));
    int r = seen ? check_roles(g, hp, seen, err) : error_set(err, ST_NOMEM, "out of memory");

    for (size_t i = 0; r == ST_OK && i < gguf_n_tensors(g); i++)
        if (!seen[i])
            r = error_set(err, ST_UNSUPPORTED,
                          "%s: the tensor %s is not known to architecture %s: the file needs "
                          "something that is not built",
                          gguf_path(g), gguf_show(gguf_tensor_at(g, i)->name).text, hp->arch);
    free(seen);
    return r;
}

/* Tokens are rows of the embedding; a file that quantizes it has it in octet's form. */
static int read_vocab(const struct gguf *g, struct hparams *hp, struct error *err)
{
    const struct gguf_tensor *t = gguf_find(g, "token_embd.weight");

    if (!t)
        t = gguf_find(g, "token_embd.octet_q");
    if (!t)
        return error_set(err, ST_FORMAT, "%s: the tensor token_embd.weight is missing",
                         gguf_path(g));
    if (t->dims[1] > LIMIT_VOCAB)
        return error_set(err, ST_FORMAT, "%s: %llu tokens, at most %u are allowed", gguf_path(g),
                         (unsigned long long)t->dims[1], LIMIT_VOCAB);
    hp->n_vocab = (uint32_t)t->dims[1];
    return ST_OK;
}

int weights_read_shape(const struct gguf *g, struct hparams *ret_hp, struct error *err)
{
    struct hparams hp;
    int r = hparams_read(g, &hp, err);

    if (r == ST_OK)
        r = read_vocab(g, &hp, err);
    if (r == ST_OK)
        r = check_names(g, &hp, err);
    if (r == ST_OK)
        *ret_hp = hp;
    return r;
}

static bool fits_any(const struct gguf *g, const struct hparams *hp, const char *pattern)
{
    struct tensor_role t;

    for (size_t i = 0; weights_tensor_at(hp, i, &t); i++) {
        if (!t.k || !source_exists(g, t.name))
            continue;
        t.name[strlen(t.name) - strlen(".weight")] = '\0';
        if (quant_plan_fits(pattern, t.name))
            return true;
    }
    return false;
}

int weights_check_plan(const struct gguf *g, const struct hparams *hp,
                       const struct quant_plan *plan, struct error *err)
{
    const char *pattern;

    for (size_t i = 0; (pattern = quant_plan_pattern(plan, i)); i++)
        if (!fits_any(g, hp, pattern))
            return error_set(
                err, ST_INVALID,
                "plan: \"%s\" is no module of %s; those are token_embd%s and, with N from 0 to %u, "
                "blk.N.attn_q, .attn_k, .attn_v, .attn_output, .ffn_gate, .ffn_up and .ffn_down",
                pattern, gguf_path(g),
                source_exists(g, "output.weight") ? ", output" : " (the head too)",
                hp->n_layer - 1);
    return ST_OK;
}

int weights_read_vector(const struct gguf *g, const char *name, size_t n, float **ret_vector,
                        struct error *err)
{
    const struct gguf_tensor *t = gguf_find(g, name);

    if (!t)
        return error_set(err, ST_NOTFOUND, "%s: the tensor %s is missing", gguf_path(g), name);
    if (t->n_elems != n || t->dims[0] != n)
        return error_set(err, ST_FORMAT, "%s: tensor %s has %llu elements, this network needs %zu",
                         gguf_path(g), name, (unsigned long long)t->n_elems, n);
    float *v = malloc(n * sizeof(*v));
    if (!v)
        return error_set(err, ST_NOMEM, "out of memory for %s", name);
    dequant_row(t->type, t->data, v, n);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i])) {
            free(v);
            return error_set(err, ST_FORMAT, "%s: tensor %s holds a NaN or an infinity",
                             gguf_path(g), name);
        }
    *ret_vector = v;
    return ST_OK;
}
