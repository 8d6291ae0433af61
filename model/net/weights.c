#include "model/net/weights.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/net/sites.h"
#include "model/quant/source.h"

struct loader {
    const struct gguf *g;
    struct weights *w;
    enum model_precision precision;
    const struct model_progress *progress;
    struct error *err;
    const struct quant_plan *plan; /* of matrices that are converted */
    bool as_stored;                /* octet's own file: each matrix says its spec */
    bool tied;
    struct steps steps; /* of the input at hand, where it is static */
    uint64_t done;      /* weights so far */
};

static int load_vector(struct loader *ld, const char *name, size_t n, float **ret)
{
    if (!gguf_find(ld->g, name))
        return ST_NOTFOUND;
    ld->w->n_params += n;
    return weights_read_vector(ld->g, name, n, ret, ld->err);
}

static int load_layer_vector(struct loader *ld, size_t layer, const char *name, size_t n,
                             float **ret)
{
    char full[64];

    snprintf(full, sizeof(full), "blk.%zu.%s", layer, name);
    return load_vector(ld, full, n, ret);
}

static int spec_of(struct loader *ld, const char *name, size_t k, int role, struct quant_spec *ret)
{
    if (ld->precision == MODEL_FP32) {
        *ret = (struct quant_spec){.bits = 32};
        return ST_OK;
    }
    if (ld->as_stored) {
        int r = source_stored_spec(ld->g, name, ret, ld->err);
        if (r != ST_OK || ret->bits)
            return r; /* else of a type that is not ours: by the default */
    }
    *ret = quant_plan_spec(ld->plan, name, (enum quant_role)role, k,
                           ld->as_stored ? 0 : hparams_head_block(&ld->w->hp), ld->tied);
    return ST_OK;
}

/* Row i of s → output `to` of l. row: room for it, as floats or integers. */
static int load_row(struct loader *ld, struct source *s, size_t i, struct linear *l, size_t to,
                    const struct quant_row *row)
{
    const bool ints = l->desc.act != ACT_FLOAT;
    int r = ints ? source_row_ints(s, i, row, ld->err) : source_row_f32(s, i, row->scales, ld->err);

    if (r == ST_OK && ints)
        linear_set_row(l, to, row);
    else if (r == ST_OK)
        linear_set_row_f32(l, to, row->scales);
    return r;
}

static bool same_steps(const struct steps *a, const struct steps *b)
{
    const size_t bytes = a->n * sizeof(float);

    return a->n == b->n && memcmp(a->step, b->step, bytes) == 0 && !a->zero == !b->zero &&
           (!a->zero || memcmp(a->zero, b->zero, bytes) == 0);
}

/* Static activations: the steps of the input that all matrices of a site read. */
static int load_steps(struct loader *ld, struct linear *l, const struct part *part, size_t k)
{
    struct steps own = {0};

    if (!ld->as_stored)
        return error_set(
            ld->err, ST_UNSUPPORTED,
            "%s: %s is to have static activations, which octet quantize makes, not the "
            "loader: nothing is observed here",
            gguf_path(ld->g), part->name);
    int r = steps_read(ld->g, part->name, &part->spec, k, &own, ld->err);

    if (r == ST_OK && l == &ld->w->embed && own.n > 1)
        r = error_set(ld->err, ST_UNSUPPORTED,
                      "%s: %s has a step a channel, which an embedding cannot: not built",
                      gguf_path(ld->g), part->name);
    if (r == ST_OK && ld->steps.n && !same_steps(&ld->steps, &own))
        r = error_set(ld->err, ST_FORMAT, "%s: %s has other steps than what else reads its input",
                      gguf_path(ld->g), part->name);
    if (r == ST_OK)
        linear_set_steps(l, own.step, own.zero, own.n);
    steps_done(&ld->steps);
    ld->steps = own;
    return r;
}

/* Rows of one matrix → outputs of l. What l's inputs are padded to beyond it is zeros. */
static int load_rows(struct loader *ld, struct linear *l, const struct part *part, size_t k)
{
    struct source *s = NULL;
    const size_t kp = l->desc.k;
    struct quant_row row = {0};
    int r = l->desc.act == ACT_STATIC ? load_steps(ld, l, part, k) : ST_OK;

    if (r == ST_OK)
        r = source_open(ld->g, part->name, part->n, k, &part->spec, &s, ld->err);
    if (r != ST_OK)
        return r;
    row = (struct quant_row){calloc(kp, 1), calloc(kp, sizeof(float)), calloc(kp, 1)};
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

static int describe(struct loader *ld, struct site *s)
{
    int r = ST_OK;

    for (size_t i = 0; i < s->n_parts && r == ST_OK; i++)
        r = spec_of(ld, s->parts[i].name, s->k, s->parts[i].role, &s->parts[i].spec);
    return r == ST_OK ? site_describe(s, gguf_path(ld->g), ld->err) : r;
}

/* Each part by itself, its units one after another. */
static int load_parts(struct loader *ld, struct linear *l, const struct site *s,
                      const struct kernels *kernels)
{
    struct linear_part *parts = calloc(s->n_parts, sizeof(*parts));
    int r = parts ? ST_OK : error_set(ld->err, ST_NOMEM, "out of memory");

    for (size_t i = 0; i < s->n_parts && r == ST_OK; i++) {
        struct part own = s->parts[i];
        own.at = 0;
        own.step = weights_unit_step(own.unit);
        parts[i].at = s->parts[i].at;
        parts[i].step = s->parts[i].step;
        parts[i].unit = own.step;
        r = linear_open(&parts[i].linear, &s->descs[i], kernels, &ld->w->arena, own.name, ld->err);
        if (r == ST_OK)
            r = load_rows(ld, &parts[i].linear, &own, s->k);
    }
    if (r == ST_OK)
        linear_join(l, parts, s->n_parts, s->n);
    else
        free(parts);
    return r;
}

/* Outputs that no matrix has a row for stay zero. */
static int load_site(struct loader *ld, struct linear *l, struct site *s)
{
    const struct kernels *kernels = kernels_get(ld->err);
    int r = kernels ? describe(ld, s) : ST_INVALID;

    if (r == ST_OK && !s->alike) {
        r = load_parts(ld, l, s, kernels);
    } else if (r == ST_OK) {
        r = linear_open(l, &s->descs[0], kernels, &ld->w->arena, s->parts[0].name, ld->err);
        for (size_t i = 0; i < s->n_parts && r == ST_OK; i++)
            r = load_rows(ld, l, &s->parts[i], s->k);
    }
    steps_done(&ld->steps);
    ld->w->bytes += r == ST_OK ? linear_bytes(l) : 0;
    return r;
}

/* q, k and v biases in one vector; v's is rotated as v is. None at all: NULL. */
static int load_bias(struct loader *ld, size_t i, struct layer *layer, uint32_t v_block)
{
    const struct hparams *hp = &ld->w->hp;
    const size_t q = (size_t)hp->n_head * hp->head_dim, kv = (size_t)hp->n_kv * hp->head_dim;
    static const char *const names[3] = {"attn_q.bias", "attn_k.bias", "attn_v.bias"};
    const size_t n[3] = {q, kv, kv};
    float *all = calloc(q + 2 * kv, sizeof(*all)), *to = all;
    bool any = false;

    if (!all)
        return error_set(ld->err, ST_NOMEM, "out of memory for biases");
    for (size_t p = 0; p < 3; to += n[p], p++) {
        float *v = NULL;
        int r = load_layer_vector(ld, i, names[p], n[p], &v);
        if (r == ST_NOTFOUND)
            continue;
        if (r != ST_OK) {
            free(all);
            return r;
        }
        memcpy(to, v, n[p] * sizeof(*v));
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

/* v turns its outputs as o expects its inputs, or not at all. */
static int check_turn(struct loader *ld, const struct part *v, const struct part *o)
{
    const uint32_t block = v->spec.block_out, d = ld->w->hp.head_dim;

    if (block && block != o->spec.block_in)
        return error_set(ld->err, ST_FORMAT, "%s: %s is rotated in blocks of %u but %s expects %u",
                         gguf_path(ld->g), v->name, block, o->name, o->spec.block_in);
    if (block && d % block)
        return error_set(ld->err, ST_FORMAT,
                         "%s: %s is rotated in blocks of %u, which heads of %u do not hold",
                         gguf_path(ld->g), v->name, block, d);
    return ST_OK;
}

static int load_layer(struct loader *ld, size_t i)
{
    struct layer *layer = &ld->w->layers[i];
    struct linear *const to[SITES_OF_LAYER] = {&layer->qkv, &layer->o, &layer->gate_up,
                                               &layer->down};
    const size_t d = ld->w->hp.d_model;
    struct site sites[SITES_OF_LAYER];
    int r = load_layer_vector(ld, i, "attn_norm.weight", d, &layer->attn_norm);

    if (r == ST_OK)
        r = load_layer_vector(ld, i, "ffn_norm.weight", d, &layer->ffn_norm);
    for (size_t s = 0; s < SITES_OF_LAYER && r == ST_OK; s++) {
        sites[s] = site_of_layer(&ld->w->hp, ld->w->ffn_unit, i, s);
        r = describe(ld, &sites[s]);
    }
    if (r != ST_OK)
        return r;
    const struct part *v = &sites[0].parts[2];
    sites[1].online = v->spec.block_out == 0;
    r = check_turn(ld, v, &sites[1].parts[0]);
    if (r == ST_OK)
        r = load_bias(ld, i, layer, v->spec.block_out);
    for (size_t s = 0; s < SITES_OF_LAYER && r == ST_OK; s++)
        r = load_site(ld, to[s], &sites[s]);
    return r;
}

/* Are all matrices of a type that Q8_0 is no loss to? */
static bool all_q8_0(const struct loader *ld)
{
    struct tensor_role role;
    bool all = true;

    for (size_t i = 0; weights_tensor_at(&ld->w->hp, i, &role); i++) {
        const struct gguf_tensor *t = gguf_find(ld->g, role.name);
        all &= !role.k || !t || t->type == GGUF_Q8_0;
    }
    return all;
}

/* Which scheme the file is in, or is converted to (design.md: "What runs"). plan: the caller's, or a
 * default to be freed. */
static int choose_scheme(struct loader *ld, const struct quant_plan *plan,
                         struct quant_plan **ret_default)
{
    struct gguf_str stored = {"", 0};
    char *to = ld->w->scheme;
    int r = ST_OK;

    ld->tied = !source_exists(ld->g, "output.weight");
    ld->as_stored = !plan && gguf_key(ld->g, "octet.scheme") != NULL;
    if (plan)
        r = weights_check_plan(ld->g, &ld->w->hp, plan, ld->err);
    else
        r = quant_plan_new(!ld->as_stored && all_q8_0(ld) ? "q8_0" : "int8", ret_default, ld->err);
    if (r != ST_OK)
        return r;
    ld->plan = plan ? plan : *ret_default;
    if (ld->precision == MODEL_FP32)
        snprintf(to, sizeof(ld->w->scheme), "fp32");
    else if (ld->as_stored && gguf_get_str(ld->g, "octet.scheme", &stored, NULL) == ST_OK)
        snprintf(to, sizeof(ld->w->scheme), "%s", gguf_show(stored).text);
    else
        quant_plan_label(ld->plan, to, sizeof(ld->w->scheme));
    return ST_OK;
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

static int load_embed_smooth(struct loader *ld)
{
    const size_t d = ld->w->hp.d_model;
    int r = load_vector(ld, WEIGHTS_EMBED_SMOOTH, d, &ld->w->embed_smooth);

    for (size_t i = 0; r == ST_OK && i < d; i++)
        if (!(ld->w->embed_smooth[i] > 0.0f))
            r = error_set(ld->err, ST_FORMAT,
                          "%s: %s[%zu] is not above 0: the embedding cannot be divided by it",
                          gguf_path(ld->g), WEIGHTS_EMBED_SMOOTH, i);
    return r == ST_NOTFOUND ? ST_OK : r;
}

static void count_params(struct loader *ld)
{
    struct tensor_role role;
    for (size_t i = 0; weights_tensor_at(&ld->w->hp, i, &role); i++)
        if (role.k && source_exists(ld->g, role.name))
            ld->w->n_params += (uint64_t)role.n * role.k;
}

static int add_room(struct loader *ld, struct site *s, size_t *bytes)
{
    size_t one;
    int r = describe(ld, s);

    for (size_t i = 0; r == ST_OK && i < (s->alike ? 1 : s->n_parts); i++)
        if (!linear_room(&s->descs[i], &one) || __builtin_add_overflow(*bytes, one, bytes))
            return error_set(ld->err, ST_NOMEM, "%s: the matrices are too large", gguf_path(ld->g));
    return r;
}

/* Room for all matrices, as they will be packed. */
static int open_arena(struct loader *ld)
{
    struct site s = site_of_vocab(&ld->w->hp, "token_embd.weight");
    size_t bytes = 0;
    int r = add_room(ld, &s, &bytes);

    s = site_of_vocab(&ld->w->hp, "output.weight");
    if (r == ST_OK && !ld->tied)
        r = add_room(ld, &s, &bytes);
    for (size_t i = 0; i < ld->w->hp.n_layer * SITES_OF_LAYER && r == ST_OK; i++) {
        s = site_of_layer(&ld->w->hp, ld->w->ffn_unit, i / SITES_OF_LAYER, i % SITES_OF_LAYER);
        r = add_room(ld, &s, &bytes);
    }
    if (r == ST_OK && arena_open(&ld->w->arena, bytes) != ST_OK)
        r = error_set(ld->err, ST_NOMEM, "out of memory for the weights (%zu bytes)", bytes);
    return r;
}

static int load_all(struct loader *ld)
{
    struct weights *w = ld->w;
    struct site embed = site_of_vocab(&ld->w->hp, "token_embd.weight"),
                head = site_of_vocab(&ld->w->hp, "output.weight");
    int r = load_freqs(ld);

    if (r == ST_OK)
        r = open_arena(ld);
    if (r == ST_OK)
        r = load_vector(ld, "output_norm.weight", w->hp.d_model, &w->output_norm);
    if (r == ST_OK)
        r = load_embed_smooth(ld);
    if (r == ST_OK)
        r = load_site(ld, &w->embed, &embed);
    if (r == ST_OK && !ld->tied)
        r = load_site(ld, &w->head, &head);
    for (size_t i = 0; i < w->hp.n_layer && r == ST_OK; i++)
        r = load_layer(ld, i);
    return r;
}

int weights_load(const struct gguf *g, enum model_precision precision,
                 const struct quant_plan *plan, const struct model_progress *progress,
                 struct weights *ret_weights, struct error *err)
{
    struct weights w = {0};
    struct loader ld = {.g = g, .w = &w, .precision = precision, .progress = progress, .err = err};
    struct quant_plan *fallback = NULL;
    int r = weights_read_shape(g, &w.hp, err);

    if (r == ST_OK)
        r = choose_scheme(&ld, plan, &fallback);
    if (r != ST_OK)
        return r;
    count_params(&ld);
    w.ffn_unit = w.hp.d_ff % FFN_UNIT ? w.hp.d_ff : FFN_UNIT;
    w.layers = calloc(w.hp.n_layer, sizeof(*w.layers));
    r = w.layers ? load_all(&ld) : error_set(err, ST_NOMEM, "out of memory");
    quant_plan_free(fallback);
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
        free(l->qkv.parts);
        free(l->gate_up.parts);
    }
    free(w->layers);
    arena_done(&w->arena);
    free(w->output_norm);
    free(w->embed_smooth);
    free(w->inv_freq);
    *w = (struct weights){0};
}

const struct linear *weights_head(const struct weights *w)
{
    return w->head.map ? &w->head : &w->embed;
}
