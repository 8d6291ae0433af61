/* hf_tensors.c - tensors by their Hugging Face names → tensors by GGUF's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "model/format/dequant.h"
#include "model/format/hf_priv.h"

#define PI 3.14159265358979323846

/* Whose heads' rows a llama keeps in another order. */
enum heads { HEADS_NONE, HEADS_Q, HEADS_KV };

struct rule {
    const char *hf, *gguf;
    enum heads heads;
};

static const struct rule globals[] = {
    {"model.embed_tokens.weight", "token_embd.weight", HEADS_NONE},
    {"model.norm.weight", "output_norm.weight", HEADS_NONE},
    {"lm_head.weight", "output.weight", HEADS_NONE}};

/* Of model.layers.N. → blk.N. */
static const struct rule in_layer[] = {
    {"input_layernorm.weight", "attn_norm.weight", HEADS_NONE},
    {"self_attn.q_proj.weight", "attn_q.weight", HEADS_Q},
    {"self_attn.k_proj.weight", "attn_k.weight", HEADS_KV},
    {"self_attn.v_proj.weight", "attn_v.weight", HEADS_NONE},
    {"self_attn.q_proj.bias", "attn_q.bias", HEADS_Q},
    {"self_attn.k_proj.bias", "attn_k.bias", HEADS_KV},
    {"self_attn.v_proj.bias", "attn_v.bias", HEADS_NONE},
    {"self_attn.o_proj.weight", "attn_output.weight", HEADS_NONE},
    {"post_attention_layernorm.weight", "ffn_norm.weight", HEADS_NONE},
    {"mlp.gate_proj.weight", "ffn_gate.weight", HEADS_NONE},
    {"mlp.up_proj.weight", "ffn_up.weight", HEADS_NONE},
    {"mlp.down_proj.weight", "ffn_down.weight", HEADS_NONE}};

/* ---- names ---- */

static const struct rule *find_rule(const struct rule *rules, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(rules[i].hf, name) == 0)
            return &rules[i];
    return NULL;
}

/* "17.rest" → 17 and "rest"; false: it is no such name. */
static bool read_layer(const char *at, unsigned *ret_layer, const char **ret_rest)
{
    unsigned layer = 0;
    size_t n = 0;

    for (; at[n] >= '0' && at[n] <= '9' && n < 5; n++)
        layer = 10 * layer + (unsigned)(at[n] - '0');
    if (n == 0 || at[n] != '.' || (n > 1 && *at == '0') || layer >= LIMIT_LAYERS)
        return false;
    *ret_layer = layer;
    *ret_rest = at + n + 1;
    return true;
}

/* What a matrix in integers consists of. */
static const struct part {
    const char *hf, *octet;
    bool ints;
} parts_of_ints[] = {{".weight", ".octet_q", true},
                     {".weight_scale", ".octet_scale", false},
                     {".weight_zero_point", ".octet_zero", true}};

/* NULL: it is a tensor of floats. */
static const struct part *find_part(const struct hf *hf, const struct safetensor *from)
{
    const bool ints = strcmp(from->dtype, "I8") == 0;
    const size_t len = strlen(from->name);

    for (size_t i = 0; hf->quantized.on && i < sizeof(parts_of_ints) / sizeof(struct part); i++) {
        const struct part *part = &parts_of_ints[i];
        const size_t n = strlen(part->hf);

        if (part->ints == ints && len > n && strcmp(from->name + len - n, part->hf) == 0)
            return part;
    }
    return NULL;
}

/* NULL: no network that is built has it. */
static const struct rule *name_tensor(const char *name, char gguf_name[static 64])
{
    static const char prefix[] = "model.layers.";
    const size_t n_prefix = sizeof(prefix) - 1;
    const struct rule *rule = find_rule(globals, sizeof(globals) / sizeof(*globals), name);
    const char *rest;
    unsigned layer;

    if (rule) {
        snprintf(gguf_name, 64, "%s", rule->gguf);
        return rule;
    }
    if (strncmp(name, prefix, n_prefix) != 0 || !read_layer(name + n_prefix, &layer, &rest))
        return NULL;
    rule = find_rule(in_layer, sizeof(in_layer) / sizeof(*in_layer), rest);
    if (rule)
        snprintf(gguf_name, 64, "blk.%u.%s", layer, rule->gguf);
    return rule;
}

/* What files carry that the network computes itself, or has already. */
static bool is_spare(const struct hf *hf, const char *name)
{
    static const char freqs[] = "rotary_emb.inv_freq";
    size_t n = strlen(name), n_freqs = sizeof(freqs) - 1;

    if (hf->tied && strncmp(name, "lm_head.", 8) == 0)
        return true;
    return n >= n_freqs && strcmp(name + n - n_freqs, freqs) == 0;
}

/* As name_tensor; a part of a matrix in integers has its weight's rule. */
static const struct rule *name_part(const struct safetensor *from, const struct part *part,
                                    char name[static 64])
{
    char weight[128];
    const struct rule *rule;
    size_t len;

    if (!part)
        return name_tensor(from->name, name);
    len = strlen(from->name) - strlen(part->hf);
    if (len + sizeof(".weight") > sizeof(weight))
        return NULL;
    snprintf(weight, sizeof(weight), "%.*s.weight", (int)len, from->name);
    rule = name_tensor(weight, name);
    if (rule) {
        len = strlen(name) - strlen(".weight");
        snprintf(name + len, 64 - len, "%s", part->octet);
    }
    return rule;
}

bool hf_name_ints(const struct hf *hf, const struct safetensor *from, char name[static 64])
{
    const struct part *part = find_part(hf, from);

    if (part != parts_of_ints || is_spare(hf, from->name) || !name_part(from, part, name))
        return false;
    name[strlen(name) - strlen(part->octet)] = '\0';
    return true;
}

/* ---- data ---- */

static int keep(struct hf_parts *parts, void *copy, struct gguf_tensor *t)
{
    if (!copy)
        return ST_NOMEM;
    parts->copies[parts->n_copies++] = copy;
    t->data = copy;
    return ST_OK;
}

/* RoPE turns pairs of a head's rows. Transformers has row i's partner half a head away, GGUF's llama
 * beside it: rows 0 h/2 1 h/2+1 … of each head. */
static size_t turned(const struct hf *hf, size_t row)
{
    const size_t in_head = row % hf->head_dim;

    return row - in_head + in_head / 2 + in_head % 2 * (hf->head_dim / 2);
}

/* Rows in GGUF's order, n_head not 0, and with zeros up to `wide` bytes each. */
static int copy_rows(const struct hf *hf, struct hf_parts *parts, const struct safetensor *from,
                     uint32_t n_head, size_t wide, struct gguf_tensor *t)
{
    const size_t n = from->dims[0], row = from->n_bytes / n;
    uint8_t *copy;

    if (n_head && n != (uint64_t)n_head * hf->head_dim)
        return error_set(
            hf->err, ST_FORMAT, "%s: tensor '%s' has %zu rows; %u heads of %u need %llu", hf->dir,
            from->name, n, n_head, hf->head_dim, (unsigned long long)n_head * hf->head_dim);
    if (!checked_mul(n, wide, &t->n_bytes))
        return ST_NOMEM;
    copy = calloc(n, wide);
    for (size_t i = 0; copy && i < n; i++)
        memcpy(copy + i * wide, from->data + (n_head ? turned(hf, i) : i) * row, row);
    return keep(parts, copy, t);
}

/* Scales are F32 at octet. */
static int widen(struct hf_parts *parts, struct gguf_tensor *t)
{
    float *copy = t->type == GGUF_F32 ? NULL : malloc(t->n_elems * sizeof(*copy));

    if (t->type == GGUF_F32)
        return ST_OK;
    if (copy)
        dequant_row(t->type, t->data, copy, t->n_elems);
    t->type = GGUF_F32;
    t->n_bytes = t->n_elems * sizeof(*copy);
    return keep(parts, copy, t);
}

static int read_type(const struct hf *hf, const struct safetensor *from, uint32_t *ret_type)
{
    static const enum gguf_type types[] = {GGUF_F32, GGUF_F16, GGUF_BF16};

    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
        if (strcmp(from->dtype, gguf_type_name(types[i])) == 0) {
            *ret_type = types[i];
            return ST_OK;
        }
    }
    return error_set(hf->err, ST_UNSUPPORTED,
                     "%s: tensor '%s' is of dtype %s, which is not read; F32, F16 and BF16 are",
                     hf->dir, from->name, from->dtype);
}

/* part: NULL of a tensor of floats. */
static int fill(const struct hf *hf, struct hf_parts *parts, const struct safetensor *from,
                const struct part *part, enum heads heads, struct gguf_tensor *t)
{
    const bool turn = heads != HEADS_NONE && strcmp(hf->arch, "llama") == 0;
    int r = ST_OK;

    t->type = GGUF_I8;
    if (!part || !part->ints)
        r = read_type(hf, from, &t->type);
    if (r)
        return r;
    if (from->n_dims != 2 && (from->n_dims != 1 || part))
        return error_set(hf->err, ST_FORMAT, "%s: tensor '%s' has %u dimensions; %s possible",
                         hf->dir, from->name, from->n_dims, part ? "2 are" : "1 or 2 are");
    t->n_dims = from->n_dims;
    for (uint32_t d = 0; d < LIMIT_GGUF_DIMS; d++)
        t->dims[d] = d < t->n_dims ? from->dims[t->n_dims - 1 - d] : 1;
    t->n_bytes = from->n_bytes;
    t->data = from->data;
    size_t wide = from->n_bytes / from->dims[0];
    if (part == parts_of_ints)
        wide = t->dims[0] = hf_padded(&hf->quantized, t->dims[0]);
    if (turn || wide * from->dims[0] != from->n_bytes)
        r = copy_rows(hf, parts, from,
                      !turn              ? 0
                      : heads == HEADS_Q ? hf->n_head
                                         : hf->n_kv,
                      wide, t);
    t->n_elems = t->n_bytes / (from->n_bytes / from->n_elems);
    return r == ST_OK && part && !part->ints ? widen(parts, t) : r;
}

/* Divisors of Llama 3.1's slow frequencies, as llama.cpp stores them: waves longer than low_wave are
 * slowed by the factor, those shorter than high_wave are left, between them lies a ramp.
 * (transformers, modeling_rope_utils.py, _compute_llama3_parameters) */
static int make_freqs(const struct hf *hf, struct hf_parts *parts, struct gguf_tensor *t)
{
    const size_t n = hf->head_dim / 2;
    const double factor = hf->rope_factor, low = hf->rope_low, high = hf->rope_high;
    float *divisors = malloc(n * sizeof(*divisors));

    for (size_t i = 0; divisors && i < n; i++) {
        double wave = 2.0 * PI * pow(hf->rope_base, 2.0 * (double)i / hf->head_dim);
        double smooth = (hf->rope_n_ctx / wave - low) / (high - low);

        smooth = smooth < 0.0 ? 0.0 : smooth > 1.0 ? 1.0 : smooth;
        divisors[i] = (float)(1.0 / ((1.0 - smooth) / factor + smooth));
    }
    *t = (struct gguf_tensor){.type = GGUF_F32,
                              .n_dims = 1,
                              .dims = {n, 1, 1, 1},
                              .n_elems = n,
                              .n_bytes = n * sizeof(*divisors)};
    return keep(parts, divisors, t);
}

/* ---- all of them ---- */

/* Symmetric weights need no zero points; some files have them all the same. */
static int skip_zeros(const struct hf *hf, const struct safetensor *from)
{
    for (uint64_t i = 0; i < from->n_bytes; i++)
        if (from->data[i])
            return error_set(hf->err, ST_FORMAT,
                             "%s: tensor '%s' holds a zero point other than 0, but "
                             "quantization_config says that weights are symmetric",
                             hf->dir, from->name);
    return ST_OK;
}

static int add(struct hf *hf, struct gguf *g, struct hf_parts *parts, const struct safetensor *from)
{
    struct gguf_tensor *t = &g->tensors[g->n_tensors];
    char *name = parts->names[g->n_tensors];
    const struct part *part = find_part(hf, from);
    const struct rule *rule;
    int r;

    if (is_spare(hf, from->name))
        return ST_OK;
    rule = name_part(from, part, name);
    if (!rule)
        return error_set(hf->err, ST_UNSUPPORTED,
                         "%s: the tensor '%s' is not known to architecture %s: the model needs "
                         "something that is not built",
                         hf->dir, gguf_show((struct gguf_str){from->name, strlen(from->name)}).text,
                         hf->arch);
    if (part == &parts_of_ints[2] && !hf->quantized.zero)
        return skip_zeros(hf, from);
    if ((r = fill(hf, parts, from, part, rule->heads, t)))
        return r;
    t->name = (struct gguf_str){name, strlen(name)};
    g->n_tensors++;
    return ST_OK;
}

static int add_all(struct hf *hf, struct gguf *g, struct hf_parts *parts)
{
    int r;

    for (size_t s = 0; s < parts->n_shards; s++) {
        for (size_t i = 0; i < safetensors_n(parts->shards[s]); i++) {
            if ((r = add(hf, g, parts, safetensors_at(parts->shards[s], i))))
                return r;
        }
    }
    if (hf->rope_llama3) {
        char *name = parts->names[g->n_tensors];
        struct gguf_tensor *t = &g->tensors[g->n_tensors];

        if ((r = make_freqs(hf, parts, t)))
            return r;
        snprintf(name, 64, "rope_freqs.weight");
        t->name = (struct gguf_str){name, strlen(name)};
        g->n_tensors++;
    }
    return ST_OK;
}

int hf_read_tensors(struct hf *hf, struct gguf *g, struct hf_parts *parts)
{
    size_t n = 1; /* one more may be made */
    int r;

    g->n_bytes = 0;
    for (size_t i = 0; i < parts->n_shards; i++) {
        n += safetensors_n(parts->shards[i]);
        g->n_bytes += safetensors_file_bytes(parts->shards[i]);
    }
    if (n > LIMIT_GGUF_TENSORS)
        return error_set(hf->err, ST_FORMAT, "%s: there are %zu tensors; at most %u are read",
                         hf->dir, n - 1, LIMIT_GGUF_TENSORS);
    free(g->tensors);
    free(g->tensor_index.names);
    g->tensor_index = (struct gguf_index){0};
    g->tensors = calloc(n, sizeof(*g->tensors));
    parts->names = calloc(n, sizeof(*parts->names));
    parts->copies = calloc(2 * n, sizeof(*parts->copies));
    if (!g->tensors || !parts->names || !parts->copies)
        return ST_NOMEM;
    if ((r = add_all(hf, g, parts)))
        return r;
    r = gguf_index_make(g, "tensor", g->tensors, g->n_tensors, sizeof(*g->tensors),
                        &g->tensor_index, hf->err);
    if (r == ST_OK && !hf->tied && !gguf_find(g, "output.weight") &&
        !gguf_find(g, "output.octet_q"))
        r = error_set(hf->err, ST_FORMAT,
                      "%s: lm_head.weight is missing, and %s does not say tie_word_embeddings",
                      hf->dir, hf->config.path);
    return r;
}
