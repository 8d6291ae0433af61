#include "model/prepare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/quant/gram.h"
#include "model/quant/smooth.h"

enum { READERS = 3, SAMPLE = 256 };

struct prepared {
    struct prepare_opts opts;
    const struct kernels *kernels;
    const struct observations *o;
    bool tied;
    struct folded {
        float *columns, *rows; /* [k], and the same as rows of what makes them */
        float alpha;           /* -1: not smoothed */
    } * folded;                /* [n_sites] */
    /* The energies at hand: matrices that read the same follow each other. */
    float *energy;
    const struct site *site;
    uint32_t block;
    size_t room;
};

/* One input being smoothed: the matrices that read it, and what is known of both sides. */
struct trial {
    struct prepared *p;
    const struct site *site;
    struct tensor_role readers[READERS];
    size_t n_readers, n_rows; /* n_rows: of all of them */
    struct quant_spec spec;
    size_t k, kp;
    float *size_x, *size_w; /* [k] */
    float *sample;          /* [n_sample][k]: rows */
    size_t n_sample;
    float *row, *energy_x, *energy_w; /* [kp]: scratch */
};

/* An embedding that is the head is multiplied as the head, and only copied as an embedding. */
const struct site *prepare_site(const struct prepared *p, const char *name)
{
    const bool head = p->tied && strcmp(name, "token_embd.weight") == 0;

    return observations_of(p->o, head ? "output.weight" : name);
}

static const struct folded *folded_at(const struct prepared *p, const struct site *site)
{
    static const struct folded none;

    return site ? &p->folded[site - p->o->sites] : &none;
}

const float *prepare_factors(const struct prepared *p, const char *name)
{
    return folded_at(p, prepare_site(p, name))->columns;
}

/* What makes the input of a site: tensors whose values are divided by the factors. */
static const struct {
    const char *name;
    enum observe_site site;
} makers[] = {{"attn_norm.weight", SITE_QKV}, {"attn_v.weight", SITE_O},
              {"attn_v.bias", SITE_O},        {"ffn_norm.weight", SITE_GATE_UP},
              {"ffn_up.weight", SITE_DOWN},   {"output_norm.weight", SITE_HEAD}};

static const struct site *made_by(const struct prepared *p, const char *name)
{
    const char *last = name;
    unsigned layer = 0;
    int at = 0;

    if (sscanf(name, "blk.%u.%n", &layer, &at) == 1 && at && layer < p->o->n_layer)
        last = name + at;
    for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++)
        if (strcmp(last, makers[i].name) == 0)
            return observations_at(p->o, layer, makers[i].site);
    return NULL;
}

/* Channel of o's input → row of v, where the first of the query heads that share it has it. */
static size_t channel_of(const struct hparams *hp, size_t v_row)
{
    const size_t d = hp->head_dim, shared = hp->n_head / hp->n_kv;

    return v_row / d * shared * d + v_row % d;
}

/* x[k] of o's input: the sum over the heads that share a v head, in each of them. */
static void share_heads(const struct hparams *hp, float *x)
{
    const size_t d = hp->head_dim, shared = hp->n_head / hp->n_kv;

    for (size_t row = 0; row < hp->n_kv * d; row++) {
        float *first = x + channel_of(hp, row), sum = 0.0f;
        for (size_t h = 0; h < shared; h++)
            sum += first[h * d];
        for (size_t h = 0; h < shared; h++)
            first[h * d] = sum;
    }
}

bool prepare_adds(const struct prepared *p, const char *name)
{
    return strcmp(name, WEIGHTS_EMBED_SMOOTH) == 0 && p->tied &&
           prepare_factors(p, "token_embd.weight");
}

void prepare_vector(const struct prepared *p, const char *name, size_t n, float *x)
{
    const bool times = prepare_adds(p, name);
    const float *by =
        times ? prepare_factors(p, "token_embd.weight") : folded_at(p, made_by(p, name))->rows;

    for (size_t i = 0; by && i < n; i++)
        x[i] = times ? x[i] * by[i] : x[i] / by[i];
}

/* Mean squares of what t reads, smoothed and rotated as the spec says; zeros up to the padded k. */
static int take_energy(struct prepared *p, const struct tensor_role *t,
                       const struct quant_spec *spec, struct error *err)
{
    const struct site *site = prepare_site(p, t->name);
    const size_t kp = quant_padded(spec, t->k);

    if (site == p->site && p->block == spec->block_in && p->room == kp)
        return ST_OK;
    free(p->energy);
    p->site = NULL;
    p->energy = calloc(kp, sizeof(*p->energy));
    if (!p->energy)
        return error_set(err, ST_NOMEM, "out of memory for %s", t->name);
    gram_energy(p->kernels, site->gram, site->k, (double)p->o->n_rows, folded_at(p, site)->columns,
                spec->block_in, p->energy);
    p->site = site;
    p->block = spec->block_in;
    p->room = kp;
    return ST_OK;
}

int prepare_source(struct prepared *p, const struct tensor_role *t, const struct quant_spec *spec,
                   struct source *s, struct error *err)
{
    const struct site *site = prepare_site(p, t->name);
    const struct source_fold fold = {folded_at(p, site)->columns,
                                     folded_at(p, made_by(p, t->name))->rows};
    const bool clip = p->opts.clip && quant_is_ints(spec) && site && site->k == t->k;
    int r = clip ? take_energy(p, t, spec, err) : ST_OK;

    return r == ST_OK ? source_prepare(s, &fold, clip ? p->energy : NULL, err) : r;
}

/* ---- smoothing ---- */

/* How far the integers of n numbers lie apart, whose range is this. */
static double step_of(bool zero, uint32_t bits, double min, double max)
{
    if (zero)
        return (max - min) / (bits == 4 ? 15.0 : 255.0);
    return fmax(max, -min) / (bits == 4 ? 8.0 : 127.0);
}

/* Rounding a row of weights: each is off by step^2 / 12, and weighs as its input's energy does. */
static double noise_of_row(const struct trial *t)
{
    const size_t group = t->spec.group;
    double noise = 0.0;

    for (size_t g = 0; g < t->kp; g += group) {
        float min = 0.0f, max = 0.0f, energy = 0.0f;
        for (size_t j = g; j < g + group; j++) {
            min = t->row[j] < min ? t->row[j] : min;
            max = t->row[j] > max ? t->row[j] : max;
            energy += t->energy_x[j];
            t->energy_w[j] += t->row[j] * t->row[j];
        }
        double step = step_of(t->spec.zero, t->spec.bits, (double)min, (double)max);
        noise += step * step / 12.0 * (double)energy;
    }
    return noise;
}

/* Rounding the input: the largest of a group of normal numbers is about the eighth root of the sum of
 * their eighth powers, 105 variance^4 in the mean. */
static double noise_of_input(const struct trial *t)
{
    const size_t group = quant_act_group(&t->spec);
    double noise = 0.0;

    for (size_t g = 0; g < t->kp; g += group) {
        double sum = 0.0, energy = 0.0;
        for (size_t j = g; j < g + group; j++) {
            const double x = (double)t->energy_x[j];
            sum += 105.0 * x * x * x * x;
            energy += (double)t->energy_w[j];
        }
        double top = pow(sum, 1.0 / 8.0);
        double step = step_of(t->spec.act_zero, 8, -top, top);
        noise += step * step / 12.0 * energy;
    }
    return noise;
}

/* The mean square error of the outputs that are sampled, as s would have it. */
static double error_with(void *arg, const float *s)
{
    struct trial *t = arg;
    const struct kernels *kernels = t->p->kernels;
    double noise = 0.0;

    gram_energy(kernels, t->site->gram, t->k, (double)t->p->o->n_rows, s, t->spec.block_in,
                t->energy_x);
    memset(t->energy_w, 0, t->kp * sizeof(*t->energy_w));
    for (size_t i = 0; i < t->n_sample; i++) {
        for (size_t j = 0; j < t->k; j++)
            t->row[j] = t->sample[i * t->k + j] * s[j];
        kernels->hadamard(t->row, t->k, t->spec.block_in);
        noise += noise_of_row(t);
    }
    return noise + noise_of_input(t);
}

/* The matrices that read the site, in the order of the file. */
static void find_readers(struct trial *t)
{
    const struct prepared *p = t->p;
    struct tensor_role role;

    for (size_t i = 0; weights_tensor_at(p->opts.hp, i, &role); i++)
        if (role.k && t->n_readers < READERS && prepare_site(p, role.name) == t->site &&
            source_exists(p->opts.g, role.name)) {
            t->readers[t->n_readers++] = role;
            t->n_rows += role.n;
        }
}

/* All rows of a reader: the squares of its columns, and every so many-th row for the sample. */
static int read_rows(struct trial *t, const struct tensor_role *role, size_t *row_no,
                     struct error *err)
{
    const struct quant_spec floats = {0};
    const size_t every = t->n_rows / SAMPLE + 1;
    struct source *s = NULL;
    int r = source_open(t->p->opts.g, role->name, role->n, role->k, &floats, &s, err);

    if (r == ST_OK)
        r = prepare_source(t->p, role, &floats, s, err);
    for (size_t i = 0; r == ST_OK && i < role->n; i++, ++*row_no) {
        r = source_row_f32(s, i, t->row, err);
        for (size_t j = 0; r == ST_OK && j < t->k; j++)
            t->size_w[j] += t->row[j] * t->row[j];
        if (r == ST_OK && *row_no % every == 0)
            memcpy(t->sample + t->n_sample++ * t->k, t->row, t->k * sizeof(*t->row));
    }
    source_free(s);
    return r;
}

static int measure(struct trial *t, bool heads, struct error *err)
{
    size_t row_no = 0;
    int r = ST_OK;

    gram_energy(t->p->kernels, t->site->gram, t->k, (double)t->p->o->n_rows, NULL, 0, t->size_x);
    for (size_t i = 0; r == ST_OK && i < t->n_readers; i++)
        r = read_rows(t, &t->readers[i], &row_no, err);
    if (heads) {
        share_heads(t->p->opts.hp, t->size_x);
        share_heads(t->p->opts.hp, t->size_w);
    }
    for (size_t j = 0; j < t->k; j++) {
        t->size_x[j] = sqrtf(t->size_x[j]);
        t->size_w[j] = sqrtf(t->size_w[j]);
    }
    return r;
}

static int choose(struct trial *t, bool heads, struct folded *to)
{
    const struct hparams *hp = t->p->opts.hp;
    const struct smooth m = {t->k, t->size_x, t->size_w, error_with, t};
    float alpha = t->p->opts.alpha;

    if (alpha < 0.0f && !t->spec.bits) /* floats: for whatever will be made of them */
        alpha = 0.5f;

    to->columns = malloc(t->k * sizeof(*to->columns));
    to->rows = malloc(t->k * sizeof(*to->rows));
    if (!to->columns || !to->rows)
        return ST_NOMEM;
    if (alpha < 0.0f)
        alpha = smooth_search(&m, to->columns);
    else
        smooth_scales(&m, alpha, to->columns);
    for (size_t i = 0; i < (heads ? (size_t)hp->n_kv * hp->head_dim : t->k); i++)
        to->rows[i] = to->columns[heads ? channel_of(hp, i) : i];
    to->alpha = alpha;
    return ST_OK;
}

static int smooth_site(struct prepared *p, const struct site *site, bool heads, struct error *err)
{
    struct trial t = {.p = p, .site = site, .k = site->k};

    find_readers(&t);
    if (!t.n_readers || t.readers[0].k != site->k)
        return ST_OK;
    for (size_t i = t.n_readers; i-- > 0;) {
        struct quant_spec spec = p->opts.spec(p->opts.arg, &t.readers[i]);
        if (quant_is_ints(&spec))
            t.spec = spec;
    }
    t.kp = quant_padded(&t.spec, t.k);
    float *all = calloc(2 * t.k + 3 * t.kp + (SAMPLE + 1) * t.k, sizeof(*all));
    if (!all)
        return error_set(err, ST_NOMEM, "out of memory for %s", t.readers[0].name);
    t.size_x = all;
    t.size_w = t.size_x + t.k;
    t.row = t.size_w + t.k;
    t.energy_x = t.row + t.kp;
    t.energy_w = t.energy_x + t.kp;
    t.sample = t.energy_w + t.kp;
    int r = measure(&t, heads, err);
    if (r == ST_OK && choose(&t, heads, &p->folded[site - p->o->sites]) != ST_OK)
        r = error_set(err, ST_NOMEM, "out of memory for %s", t.readers[0].name);
    free(all);
    return r;
}

/* Rows of v and up are divided first: that changes what reads the norms. */
static int smooth_all(struct prepared *p, struct error *err)
{
    static const enum observe_site order[SITES] = {SITE_O, SITE_DOWN, SITE_QKV, SITE_GATE_UP};
    const uint64_t n = p->o->n_sites;
    int r = ST_OK;

    for (size_t i = 0; r == ST_OK && i < n; i++) {
        const bool head = i + 1 == n;
        const enum observe_site site = head ? SITE_HEAD : order[i % SITES];
        if (!(head && p->tied && p->opts.standard))
            r = smooth_site(p, observations_at(p->o, i / SITES, site), site == SITE_O, err);
        if (p->opts.progress.fn)
            p->opts.progress.fn(p->opts.progress.arg, "preparing", i + 1, n);
    }
    return r;
}

int prepare_open(const struct prepare_opts *opts, struct prepared **ret_prepared, struct error *err)
{
    const struct observations *o = opts->observations;
    struct prepared *p = calloc(1, sizeof(*p));
    int r = p ? ST_OK : error_set(err, ST_NOMEM, "out of memory");

    if (r != ST_OK)
        return r;
    *p = (struct prepared){.opts = *opts, .kernels = kernels_get(err), .o = o};
    p->tied = !source_exists(opts->g, "output.weight");
    p->folded = calloc(o->n_sites, sizeof(*p->folded));
    r = !p->kernels ? ST_INVALID : !p->folded ? error_set(err, ST_NOMEM, "out of memory") : ST_OK;
    for (size_t i = 0; r == ST_OK && i < o->n_sites; i++)
        p->folded[i].alpha = -1.0f;
    if (r == ST_OK && opts->smooth)
        r = smooth_all(p, err);
    if (r != ST_OK) {
        prepare_free(p);
        return r;
    }
    *ret_prepared = p;
    return ST_OK;
}

void prepare_free(struct prepared *p)
{
    if (!p)
        return;
    for (size_t i = 0; p->folded && i < p->o->n_sites; i++) {
        free(p->folded[i].columns);
        free(p->folded[i].rows);
    }
    free(p->folded);
    free(p->energy);
    free(p);
}

int prepare_write_keys(const struct prepared *p, struct gguf_writer *w)
{
    const size_t n = p->o->n_sites;
    char(*text)[OBSERVATIONS_NAME] = calloc(n, sizeof(*text));
    struct gguf_str *names = calloc(n, sizeof(*names));
    int32_t *alphas = calloc(n, sizeof(*alphas));
    int r = text && names && alphas ? ST_OK : ST_NOMEM;

    for (size_t i = 0; r == ST_OK && i < n; i++) {
        observations_name(p->o, i, text[i]);
        names[i] = (struct gguf_str){text[i], strlen(text[i])};
        alphas[i] = p->folded[i].alpha < 0.0f ? -1 : (int32_t)lrintf(p->folded[i].alpha * 100.0f);
    }
    if (r == ST_OK && p->opts.smooth)
        r = gguf_write_strs(w, "octet.smooth.names", names, n);
    if (r == ST_OK && p->opts.smooth)
        r = gguf_write_i32s(w, "octet.smooth.alpha_percent", alphas, n);
    if (r == ST_OK && p->opts.clip)
        r = gguf_write_bool(w, "octet.clip", true);
    free(text);
    free(names);
    free(alphas);
    return r;
}
