#include "model/net/sites.h"

#include <stdio.h>
#include <string.h>

#include "model/net/weights.h"

size_t weights_unit_step(size_t d)
{
    return packed_panels(d) * PANEL;
}

/* ---- what they are ---- */

static struct part part_of(size_t layer, const char *name, size_t n, int role)
{
    struct part p = {.n = n, .role = role, .unit = n, .step = n};
    snprintf(p.name, sizeof(p.name), "blk.%zu.%s", layer, name);
    return p;
}

static struct site site_of_one(const struct part *part, size_t k)
{
    return (struct site){.parts = {*part}, .n_parts = 1, .n = part->n, .k = k, .online = true};
}

/* Every head begins a panel. */
static struct site site_qkv(const struct hparams *hp, size_t i)
{
    const size_t d = hp->head_dim, q = hp->n_head * d, kv = hp->n_kv * d;
    struct site s = {.parts = {part_of(i, "attn_q.weight", q, QUANT_PLAIN),
                               part_of(i, "attn_k.weight", kv, QUANT_PLAIN),
                               part_of(i, "attn_v.weight", kv, QUANT_V)},
                     .n_parts = 3,
                     .k = hp->d_model,
                     .online = true};

    for (size_t p = 0; p < 3; p++) {
        s.parts[p].at = s.n;
        s.parts[p].unit = d;
        s.parts[p].step = weights_unit_step(d);
        s.n += s.parts[p].n / d * s.parts[p].step;
    }
    return s;
}

/* Gate and up take turns. */
static struct site site_gate_up(const struct hparams *hp, size_t i, size_t unit)
{
    const size_t step = weights_unit_step(unit);
    struct site s = {.parts = {part_of(i, "ffn_gate.weight", hp->d_ff, QUANT_PLAIN),
                               part_of(i, "ffn_up.weight", hp->d_ff, QUANT_PLAIN)},
                     .n_parts = 2,
                     .n = hp->d_ff / unit * 2 * step,
                     .k = hp->d_model,
                     .online = true};

    for (size_t p = 0; p < 2; p++) {
        s.parts[p].at = p * step;
        s.parts[p].unit = unit;
        s.parts[p].step = 2 * step;
    }
    return s;
}

struct site site_of_layer(const struct hparams *hp, size_t ffn_unit, size_t i, size_t which)
{
    const size_t q = (size_t)hp->n_head * hp->head_dim;
    const struct part o = part_of(i, "attn_output.weight", hp->d_model, QUANT_O),
                      down = part_of(i, "ffn_down.weight", hp->d_model, QUANT_PLAIN);

    return which == 0   ? site_qkv(hp, i)
           : which == 1 ? site_of_one(&o, q)
           : which == 2 ? site_gate_up(hp, i, ffn_unit)
                        : site_of_one(&down, hp->d_ff);
}

struct site site_of_vocab(const struct hparams *hp, const char *name)
{
    struct part p = {.n = hp->n_vocab, .unit = hp->n_vocab, .step = hp->n_vocab};

    snprintf(p.name, sizeof(p.name), "%s", name);
    return site_of_one(&p, hp->d_model);
}

/* ---- how they are stored ---- */

struct linear_desc site_desc(const struct quant_spec *spec, size_t n, size_t k, bool online)
{
    const bool ints = quant_is_ints(spec);

    return (struct linear_desc){.n = n,
                                .k = quant_padded(spec, k),
                                .w_bits = spec->bits,
                                .group = spec->group,
                                .scale = !ints             ? SCALE_NONE
                                         : spec->scale_f32 ? SCALE_F32
                                                           : SCALE_F16,
                                .w_zero = spec->zero != 0,
                                .a_zero = spec->act_zero != 0,
                                .act = !ints              ? ACT_FLOAT
                                       : spec->act_static ? ACT_STATIC
                                                          : ACT_DYNAMIC_GROUP,
                                .act_group = spec->act_group,
                                .block_in = spec->block_in,
                                .online = ints && online};
}

static bool same_weights(const struct quant_spec *a, const struct quant_spec *b)
{
    struct quant_spec turned = *a;

    turned.block_out = b->block_out; /* rows are what they are */
    return memcmp(&turned, b, sizeof(turned)) == 0;
}

/* Is the input quantized alike for both, if at all? */
static bool same_input(const struct quant_spec *a, const struct quant_spec *b)
{
    return !quant_is_ints(a) || !quant_is_ints(b) ||
           (a->block_in == b->block_in && a->act_zero == b->act_zero &&
            a->act_static == b->act_static && quant_act_group(a) == quant_act_group(b));
}

/* Parts on their own, but for the input: padded to the widest, in groups that all have in common. */
static int describe_parts(struct site *s, const char *path, struct error *err)
{
    size_t k = s->k;
    uint32_t group = 0;

    for (size_t i = 0; i < s->n_parts; i++) {
        const struct part *p = &s->parts[i];
        struct linear_desc *d = &s->descs[i];
        *d = site_desc(&p->spec, p->n / p->unit * weights_unit_step(p->unit), s->k, s->online);
        k = d->k > k ? d->k : k;
        d->in_group = group;
        group = d->act == ACT_FLOAT ? group : linear_group(d);
    }
    for (size_t i = 0; i < s->n_parts; i++) {
        s->descs[i].k = k;
        s->descs[i].in_group = group;
        for (size_t j = 0; j < i; j++)
            if (!same_input(&s->parts[i].spec, &s->parts[j].spec))
                return error_set(err, ST_UNSUPPORTED,
                                 "%s: %s and %s read the same input, but quantized in different "
                                 "ways: not built",
                                 path, s->parts[j].name, s->parts[i].name);
    }
    return ST_OK;
}

int site_describe(struct site *s, const char *path, struct error *err)
{
    s->alike = true;
    for (size_t i = 1; i < s->n_parts; i++)
        s->alike &= same_weights(&s->parts[i].spec, &s->parts[0].spec);
    if (!s->alike)
        return describe_parts(s, path, err);
    s->descs[0] = site_desc(&s->parts[0].spec, s->n, s->k, s->online);
    return ST_OK;
}
