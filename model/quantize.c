/* quantize.c - `octet quantize`: any readable file → an INT8 file. Behind model_quantize of
 * model.h.
 *
 * Matrices go row by row through quant/source.h, the way the loader takes them, so that a file made
 * here and a file converted while loading run on the same bytes. Vectors are written as f32. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model/compensated.h"
#include "model/format/dequant.h"
#include "model/format/gguf_write.h"
#include "model/model.h"
#include "model/net/weights.h"
#include "model/quant/source.h"

struct job {
    const struct model_quantize_opts *opts;
    struct quant_scheme scheme;
    bool q8_0;       /* standard tensors are written */
    bool tied;       /* the embedding is the head */
    bool *scale_f32; /* [weights_tensor_at's i] a scale of it is beyond f16 */
    size_t n_roles;
    bool beyond_f16; /* why the last matrix failed */
    struct gguf *g;
    struct hparams hp;
    struct gguf_writer *out;
    struct compensated *compensated; /* NULL: weights are rounded one by one */
    struct model_quantize_report report;
    struct source_noise sum;
    uint64_t done, total; /* weights, a byte each in the output: progress */
    struct error *err;
};

/* Tensor i of weights_tensor_at. */
static struct quant_spec spec_of(const struct job *j, size_t i, const struct tensor_role *t)
{
    struct quant_choice c = *quant_scheme_choice(&j->scheme, t->name, j->tied);

    c.scale_f32 |= j->scale_f32[i];
    return quant_spec_for(&c, t->role, t->k, hparams_head_block(&j->hp));
}

static bool is_matrix(const struct job *j, const struct tensor_role *t)
{
    return t->k && source_exists(j->g, t->name);
}

/* Keys that say how the old file was quantized do not carry over. */
static int write_keys(struct job *j)
{
    int r = ST_OK;

    for (size_t i = 0; i < gguf_n_keys(j->g) && r == ST_OK; i++) {
        const struct gguf_kv *kv = gguf_kv_at(j->g, i);
        struct gguf_str name = gguf_kv_name(kv);
        bool drop = (name.len >= 6 && memcmp(name.data, "octet.", 6) == 0) ||
                    (name.len == 17 && memcmp(name.data, "general.file_type", 17) == 0) ||
                    (name.len == 28 && memcmp(name.data, "general.quantization_version", 28) == 0);
        if (!drop)
            r = gguf_write_copy(j->out, kv);
    }
    if (r == ST_OK && j->opts->observations)
        r = observations_write_keys(j->opts->observations, j->out);
    if (r == ST_OK && j->q8_0) {
        r = gguf_write_u32(j->out, "general.file_type", 7); /* "mostly Q8_0" in GGUF's own list */
        return r == ST_OK ? gguf_write_u32(j->out, "general.quantization_version", 2) : r;
    }
    char label[128];
    quant_scheme_label(&j->scheme, label, sizeof(label));
    if (r == ST_OK)
        r = gguf_write_u32(j->out, "octet.version", 1);
    return r == ST_OK ? gguf_write_str(j->out, "octet.scheme", label, strlen(label)) : r;
}

/* octet.linear.*: parallel arrays, one element a matrix. Keys that hold nothing but zeros and may be
 * left out are. */
static int write_plan(struct job *j)
{
    struct tensor_role t;
    size_t n = 0;
    struct gguf_str *names = calloc(j->n_roles, sizeof(*names));
    char(*text)[64] = calloc(j->n_roles, sizeof(*text));
    uint32_t *nums = calloc(j->n_roles * SOURCE_LINEAR_KEYS, sizeof(*nums));
    uint32_t any[SOURCE_LINEAR_KEYS] = {1, 1, 1, 1};
    int r = names && text && nums ? ST_OK : ST_NOMEM;

    for (size_t i = 0; r == ST_OK && weights_tensor_at(&j->hp, i, &t); i++) {
        if (!is_matrix(j, &t))
            continue;
        struct quant_spec s = spec_of(j, i, &t);
        uint32_t v[SOURCE_LINEAR_KEYS];
        size_t len = strlen(t.name) - strlen(".weight");
        memcpy(text[n], t.name, len);
        names[n] = (struct gguf_str){text[n], len};
        memcpy(v, &s, sizeof(v));
        for (size_t k = 0; k < SOURCE_LINEAR_KEYS; k++) {
            nums[k * j->n_roles + n] = v[k];
            any[k] |= v[k];
        }
        n++;
    }
    if (r == ST_OK)
        r = gguf_write_strs(j->out, "octet.linear.names", names, n);
    for (size_t k = 0; k < SOURCE_LINEAR_KEYS && r == ST_OK; k++)
        if (any[k])
            r = gguf_write_u32s(j->out, source_linear_keys[k], nums + k * j->n_roles, n);
    free(names);
    free(text);
    free(nums);
    return r;
}

/* What a matrix does not get as it was asked for, said once for each width: later widths join. */
static void note(struct job *j, const struct tensor_role *t, const struct quant_spec *s)
{
    const struct quant_choice *c = quant_scheme_choice(&j->scheme, t->name, j->tied);
    char what[128], line[sizeof(j->report.note)];
    size_t used = strlen(j->report.note);

    /* o's blocks are those of heads. */
    struct quant_choice wanted = *c;
    wanted.block = t->role == QUANT_O ? s->block_in : c->block;
    quant_spec_differs(&wanted, s, t->k, what, sizeof(what));
    if (!what[0])
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
                   beside[2] = {kp / s->group, t->n};
    struct source_names names;
    int r = source_octet_names(t->name, &names);

    if (r == ST_OK)
        r = gguf_write_tensor(j->out, names.q, GGUF_I8, values, 2);
    if (r == ST_OK)
        r = gguf_write_tensor(j->out, names.scale, s->scale_f32 ? GGUF_F32 : GGUF_F16, beside, 2);
    if (r == ST_OK && s->zero)
        r = gguf_write_tensor(j->out, names.zero, GGUF_I8, beside, 2);
    note(j, t, s);
    return r;
}

static int declare_matrix(struct job *j, size_t i, const struct tensor_role *t)
{
    struct quant_spec s = spec_of(j, i, t);

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
        if (is_matrix(j, &t)) {
            r = declare_matrix(j, i, &t);
            j->total += (uint64_t)t.n * t.k;
            j->report.n_quantized++;
        } else if (gguf_find(j->g, t.name)) {
            r = gguf_write_tensor(j->out, t.name, GGUF_F32, (uint64_t[1]){t.n}, 1);
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
    int r = weights_read_vector(j->g, t->name, t->n, &x, j->err);

    if (r == ST_OK)
        r = gguf_write_data(j->out, x, t->n * sizeof(*x), j->err);
    free(x);
    return r;
}

static double snr_db(double signal, double noise)
{
    if (noise <= 0.0)
        return 200.0; /* exact */
    return signal > 0.0 ? 10.0 * log10(signal / noise) : 0.0;
}

static void add_noise(struct job *j, const struct tensor_role *t, const struct source_noise *n)
{
    double db = snr_db(n->signal, n->noise);

    if (j->sum.n_weights == 0 || db < j->report.worst_snr_db) {
        j->report.worst_snr_db = db;
        snprintf(j->report.worst_name, sizeof(j->report.worst_name), "%s", t->name);
    }
    j->sum.signal += n->signal;
    j->sum.noise += n->noise;
    j->sum.n_weights += (uint64_t)t->n * t->k;
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

/* n scales as the spec has them, in place. */
static int write_scales(struct job *j, float *scales, size_t n, const struct quant_spec *spec)
{
    uint16_t *half = (uint16_t *)(void *)scales;

    if (spec->scale_f32)
        return gguf_write_data(j->out, scales, n * sizeof(*scales), j->err);
    for (size_t i = 0; i < n; i++) {
        float scale;
        memcpy(&scale, &scales[i], sizeof(scale));
        uint16_t h = f32_to_f16(scale);
        memcpy(&half[i], &h, sizeof(h));
    }
    return gguf_write_data(j->out, half, n * sizeof(*half), j->err);
}

/* A matrix as integers, on its way to the file. */
struct integers {
    struct quant_spec spec;
    struct source *source;
    size_t kp, groups;
    bool whole;           /* all rows are made before the first is written */
    struct quant_row all; /* q of a row, or whole: of all; scales and zeros of all */
    struct source_noise noise;
    uint8_t *nibbles; /* [kp / 2] */
};

/* Row i, made now or before. */
static int make_row(struct job *j, const struct integers *m, size_t i, struct quant_row *ret_row)
{
    const struct quant_row row = {m->all.q + (m->whole ? i * m->kp : 0),
                                  m->all.scales + i * m->groups, m->all.zeros + i * m->groups};

    *ret_row = row;
    return m->whole ? ST_OK : source_row_ints(m->source, i, &row, j->err);
}

/* The matrix row by row; what is beside the integers is kept for after them. */
static int write_rows(struct job *j, const struct tensor_role *t, const struct integers *m)
{
    struct quant_row row;
    int r = ST_OK;

    for (size_t i = 0; i < t->n && r == ST_OK; i++) {
        r = make_row(j, m, i, &row);
        if (r == ST_OK)
            r = j->q8_0 ? write_q8_0_row(j, &row, m->groups)
                        : write_octet_row(j, &row, m->kp, m->spec.bits, m->nibbles);
        j->done += t->k;
        if (j->opts->progress.fn && i % 256 == 255)
            j->opts->progress.fn(j->opts->progress.arg, "quantizing", j->done, j->total);
    }
    if (r == ST_OK && !j->q8_0)
        r = write_scales(j, m->all.scales, t->n * m->groups, &m->spec);
    if (r == ST_OK && m->spec.zero)
        r = gguf_write_data(j->out, m->all.zeros, t->n * m->groups, j->err);
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
        add_noise(j, t, &m->noise);
    j->beyond_f16 = m->noise.beyond_f16;
    return r;
}

static int write_matrix(struct job *j, size_t i, const struct tensor_role *t)
{
    const bool one_scale = quant_scheme_choice(&j->scheme, t->name, j->tied)->tensor;
    struct integers m = {.spec = spec_of(j, i, t)};
    int r = source_open(j->g, t->name, t->n, t->k, &m.spec, &m.source, j->err);

    m.kp = quant_padded(&m.spec, t->k);
    m.groups = m.kp / m.spec.group;
    m.whole = j->compensated && compensated_has(j->compensated, t) && !one_scale;
    if (r == ST_OK && one_scale)
        r = source_one_scale(m.source, j->err);
    if (r == ST_OK)
        r = make_and_write(j, t, &m);
    source_free(m.source);
    free(m.all.q);
    free(m.all.scales);
    free(m.all.zeros);
    free(m.nibbles);
    return r;
}

static int write_all(struct job *j)
{
    struct tensor_role t;
    int r = write_keys(j);

    if (r == ST_OK && !j->q8_0)
        r = write_plan(j);
    if (r == ST_OK)
        r = declare(j);
    for (size_t i = 0; r == ST_OK && weights_tensor_at(&j->hp, i, &t); i++) {
        if (is_matrix(j, &t)) {
            r = write_matrix(j, i, &t);
            j->scale_f32[i] |= j->beyond_f16;
        } else if (gguf_find(j->g, t.name)) {
            r = write_vector(j, &t);
        }
    }
    if (r == ST_OK && j->opts->progress.fn)
        j->opts->progress.fn(j->opts->progress.arg, "quantizing", j->total, j->total);
    return r;
}

static int open_compensated(struct job *j)
{
    const struct model_quantize_opts *o = j->opts;
    int r = observations_check(o->observations, j->g, j->err);

    return r == ST_OK ? compensated_open(o->observations, j->tied, o->threads ? o->threads : 1,
                                         &j->compensated, j->err)
                      : r;
}

static int open_input(struct job *j)
{
    const struct gguf_opts go = {0};
    struct tensor_role t;
    int r = gguf_open(j->opts->in, &go, &j->g, j->err);

    if (r == ST_OK)
        r = weights_read_shape(j->g, &j->hp, j->err);
    if (r != ST_OK)
        return r;
    j->q8_0 = quant_scheme_is_q8_0(&j->scheme);
    j->tied = !source_exists(j->g, "output.weight");
    while (weights_tensor_at(&j->hp, j->n_roles, &t))
        j->n_roles++;
    j->scale_f32 = calloc(j->n_roles, sizeof(*j->scale_f32));
    if (!j->scale_f32)
        return ST_NOMEM;
    return j->opts->observations ? open_compensated(j) : ST_OK;
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
    j->sum = (struct source_noise){0};
    j->done = j->total = 0;
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

int model_quantize(const struct model_quantize_opts *opts, struct model_quantize_report *ret_report,
                   struct error *err)
{
    struct job j = {.opts = opts, .err = err};
    struct stat st;
    bool again = true;
    int r = quant_scheme_parse(opts->scheme, &j.scheme, err);

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
        j.report.n_weights = j.sum.n_weights;
        j.report.snr_db = snr_db(j.sum.signal, j.sum.noise);
        quant_scheme_label(&j.scheme, j.report.scheme, sizeof(j.report.scheme));
        *ret_report = j.report;
    } else if (err && !err->text[0]) {
        error_set(err, r, "%s: %s", opts->out, r == ST_NOMEM ? "out of memory" : status_name(r));
    }
    free(j.scale_f32);
    compensated_free(j.compensated);
    gguf_close(j.g);
    return r;
}
