/* sweep_units.c - a model taken apart into units, and each measured in each of its choices. Behind
 * sweep_run of model.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/observations.h"
#include "model/quant/gram.h"
#include "model/requant.h"
#include "model/sweep_priv.h"

/* ---- units ---- */

/* What a unit is made of. */
struct unit {
    size_t layer;           /* where its network begins */
    enum observe_site site; /* SITE_HEAD: the head, or the embedding */
    struct linear *linear;  /* in w */
    struct weights w;
    bool states;
    bool looked_up; /* an embedding that is not the head: nothing is multiplied by it */
    enum quant_role role;
    size_t n; /* outputs that the file has; what pads heads is not */
    struct sweep_item item;
};

static const struct {
    const char *unit;
    const char *modules[3];
} SITE_WORDS[SITES] = {{"attn_qkv", {"attn_q", "attn_k", "attn_v"}},
                       {"attn_output", {"attn_output", "", ""}},
                       {"ffn_gate_up", {"ffn_gate", "ffn_up", ""}},
                       {"ffn_down", {"ffn_down", "", ""}}};

static struct linear *linear_at(struct layer *l, enum observe_site site)
{
    struct linear *const all[SITES] = {&l->qkv, &l->o, &l->gate_up, &l->down};

    return all[site];
}

/* layers: a copy of the network's, of which the unit changes one. */
static void layer_unit(const struct sweep *s, size_t layer, enum observe_site site,
                       struct layer *layers, struct unit *u)
{
    const struct hparams *hp = &s->w.hp;

    memcpy(layers, s->w.layers + layer, (hp->n_layer - layer) * sizeof(*layers));
    *u = (struct unit){.layer = layer,
                       .site = site,
                       .linear = linear_at(layers, site),
                       .w = s->w,
                       .states = true,
                       .role = site == SITE_O ? QUANT_O : QUANT_PLAIN};
    u->w.layers = layers;
    u->w.hp.n_layer = hp->n_layer - (uint32_t)layer;
    u->w.head = *weights_head(&s->w);
    const size_t outputs[SITES] = {(hp->n_head + 2u * hp->n_kv) * (size_t)hp->head_dim, hp->d_model,
                                   2 * (size_t)hp->d_ff, hp->d_model};
    u->n = outputs[site];
    snprintf(u->item.unit, sizeof(u->item.unit), "blk.%zu.%s", layer, SITE_WORDS[site].unit);
    for (size_t i = 0; i < 3 && SITE_WORDS[site].modules[i][0]; i++)
        snprintf(u->item.modules[i], sizeof(u->item.modules[i]), "blk.%zu.%s", layer,
                 SITE_WORDS[site].modules[i]);
}

/* The head, or an embedding of its own. */
static void end_unit(const struct sweep *s, bool head, struct unit *u)
{
    const bool tied = !s->w.head.map;

    *u = (struct unit){.site = SITE_HEAD, .w = s->w, .role = QUANT_PLAIN, .n = s->w.hp.n_vocab};
    u->linear = head && !tied ? &u->w.head : &u->w.embed;
    u->looked_up = !head;
    snprintf(u->item.unit, sizeof(u->item.unit), "%s", head ? "output" : "embedding");
    snprintf(u->item.modules[0], sizeof(u->item.modules[0]), "%s",
             head && !tied ? "output" : "token_embd");
}

/* As quant/compensate.h wants the observations of a unit's input. */
static int open_factor(const struct sweep *s, const struct unit *u, const struct quant_spec *spec,
                       struct compensate **ret_factor, struct error *err)
{
    const struct observations *o = s->opts.observations;
    const size_t kp = quant_padded(spec, u->linear->desc.k);

    *ret_factor = NULL;
    if (!o || u->looked_up || !quant_is_ints(spec))
        return ST_OK;
    const struct site *site = observations_at(o, u->layer, u->site);
    float *h = malloc(kp * kp * sizeof(*h));
    if (!h)
        return error_set(err, ST_NOMEM, "out of memory for %s", u->item.unit);
    gram_mean(s->kernels, site->gram, site->k, (double)o->n_rows, NULL, spec->block_in, kp, h);
    int r = compensate_open(s->kernels, h, kp, COMPENSATE_DAMP, ret_factor);
    free(h);
    return r == ST_OK ? r
                      : error_set(err, r, "%s: its observations cannot be used: %s", u->item.unit,
                                  status_name(r));
}

static int measure_choice(struct sweep *s, struct unit *u, const struct linear *from,
                          const struct quant_spec *spec, struct error *err)
{
    struct requant q = {.kernels = s->kernels,
                        .pool = s->pool,
                        .from = from,
                        .spec = *spec,
                        .clip = s->opts.clip,
                        .name = u->item.unit};
    struct compensate *factor = NULL;
    struct arena arena = {0};
    int r = open_factor(s, u, spec, &factor, err);

    q.factor = factor;
    if (r == ST_OK)
        r = requant(&q, &arena, u->linear, err);
    if (r == ST_OK)
        r = sweep_network(s, &u->w, u->states, MODEL_KV_F32, &u->item.kld, err);
    arena_done(&arena);
    compensate_free(factor);
    *u->linear = *from;
    return r;
}

/* All choices of a unit that are not known. */
static int run_unit(struct sweep *s, const struct sweep_items *items, struct unit *u,
                    struct error *err)
{
    const struct linear from = *u->linear;
    int r = ST_OK;

    for (size_t i = 0; r == ST_OK && i < items->n_choices; i++) {
        struct quant_choice choice;
        r = quant_choice_parse(items->choices[i], &choice, err);
        if (r == ST_OK && choice.act_static)
            r = error_set(err, ST_INVALID,
                          "%s: static activations cannot be tried one by one: give others",
                          items->choices[i]);
        if (r != ST_OK)
            return r;
        struct quant_spec spec =
            quant_spec_for(&choice, u->role, from.desc.k, hparams_head_block(&s->w.hp));
        quant_choice_label(&choice, u->item.choice, sizeof(u->item.choice));
        u->item.n_weights = (uint64_t)u->n * from.desc.k;
        u->item.bytes = quant_stored_bytes(&spec, u->n, from.desc.k);
        u->item.kld = NAN;
        r = items->know(items->arg, &u->item);
        if (r != ST_OK || !isnan(u->item.kld)) {
            s->total -= sweep_cost(s, u->w.hp.n_layer);
            continue;
        }
        r = measure_choice(s, u, &from, &spec, err);
        if (r == ST_OK)
            r = items->take(items->arg, &u->item, err);
    }
    return r;
}

/* ---- the sweep ---- */

static int run_layers(struct sweep *s, const struct sweep_items *items, struct error *err)
{
    struct layer *layers = calloc(s->w.hp.n_layer, sizeof(*layers));
    struct unit u;
    int r = layers ? ST_OK : error_set(err, ST_NOMEM, "out of memory");

    if (r == ST_OK)
        sweep_first_states(s);
    for (size_t i = 0; r == ST_OK && i < s->w.hp.n_layer; i++) {
        for (int site = 0; r == ST_OK && site < SITES; site++) {
            layer_unit(s, i, (enum observe_site)site, layers, &u);
            r = run_unit(s, items, &u, err);
        }
        if (r == ST_OK)
            r = sweep_next_states(s, i, err);
    }
    free(layers);
    return r;
}

static int run_kv(struct sweep *s, const struct sweep_items *items, struct error *err)
{
    struct weights w = s->w;
    struct sweep_item item = {.unit = "kv", .choice = "int8", .kld = NAN};
    int r;

    r = items->know(items->arg, &item);
    if (r != ST_OK || !isnan(item.kld))
        return r;
    s->total += sweep_cost(s, w.hp.n_layer);
    r = sweep_network(s, &w, false, MODEL_KV_INT8, &item.kld, err);
    return r == ST_OK ? items->take(items->arg, &item, err) : r;
}

int sweep_run(struct sweep *s, const struct sweep_items *items, struct error *err)
{
    const bool tied = !s->w.head.map;
    struct unit u;
    int r;

    s->done = s->total = 0.0;
    for (uint32_t n = 1; n <= s->w.hp.n_layer; n++)
        s->total += SITES * (double)items->n_choices * sweep_cost(s, n);
    s->total += (double)items->n_choices * (tied ? 1 : 2) * sweep_cost(s, s->w.hp.n_layer);
    r = run_kv(s, items, err);
    end_unit(s, true, &u);
    if (r == ST_OK)
        r = run_unit(s, items, &u, err);
    end_unit(s, false, &u);
    if (r == ST_OK && !tied)
        r = run_unit(s, items, &u, err);
    return r == ST_OK ? run_layers(s, items, err) : r;
}
