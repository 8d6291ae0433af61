#include "model/net/weights.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "model/format/dequant.h"
#include "model/quant/source.h"

struct loader {
    const struct gguf *g;
    struct weights *w;
    enum model_precision precision;
    const struct model_progress *progress;
    struct error *err;
    struct quant_scheme scheme; /* of matrices that are converted */
    bool as_stored;             /* octet's own file: each matrix says its spec */
    uint64_t done;              /* weights so far */
};

static int load_vector(struct loader *ld, const char *name, size_t n, float **ret)
{
    if (!gguf_find(ld->g, name))
        return ST_NOTFOUND;
    ld->w->n_params += n;
    return weights_read_vector(ld->g, name, n, ret, ld->err);
}

static int spec_of(struct loader *ld, const char *name, size_t k, int role, struct quant_spec *ret)
{
    if (ld->precision == MODEL_FP32) {
        *ret = (struct quant_spec){0};
        return ST_OK;
    }
    if (ld->as_stored) {
        int r = source_stored_spec(ld->g, name, ret, ld->err);
        if (r != ST_OK)
            return r;
        if (ret->bits)
            return ST_OK; /* else a matrix left in floats: the default scheme for it */
    }
    const bool tied = !source_exists(ld->g, "output.weight");
    *ret = quant_spec_for(quant_scheme_choice(&ld->scheme, name, tied), role, k,
                          hparams_head_block(&ld->w->hp));
    return ST_OK;
}

enum { PARTS_MAX = 3 }; /* q, k and v */

/* A matrix and where its rows go: runs of `unit` outputs, `step` apart, from `at` on. */
struct part {
    char name[64];
    size_t n;
    int role;
    size_t at, unit, step;
};

/* Row i of s → output `to` of l. row: room for it, as floats or integers. */
static int load_row(struct loader *ld, struct source *s, size_t i, struct linear *l, size_t to,
                    const struct quant_row *row)
{
    bool ints = l->desc.w_bits != 32;
    int r = ints ? source_row_ints(s, i, row, ld->err) : source_row_f32(s, i, row->scales, ld->err);

    if (r == ST_OK && ints)
        linear_set_row(l, to, row);
    else if (r == ST_OK)
        linear_set_row_f32(l, to, row->scales);
    return r;
}

/* Rows of one matrix → outputs of l. */
static int load_rows(struct loader *ld, struct linear *l, const struct part *part, size_t k,
                     const struct quant_spec *spec)
{
    struct source *s = NULL;
    const size_t kp = quant_padded(spec, k);
    struct quant_row row = {0};
    int r = source_open(ld->g, part->name, part->n, k, spec, &s, ld->err);

    if (r != ST_OK)
        return r;
    row = (struct quant_row){malloc(kp), malloc(kp * sizeof(float)), malloc(kp)};
    if (!row.q || !row.scales || !row.zeros)
        r = error_set(ld->err, ST_NOMEM, "out of memory for %s", part->name);
    for (size_t i = 0; i < part->n && r == ST_OK; i++) {
        size_t to = part->at + i / part->unit * part->step + i % part->unit;
        r = load_row(ld, s, i, l, to, &row);
        ld->done += k;
        if (ld->progress->fn && i % 256 == 255)
            ld->progress->fn(ld->progress->arg, "loading", ld->done, ld->w->n_params);
    }
    source_free(s);
    free(row.q);
    free(row.scales);
    free(row.zeros);
    return r;
}

static struct linear_desc desc_of(const struct quant_spec *spec, size_t n, size_t k, bool online)
{
    bool ints = spec->bits != 0;

    return (struct linear_desc){.n = n,
                                .k = quant_padded(spec, k),
                                .w_bits = ints ? spec->bits : 32,
                                .group = spec->group,
                                .scale = !ints             ? SCALE_NONE
                                         : spec->scale_f32 ? SCALE_F32
                                                           : SCALE_F16,
                                .w_zero = spec->zero != 0,
                                .a_zero = spec->act_zero != 0,
                                .act = ints ? ACT_DYNAMIC_GROUP : ACT_FLOAT,
                                .act_group = spec->act_group,
                                .block_in = spec->block_in,
                                .online = ints && online};
}

/* One linear layer of n outputs out of one or more matrices that read the same input. Outputs that
 * no matrix has a row for stay zero. */
static int load_linear(struct loader *ld, struct linear *l, const struct part *parts,
                       size_t n_parts, size_t n, size_t k, bool online)
{
    struct quant_spec spec[PARTS_MAX];
    const struct kernels *kernels = kernels_get(ld->err);
    int r = kernels ? ST_OK : ST_INVALID;

    assert(n_parts <= PARTS_MAX);
    for (size_t i = 0; i < n_parts && r == ST_OK; i++) {
        r = spec_of(ld, parts[i].name, k, parts[i].role, &spec[i]);
        struct quant_spec alike = spec[i];
        alike.block_out = spec[0].block_out;
        if (r == ST_OK && memcmp(&alike, &spec[0], sizeof(alike)) != 0)
            r = error_set(ld->err, ST_UNSUPPORTED,
                          "%s: %s and %s read the same input in different schemes: not built",
                          gguf_path(ld->g), parts[0].name, parts[i].name);
    }
    if (r != ST_OK)
        return r;
    struct linear_desc desc = desc_of(&spec[0], n, k, online);
    r = linear_open(l, &desc, kernels, &ld->w->arena, parts[0].name, ld->err);
    for (size_t i = 0; i < n_parts && r == ST_OK; i++)
        r = load_rows(ld, l, &parts[i], k, &spec[i]);
    ld->w->bytes += linear_bytes(l);
    return r;
}

static struct part part_of(size_t layer, const char *name, size_t n, int role)
{
    struct part p = {.n = n, .role = role, .unit = n, .step = n};
    snprintf(p.name, sizeof(p.name), "blk.%zu.%s", layer, name);
    return p;
}

/* q, k and v biases in one vector; v's is rotated as v is. None at all: NULL. */
static int load_bias(struct loader *ld, size_t i, struct layer *layer, uint32_t v_block)
{
    const struct hparams *hp = &ld->w->hp;
    const size_t q = (size_t)hp->n_head * hp->head_dim, kv = (size_t)hp->n_kv * hp->head_dim;
    const struct part parts[3] = {part_of(i, "attn_q.bias", q, 0), part_of(i, "attn_k.bias", kv, 0),
                                  part_of(i, "attn_v.bias", kv, 0)};
    float *all = calloc(q + 2 * kv, sizeof(*all)), *to = all;
    bool any = false;

    if (!all)
        return error_set(ld->err, ST_NOMEM, "out of memory for biases");
    for (size_t p = 0; p < 3; to += parts[p].n, p++) {
        float *v = NULL;
        int r = load_vector(ld, parts[p].name, parts[p].n, &v);
        if (r == ST_NOTFOUND)
            continue;
        if (r != ST_OK) {
            free(all);
            return r;
        }
        memcpy(to, v, parts[p].n * sizeof(*v));
        free(v);
        any = true;
    }
    if (!any) {
        free(all);
        return ST_OK;
    }
    source_turn(all + q + kv, kv, 1, v_block);
    layer->qkv_bias = all;
    return ST_OK;
}

/* Every head begins a panel. Returns the outputs in all. */
static size_t place_heads(struct part *qkv, size_t d)
{
    size_t at = 0, step = weights_head_step(d);

    for (size_t i = 0; i < 3; i++) {
        qkv[i].at = at;
        qkv[i].unit = d;
        qkv[i].step = step;
        at += qkv[i].n / d * step;
    }
    return at;
}

static void take_turns(struct part *gate_up, size_t unit)
{
    for (size_t i = 0; i < 2; i++) {
        gate_up[i].at = i * unit;
        gate_up[i].unit = unit;
        gate_up[i].step = 2 * unit;
    }
}

static int load_layer(struct loader *ld, size_t i)
{
    const struct hparams *hp = &ld->w->hp;
    struct layer *layer = &ld->w->layers[i];
    const size_t d = hp->d_model, q = (size_t)hp->n_head * hp->head_dim,
                 kv = (size_t)hp->n_kv * hp->head_dim;
    struct part qkv[3] = {part_of(i, "attn_q.weight", q, QUANT_PLAIN),
                          part_of(i, "attn_k.weight", kv, QUANT_PLAIN),
                          part_of(i, "attn_v.weight", kv, QUANT_V)};
    const struct part o = part_of(i, "attn_output.weight", d, QUANT_O);
    struct part gu[2] = {part_of(i, "ffn_gate.weight", hp->d_ff, QUANT_PLAIN),
                         part_of(i, "ffn_up.weight", hp->d_ff, QUANT_PLAIN)};
    const struct part down = part_of(i, "ffn_down.weight", d, QUANT_PLAIN);
    struct quant_spec v_spec, o_spec;

    int r = load_vector(ld, part_of(i, "attn_norm.weight", d, 0).name, d, &layer->attn_norm);
    if (r == ST_OK)
        r = load_vector(ld, part_of(i, "ffn_norm.weight", d, 0).name, d, &layer->ffn_norm);
    if (r == ST_OK)
        r = spec_of(ld, qkv[2].name, d, QUANT_V, &v_spec);
    if (r == ST_OK)
        r = spec_of(ld, o.name, q, QUANT_O, &o_spec);
    if (r != ST_OK)
        return r;
    if (v_spec.block_out && v_spec.block_out != o_spec.block_in)
        return error_set(ld->err, ST_FORMAT, "%s: %s is rotated in blocks of %u but %s expects %u",
                         gguf_path(ld->g), qkv[2].name, v_spec.block_out, o.name, o_spec.block_in);
    if (v_spec.block_out && hp->head_dim % v_spec.block_out)
        return error_set(ld->err, ST_FORMAT,
                         "%s: %s is rotated in blocks of %u, which heads of %u do not hold",
                         gguf_path(ld->g), qkv[2].name, v_spec.block_out, hp->head_dim);
    take_turns(gu, ld->w->ffn_unit);
    r = load_bias(ld, i, layer, v_spec.block_out);
    if (r == ST_OK)
        r = load_linear(ld, &layer->qkv, qkv, 3, place_heads(qkv, hp->head_dim), d, true);
    if (r == ST_OK)
        r = load_linear(ld, &layer->o, &o, 1, d, q, v_spec.block_out == 0);
    if (r == ST_OK)
        r = load_linear(ld, &layer->gate_up, gu, 2, 2 * (size_t)hp->d_ff, d, true);
    if (r == ST_OK)
        r = load_linear(ld, &layer->down, &down, 1, d, hp->d_ff, true);
    return r;
}

/* Which scheme the file is in, or is converted to (design.md: "What runs"). */
static void choose_scheme(struct loader *ld)
{
    struct tensor_role role;
    bool all_q8_0 = true;

    ld->as_stored = gguf_key(ld->g, "octet.scheme") != NULL;
    for (size_t i = 0; weights_tensor_at(&ld->w->hp, i, &role); i++) {
        const struct gguf_tensor *t = gguf_find(ld->g, role.name);
        if (role.k && t && t->type != GGUF_Q8_0)
            all_q8_0 = false;
    }
    quant_scheme_parse(all_q8_0 && !ld->as_stored ? "q8_0" : "int8", &ld->scheme, NULL);
    struct gguf_str stored = {"", 0};
    if (ld->precision == MODEL_FP32)
        snprintf(ld->w->scheme, sizeof(ld->w->scheme), "fp32");
    else if (ld->as_stored && gguf_get_str(ld->g, "octet.scheme", &stored, NULL) == ST_OK)
        snprintf(ld->w->scheme, sizeof(ld->w->scheme), "%s", gguf_show(stored).text);
    else
        quant_scheme_label(&ld->scheme, ld->w->scheme, sizeof(ld->w->scheme));
}

static int load_freqs(struct loader *ld)
{
    const struct hparams *hp = &ld->w->hp;
    float *factors = NULL;

    ld->w->inv_freq = calloc(hp->n_rot / 2, sizeof(double));
    if (!ld->w->inv_freq)
        return error_set(ld->err, ST_NOMEM, "out of memory");
    /* llama3's scaling comes only as this tensor: divisors of the frequencies. */
    int r = load_vector(ld, "rope_freqs.weight", hp->n_rot / 2, &factors);
    if (r != ST_OK && r != ST_NOTFOUND)
        return r;
    for (size_t i = 0; i < hp->n_rot / 2; i++) {
        double f = pow((double)hp->rope_base, -2.0 * (double)i / (double)hp->n_rot) /
                   (double)hp->rope_scale;
        ld->w->inv_freq[i] = factors ? f / (double)factors[i] : f;
        /* Zero or negative factors, or a base below 1: angles that no position means. */
        if (!(ld->w->inv_freq[i] > 0.0 && ld->w->inv_freq[i] * hp->n_ctx < 1e9))
            r = error_set(ld->err, ST_FORMAT,
                          "%s: RoPE turns pair %zu by %g a position: check %s.rope.freq_base%s",
                          gguf_path(ld->g), i, ld->w->inv_freq[i], hp->arch,
                          factors ? " and rope_freqs.weight" : "");
    }
    free(factors);
    return r == ST_NOTFOUND ? ST_OK : r;
}

static void count_params(struct loader *ld)
{
    struct tensor_role role;
    for (size_t i = 0; weights_tensor_at(&ld->w->hp, i, &role); i++)
        if (role.k && source_exists(ld->g, role.name))
            ld->w->n_params += (uint64_t)role.n * role.k;
}

/* Room for all matrices, as they will be packed. */
static int open_arena(struct loader *ld)
{
    struct tensor_role role;
    size_t bytes = 0, one;

    for (size_t i = 0; weights_tensor_at(&ld->w->hp, i, &role); i++) {
        struct quant_spec spec;
        if (!role.k || !source_exists(ld->g, role.name))
            continue;
        int r = spec_of(ld, role.name, role.k, role.role, &spec);
        if (r != ST_OK)
            return r;
        size_t n = role.n / role.unit * weights_head_step(role.unit);
        struct linear_desc desc = desc_of(&spec, n, role.k, true);
        if (!linear_room(&desc, &one) || __builtin_add_overflow(bytes, one, &bytes))
            return error_set(ld->err, ST_NOMEM, "%s: the matrices are too large", gguf_path(ld->g));
    }
    if (arena_open(&ld->w->arena, bytes) != ST_OK)
        return error_set(ld->err, ST_NOMEM, "out of memory for the weights (%zu bytes)", bytes);
    return ST_OK;
}

int weights_load(const struct gguf *g, enum model_precision precision,
                 const struct model_progress *progress, struct weights *ret_weights,
                 struct error *err)
{
    struct weights w = {0};
    struct loader ld = {.g = g, .w = &w, .precision = precision, .progress = progress, .err = err};
    struct part embed = {.name = "token_embd.weight", .role = QUANT_PLAIN},
                head = {.name = "output.weight", .role = QUANT_PLAIN};

    int r = weights_read_shape(g, &w.hp, err);
    if (r != ST_OK)
        return r;
    choose_scheme(&ld);
    count_params(&ld);
    embed.n = embed.unit = embed.step = w.hp.n_vocab;
    head.n = head.unit = head.step = w.hp.n_vocab;
    w.ffn_unit = w.hp.d_ff % FFN_UNIT ? w.hp.d_ff : FFN_UNIT;
    w.layers = calloc(w.hp.n_layer, sizeof(*w.layers));
    r = w.layers ? load_freqs(&ld) : error_set(err, ST_NOMEM, "out of memory");
    if (r == ST_OK)
        r = open_arena(&ld);
    if (r == ST_OK)
        r = load_vector(&ld, "output_norm.weight", w.hp.d_model, &w.output_norm);
    if (r == ST_OK)
        r = load_linear(&ld, &w.embed, &embed, 1, w.hp.n_vocab, w.hp.d_model, true);
    if (r == ST_OK && source_exists(g, head.name))
        r = load_linear(&ld, &w.head, &head, 1, w.hp.n_vocab, w.hp.d_model, true);
    for (size_t i = 0; i < w.hp.n_layer && r == ST_OK; i++)
        r = load_layer(&ld, i);
    if (r != ST_OK) {
        weights_done(&w);
        return r;
    }
    if (progress->fn)
        progress->fn(progress->arg, "loading", w.n_params, w.n_params);
    *ret_weights = w;
    return ST_OK;
}

void weights_done(struct weights *w)
{
    for (size_t i = 0; w->layers && i < w->hp.n_layer; i++) {
        struct layer *l = &w->layers[i];
        free(l->attn_norm);
        free(l->ffn_norm);
        free(l->qkv_bias);
    }
    free(w->layers);
    arena_done(&w->arena);
    free(w->output_norm);
    free(w->inv_freq);
    *w = (struct weights){0};
}

size_t weights_head_step(size_t d)
{
    return packed_panels(d) * PANEL;
}

const struct linear *weights_head(const struct weights *w)
{
    return w->head.map ? &w->head : &w->embed;
}
