/* quantize.c - `octet quantize`: any readable file → an INT8 file. Behind model_quantize of
 * model.h.
 *
 * Matrices go row by row through quant/source.h, the way the loader takes them, so that a file made
 * here and a file converted while loading run on the same bytes. Vectors are written as f32. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model/format/dequant.h"
#include "model/format/gguf_write.h"
#include "model/quantize_priv.h"
#include "model/requantize.h"
#include "model/statistics.h"

struct quant_spec quantize_spec(const struct job *j, size_t i, const struct tensor_role *t)
{
    struct quant_spec s;

    if (j->as_stored && source_stored_spec(j->g, t->name, &s, NULL) == ST_OK && s.bits)
        return s;
    s = quant_plan_spec(j->plan, t->name, (enum quant_role)t->role, t->k,
                        j->as_stored ? 0 : hparams_head_block(&j->hp), j->tied);
    s.scale_f32 |= j->scale_f32[i];
    return s;
}

bool quantize_is_matrix(const struct job *j, const struct tensor_role *t)
{
    return t->k && source_exists(j->g, t->name);
}

static bool is_vector(const struct job *j, const struct tensor_role *t)
{
    return gguf_find(j->g, t->name) || (j->prepared && prepare_adds(j->prepared, t->name));
}

/* What a matrix does not get as it was asked for, said once for each width: later widths join. */
static void note(struct job *j, const struct tensor_role *t, const struct quant_spec *s)
{
    const struct quant_choice *c = quant_plan_choice(j->plan, t->name, j->tied);
    char what[128], line[sizeof(j->report.note)];
    size_t used = strlen(j->report.note);

    /* o's blocks are those of heads. */
    struct quant_choice wanted = *c;
    wanted.block = t->role == QUANT_O ? s->block_in : c->block;
    quant_spec_differs(&wanted, s, t->k, what, sizeof(what));
    if (!what[0] || j->as_stored)
        return;
    snprintf(line, sizeof(line), "rows of %zu: %s", t->k, what);
    if (!strstr(j->report.note, line))
        snprintf(j->report.note + used, sizeof(j->report.note) - used, "%s%s", used ? "; " : "",
                 line);
}

static int declare_octet(struct job *j, const struct tensor_role *t, const struct quant_spec *s)
{
    size_t kp = quant_padded(s, t->k);
    const uint64_t values[2] = {s->bits == 4 ? kp / 2 : kp, t->n},
                   beside[2] = {kp / s->group, t->n},
                   steps[2] = {s->act_static == QUANT_CHANNEL ? t->k : 1, s->act_zero ? 2 : 1};
    struct source_names names;
    int r = source_octet_names(t->name, &names);

    if (r == ST_OK)
        r = gguf_write_tensor(j->out, names.q, GGUF_I8, values, 2);
    if (r == ST_OK)
        r = gguf_write_tensor(j->out, names.scale, s->scale_f32 ? GGUF_F32 : GGUF_F16, beside, 2);
    if (r == ST_OK && s->zero)
        r = gguf_write_tensor(j->out, names.zero, GGUF_I8, beside, 2);
    if (r == ST_OK && s->act_static)
        r = gguf_write_tensor(j->out, names.act, GGUF_F32, steps, 2);
    note(j, t, s);
    return r;
}

static int declare_matrix(struct job *j, size_t i, const struct tensor_role *t)
{
    const struct quant_spec s = quantize_spec(j, i, t);

    if (!quant_is_ints(&s))
        return gguf_write_tensor(j->out, t->name, s.bits == 16 ? GGUF_F16 : GGUF_F32,
                                 (uint64_t[2]){t->k, t->n}, 2);
    j->report.n_quantized++;
    if (!j->q8_0)
        return declare_octet(j, t, &s);
    if (t->k % 32)
        return error_set(j->err, ST_UNSUPPORTED,
                         "%s: %s has rows of %zu, which standard Q8_0 (blocks of 32) cannot hold; "
                         "use --scheme int8",
                         gguf_path(j->g), t->name, t->k);
    return gguf_write_tensor(j->out, t->name, GGUF_Q8_0, (uint64_t[2]){t->k, t->n}, 2);
}

static int declare(struct job *j)
{
    struct tensor_role t;
    int r = ST_OK;

    for (size_t i = 0; r == ST_OK && weights_tensor_at(&j->hp, i, &t); i++) {
        if (quantize_is_matrix(j, &t)) {
            r = declare_matrix(j, i, &t);
            j->total += (uint64_t)t.n * t.k;
        } else if (is_vector(j, &t)) {
            r = gguf_write_tensor(j->out, t.name, GGUF_F32, (uint64_t[1]){t.n}, 1);
            j->report.n_kept += t.n;
        } else {
            continue;
        }
        j->report.n_tensors++;
    }
    return r;
}

static int write_vector(struct job *j, const struct tensor_role *t)
{
    float *x = NULL;
    int r = ST_OK;

    if (gguf_find(j->g, t->name))
        r = weights_read_vector(j->g, t->name, t->n, &x, j->err);
    else if (!(x = malloc(t->n * sizeof(*x))))
        r = ST_NOMEM;
    for (size_t i = 0; r == ST_OK && !gguf_find(j->g, t->name) && i < t->n; i++)
        x[i] = 1.0f;
    if (r == ST_OK && j->prepared)
        prepare_vector(j->prepared, t->name, t->n, x);
    if (r == ST_OK)
        r = gguf_write_data(j->out, x, t->n * sizeof(*x), j->err);
    free(x);
    return r;
}

/* One row of standard Q8_0: blocks of a scale and 32 bytes. */
static int write_q8_0_row(struct job *j, const struct quant_row *row, size_t n_blocks)
{
    int r = ST_OK;
    for (size_t b = 0; b < n_blocks && r == ST_OK; b++) {
        uint8_t block[34];
        uint16_t half = f32_to_f16(row->scales[b]);
        memcpy(block, &half, 2);
        memcpy(block + 2, row->q + 32 * b, 32);
        r = gguf_write_data(j->out, block, sizeof(block), j->err);
    }
    return r;
}

static int write_octet_row(struct job *j, const struct quant_row *row, size_t kp, uint32_t bits,
                           uint8_t *nibbles)
{
    if (bits == 8)
        return gguf_write_data(j->out, row->q, kp, j->err);
    quant_put_nibbles(row->q, kp, nibbles);
    return gguf_write_data(j->out, nibbles, kp / 2, j->err);
}

/* A matrix as integers, on its way to the file. */
struct integers {
    struct quant_spec spec;
    struct source *source;
    size_t kp, groups;
    bool whole;           /* all rows are made before the first is written */
    struct quant_row all; /* q of a row, or whole: of all; scales and zeros of all */
    struct source_noise noise;
    uint8_t *nibbles;         /* [kp / 2] */
    struct statistics *stats; /* NULL: not asked for */
    struct steps steps;
};

/* Row i, made now or before. */
static int make_row(struct job *j, const struct integers *m, size_t i, struct quant_row *ret_row)
{
    const struct quant_row row = {m->all.q + (m->whole ? i * m->kp : 0),
                                  m->all.scales + i * m->groups, m->all.zeros + i * m->groups};

    *ret_row = row;
    return m->whole ? ST_OK : source_row_ints(m->source, i, &row, j->err);
}

static void row_done(struct job *j, const struct tensor_role *t, size_t i)
{
    j->done += t->k;
    if (j->opts->progress.fn && i % 256 == 255)
        j->opts->progress.fn(j->opts->progress.arg, "quantizing", j->done, j->total);
}

/* The matrix row by row; what is beside the integers is kept for after them. */
static int write_rows(struct job *j, const struct tensor_role *t, const struct integers *m)
{
    struct quant_row row;
    int r = ST_OK;

    for (size_t i = 0; i < t->n && r == ST_OK; i++) {
        r = make_row(j, m, i, &row);
        if (r == ST_OK && m->stats)
            r = statistics_row(m->stats, i, &row, j->err);
        if (r == ST_OK)
            r = j->q8_0 ? write_q8_0_row(j, &row, m->groups)
                        : write_octet_row(j, &row, m->kp, m->spec.bits, m->nibbles);
        row_done(j, t, i);
    }
    if (r == ST_OK && m->stats)
        r = statistics_end(m->stats, m->all.scales, m->all.zeros);
    if (r == ST_OK && !j->q8_0)
        r = gguf_write_floats(j->out, m->all.scales, t->n * m->groups, !m->spec.scale_f32, j->err);
    if (r == ST_OK && m->spec.zero)
        r = gguf_write_data(j->out, m->all.zeros, t->n * m->groups, j->err);
    if (r == ST_OK && m->steps.n)
        r = gguf_write_data(j->out, m->steps.step, m->steps.n * sizeof(float), j->err);
    if (r == ST_OK && m->steps.zero)
        r = gguf_write_data(j->out, m->steps.zero, m->steps.n * sizeof(float), j->err);
    return r;
}

static int make_and_write(struct job *j, const struct tensor_role *t, struct integers *m)
{
    int r = ST_OK;

    m->all = (struct quant_row){calloc(m->whole ? t->n : 1, m->kp),
                                calloc(t->n, m->groups * sizeof(float)), calloc(t->n, m->groups)};
    m->nibbles = malloc(m->kp / 2);
    if (!m->all.q || !m->all.scales || !m->all.zeros || !m->nibbles)
        return error_set(j->err, ST_NOMEM, "out of memory for %s", t->name);
    if (m->whole)
        r = compensated_matrix(j->compensated, t, &m->spec, m->source, &m->all, &m->noise, j->err);
    if (r == ST_OK)
        r = write_rows(j, t, m);
    if (!m->whole)
        m->noise = *source_noise(m->source);
    if (r == ST_OK)
        statistics_add(&j->report, &j->sum, t, &m->noise);
    j->beyond_f16 = m->noise.beyond_f16;
    return r;
}

static int write_float_matrix(struct job *j, const struct tensor_role *t,
                              const struct quant_spec *spec)
{
    float *row = malloc(t->k * sizeof(*row));
    struct source *source = NULL;
    struct statistics *stats = NULL;
    int r = row ? source_open(j->g, t->name, t->n, t->k, spec, &source, j->err)
                : error_set(j->err, ST_NOMEM, "out of memory for %s", t->name);

    if (r == ST_OK && j->prepared)
        r = prepare_source(j->prepared, t, spec, source, j->err);
    if (r == ST_OK && j->tensors)
        r = statistics_open(j->g, t, spec, source, &j->tensors[j->n_stats++], &stats);
    for (size_t i = 0; i < t->n && r == ST_OK; i++) {
        r = source_row_f32(source, i, row, j->err);
        if (r == ST_OK && stats)
            statistics_floats(stats, row);
        if (r == ST_OK)
            r = gguf_write_floats(j->out, row, t->k, spec->bits == 16, j->err);
        row_done(j, t, i);
    }
    if (r == ST_OK && spec->bits == 16)
        statistics_add(&j->report, &j->sum, t, source_noise(source));
    statistics_free(stats);
    source_free(source);
    free(row);
    return r;
}

/* Steps of static activations, where they are, by what was observed. */
static int take_steps(struct job *j, const struct tensor_role *t, struct integers *m)
{
    if (!m->spec.act_static)
        return ST_OK;
    if (!j->prepared)
        return error_set(j->err, ST_INVALID, "%s: static activations need observations", t->name);
    if (m->spec.act_static == QUANT_CHANNEL && j->opts->clip)
        return error_set(j->err, ST_INVALID,
                         "%s: --clip does not go with a step a channel: leave one of them out",
                         t->name);
    int r = observations_steps(j->opts->observations, t->name, j->tied,
                               prepare_factors(j->prepared, t->name), &j->observer, &m->spec,
                               &m->steps, j->err);
    if (r == ST_OK && m->steps.n > 1)
        source_set_steps(m->source, &m->steps);
    return r;
}

static int write_matrix(struct job *j, size_t i, const struct tensor_role *t)
{
    const bool one_scale = quant_plan_choice(j->plan, t->name, j->tied)->tensor;
    struct integers m = {.spec = quantize_spec(j, i, t)};
    if (!quant_is_ints(&m.spec))
        return write_float_matrix(j, t, &m.spec);
    int r = source_open(j->g, t->name, t->n, t->k, &m.spec, &m.source, j->err);

    m.kp = quant_padded(&m.spec, t->k);
    m.groups = m.kp / m.spec.group;
    m.whole = j->compensated && compensated_has(j->compensated, t) && !one_scale;
    if (r == ST_OK && j->prepared)
        r = prepare_source(j->prepared, t, &m.spec, m.source, j->err);
    if (r == ST_OK)
        r = take_steps(j, t, &m);
    if (r == ST_OK && one_scale)
        r = source_one_scale(m.source, j->err);
    if (r == ST_OK && j->tensors)
        r = statistics_open(j->g, t, &m.spec, m.source, &j->tensors[j->n_stats++], &m.stats);
    if (r == ST_OK)
        r = make_and_write(j, t, &m);
    statistics_free(m.stats);
    source_free(m.source);
    free(m.all.q);
    free(m.all.scales);
    free(m.all.zeros);
    free(m.nibbles);
    steps_done(&m.steps);
    return r;
}

static int write_all(struct job *j)
{
    struct tensor_role t;
    int r = quantize_write_keys(j);

    if (r == ST_OK && !j->q8_0)
        r = quantize_write_specs(j);
    if (r == ST_OK)
        r = declare(j);
    if (r == ST_OK && j->opts->progress.fn)
        j->opts->progress.fn(j->opts->progress.arg, "quantizing", 0, j->total);
    for (size_t i = 0; r == ST_OK && weights_tensor_at(&j->hp, i, &t); i++) {
        if (quantize_is_matrix(j, &t)) {
            r = write_matrix(j, i, &t);
            j->scale_f32[i] |= j->beyond_f16;
        } else if (is_vector(j, &t)) {
            r = write_vector(j, &t);
        }
    }
    if (r == ST_OK && j->opts->progress.fn)
        j->opts->progress.fn(j->opts->progress.arg, "quantizing", j->total, j->total);
    return r;
}

static struct quant_spec spec_by_role(const void *arg, const struct tensor_role *t)
{
    const struct job *j = arg;
    struct tensor_role role;
    size_t i = 0;

    while (weights_tensor_at(&j->hp, i, &role) && strcmp(role.name, t->name) != 0)
        i++;
    return quantize_spec(j, i, t);
}

/* What is learnt from the observations before anything is written. */
static int prepare(struct job *j)
{
    const struct model_quantize_opts *o = j->opts;
    const struct prepare_opts opts = {.g = j->g,
                                      .hp = &j->hp,
                                      .observations = o->observations,
                                      .spec = spec_by_role,
                                      .arg = j,
                                      .smooth = o->smooth,
                                      .clip = o->clip,
                                      .standard = j->q8_0,
                                      .alpha = o->alpha,
                                      .progress = o->progress};
    int r = observations_check(o->observations, j->g, j->err);

    if (r == ST_OK)
        r = prepare_open(&opts, &j->prepared, j->err);
    if (r != ST_OK || o->plain)
        return r;
    return compensated_open(o->observations, j->prepared, o->clip, o->threads ? o->threads : 1,
                            &j->compensated, j->err);
}

static int open_input(struct job *j)
{
    const struct gguf_opts go = {0};
    struct gguf_str stored;
    struct tensor_role t;
    int r = gguf_open(j->opts->in, &go, &j->g, j->err);

    if (r == ST_OK)
        r = weights_read_shape(j->g, &j->hp, j->err);
    if (r != ST_OK)
        return r;
    r = weights_check_plan(j->g, &j->hp, j->plan, j->err);
    if (r != ST_OK)
        return r;
    j->q8_0 = quant_plan_is_q8_0(j->plan);
    j->as_stored = requantize_keeps(j->opts, j->g);
    if (j->as_stored && gguf_get_str(j->g, "octet.scheme", &stored, NULL) == ST_OK)
        snprintf(j->label, sizeof(j->label), "%s", gguf_show(stored).text);
    else
        quant_plan_label(j->plan, j->label, sizeof(j->label));
    j->tied = !source_exists(j->g, "output.weight");
    while (weights_tensor_at(&j->hp, j->n_roles, &t))
        j->n_roles++;
    j->scale_f32 = calloc(j->n_roles, sizeof(*j->scale_f32));
    if (j->opts->statistics)
        j->tensors = calloc(j->n_roles, sizeof(*j->tensors));
    if (!j->scale_f32 || (j->opts->statistics && !j->tensors))
        return ST_NOMEM;
    return j->opts->observations ? prepare(j) : ST_OK;
}

/* The whole file once. ret_again: a matrix has turned out to need f32 scales; its neighbours in the
 * file are laid out already, so that it starts anew. Rare: weights above 8e6. */
static int write_once(struct job *j, bool *ret_again)
{
    int r = gguf_write_open(j->opts->out, &j->out, j->err);

    *ret_again = false;
    if (r != ST_OK)
        return r;
    memset(&j->report, 0, sizeof(j->report));
    if (j->tied && quant_plan_embed_differs(j->plan))
        snprintf(j->report.note, sizeof(j->report.note),
                 "the embedding is the head: it has no scheme of its own");
    j->sum = (struct source_noise){0};
    j->done = j->total = j->n_stats = 0;
    j->beyond_f16 = false;
    r = write_all(j);
    if (r == ST_OK)
        return gguf_write_commit(j->out, j->err);
    gguf_write_abort(j->out);
    *ret_again = j->beyond_f16 && !j->q8_0;
    return r;
}

int model_check_scheme(const char *scheme, struct error *err)
{
    struct quant_scheme unused;
    return quant_scheme_parse(scheme, &unused, err);
}

int model_check_observer(const char *observer, struct error *err)
{
    struct observer_choice unused;
    return observer_parse(observer, &unused, err);
}

bool model_scheme_is_static(const char *scheme)
{
    struct quant_scheme s;
    return quant_scheme_parse(scheme, &s, NULL) == ST_OK &&
           (s.body.act_static || s.head.act_static);
}

int model_quantize(const struct model_quantize_opts *opts, struct model_quantize_report *ret_report,
                   struct error *err)
{
    struct job j = {.opts = opts, .plan = opts->plan, .err = err};
    struct quant_plan *plain = NULL;
    struct stat st;
    bool again = true;
    int r = opts->plan ? ST_OK : quant_plan_new(opts->scheme, &plain, err);

    if (plain)
        j.plan = plain;
    if (r == ST_OK)
        r = observer_parse(opts->observer, &j.observer, err);
    if (r == ST_OK && err)
        err->text[0] = '\0';
    if (r == ST_OK)
        r = open_input(&j);
    while (r == ST_OK && again) {
        r = write_once(&j, &again);
        if (r != ST_OK && again)
            r = ST_OK;
    }
    if (r == ST_OK) {
        j.report.bytes_in = gguf_file_bytes(j.g);
        j.report.bytes_out = stat(opts->out, &st) == 0 ? (uint64_t)st.st_size : 0;
        snprintf(j.report.scheme, sizeof(j.report.scheme), "%s", j.label);
        j.report.compensated = j.compensated != NULL;
        if (!j.as_stored)
            requantize_warn(j.g, j.plan, j.report.warning);
        j.report.tensors = j.tensors;
        j.report.n_stats = j.n_stats;
        j.tensors = NULL;
        *ret_report = j.report;
    } else if (err && !err->text[0]) {
        error_set(err, r, "%s: %s", opts->out, r == ST_NOMEM ? "out of memory" : status_name(r));
    }
    quant_plan_free(plain);
    free(j.scale_f32);
    free(j.tensors);
    compensated_free(j.compensated);
    prepare_free(j.prepared);
    gguf_close(j.g);
    return r;
}
