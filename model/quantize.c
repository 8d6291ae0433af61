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

#include "model/format/gguf_write.h"
#include "model/model.h"
#include "model/net/weights.h"
#include "model/quant/source.h"

struct job {
    const struct model_quantize_opts *opts;
    enum quant_scheme scheme;
    struct gguf *g;
    struct hparams hp;
    struct gguf_writer *out;
    struct model_quantize_report report;
    struct source_noise sum;
    uint64_t done, total; /* weights, a byte each in the output: progress */
    struct error *err;
};

static struct quant_spec spec_of(const struct job *j, const struct tensor_role *t)
{
    return quant_spec_for(j->scheme, t->role, t->k, hparams_head_block(&j->hp));
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
    if (r == ST_OK && j->scheme == SCHEME_Q8_0) {
        r = gguf_write_u32(j->out, "general.file_type", 7); /* "mostly Q8_0" in GGUF's own list */
        return r == ST_OK ? gguf_write_u32(j->out, "general.quantization_version", 2) : r;
    }
    const char *label = quant_scheme_label(j->scheme);
    if (r == ST_OK)
        r = gguf_write_u32(j->out, "octet.version", 1);
    return r == ST_OK ? gguf_write_str(j->out, "octet.scheme", label, strlen(label)) : r;
}

/* octet.linear.*: parallel arrays, one element a matrix. */
static int write_plan(struct job *j)
{
    struct tensor_role t;
    size_t n = 0, cap = 3 + 8 * (size_t)j->hp.n_layer;
    struct gguf_str *names = calloc(cap, sizeof(*names));
    char(*text)[64] = calloc(cap, sizeof(*text));
    uint32_t *nums = calloc(cap * 4, sizeof(*nums));
    int r = names && text && nums ? ST_OK : ST_NOMEM;

    for (size_t i = 0; r == ST_OK && weights_tensor_at(&j->hp, i, &t); i++) {
        if (!is_matrix(j, &t))
            continue;
        struct quant_spec s = spec_of(j, &t);
        size_t len = strlen(t.name) - strlen(".weight");
        memcpy(text[n], t.name, len);
        names[n] = (struct gguf_str){text[n], len};
        nums[n] = s.bits;
        nums[cap + n] = s.group;
        nums[2 * cap + n] = s.block_in;
        nums[3 * cap + n] = s.block_out;
        n++;
    }
    static const char *const keys[4] = {"octet.linear.bits", "octet.linear.group",
                                        "octet.linear.block_in", "octet.linear.block_out"};
    if (r == ST_OK)
        r = gguf_write_strs(j->out, "octet.linear.names", names, n);
    for (size_t i = 0; i < 4 && r == ST_OK; i++)
        r = gguf_write_u32s(j->out, keys[i], nums + i * cap, n);
    free(names);
    free(text);
    free(nums);
    return r;
}

static int declare_matrix(struct job *j, const struct tensor_role *t)
{
    struct quant_spec s = spec_of(j, t);
    size_t kp = quant_padded(&s, t->k);
    char q[256], scale[256];

    if (j->scheme == SCHEME_Q8_0) {
        if (t->k % 32)
            return error_set(j->err, ST_UNSUPPORTED,
                             "%s: %s has rows of %zu, which standard Q8_0 (blocks of 32) cannot "
                             "hold; use --scheme int8",
                             gguf_path(j->g), t->name, t->k);
        return gguf_write_tensor(j->out, t->name, GGUF_Q8_0, (uint64_t[2]){t->k, t->n}, 2);
    }
    int r = source_octet_names(t->name, q, scale);
    if (r == ST_OK)
        r = gguf_write_tensor(j->out, q, GGUF_I8, (uint64_t[2]){kp, t->n}, 2);
    if (r == ST_OK)
        r = gguf_write_tensor(j->out, scale, GGUF_F16, (uint64_t[2]){kp / s.group, t->n}, 2);
    if (s.group != 64 || (s.block_in != 64 && t->role != QUANT_O))
        snprintf(j->report.note, sizeof(j->report.note),
                 "%s and others have rows of %zu that 64 does not divide: groups of %u, Hadamard "
                 "blocks of %u",
                 t->name, t->k, s.group, s.block_in);
    return r;
}

static int declare(struct job *j)
{
    struct tensor_role t;
    int r = ST_OK;

    for (size_t i = 0; r == ST_OK && weights_tensor_at(&j->hp, i, &t); i++) {
        if (is_matrix(j, &t)) {
            r = declare_matrix(j, &t);
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
static int write_q8_0_row(struct job *j, const int8_t *q, const uint16_t *scales, size_t n_blocks)
{
    int r = ST_OK;
    for (size_t b = 0; b < n_blocks && r == ST_OK; b++) {
        uint8_t block[34];
        memcpy(block, &scales[b], 2);
        memcpy(block + 2, q + 32 * b, 32);
        r = gguf_write_data(j->out, block, sizeof(block), j->err);
    }
    return r;
}

static int write_rows(struct job *j, const struct tensor_role *t, struct source *s, int8_t *q,
                      uint16_t *scales)
{
    struct quant_spec spec = spec_of(j, t);
    size_t kp = quant_padded(&spec, t->k), groups = kp / spec.group;
    int r = ST_OK;

    for (size_t i = 0; i < t->n && r == ST_OK; i++) {
        uint16_t *row = scales + i * groups;
        r = source_row_i8(s, i, q, row, j->err);
        if (r == ST_OK)
            r = j->scheme == SCHEME_Q8_0 ? write_q8_0_row(j, q, row, groups)
                                         : gguf_write_data(j->out, q, kp, j->err);
        j->done += t->k;
        if (j->opts->progress.fn && i % 256 == 255)
            j->opts->progress.fn(j->opts->progress.arg, "quantizing", j->done, j->total);
    }
    if (r == ST_OK && j->scheme != SCHEME_Q8_0)
        r = gguf_write_data(j->out, scales, t->n * groups * sizeof(*scales), j->err);
    return r;
}

static int write_matrix(struct job *j, const struct tensor_role *t)
{
    struct quant_spec spec = spec_of(j, t);
    size_t kp = quant_padded(&spec, t->k);
    struct source *s = NULL;
    int r = source_open(j->g, t->name, t->n, t->k, &spec, &s, j->err);

    if (r != ST_OK)
        return r;
    int8_t *q = malloc(kp);
    uint16_t *scales = calloc(t->n, kp / spec.group * sizeof(*scales));
    r = q && scales ? write_rows(j, t, s, q, scales)
                    : error_set(j->err, ST_NOMEM, "out of memory for %s", t->name);
    if (r == ST_OK)
        add_noise(j, t, source_noise(s));
    source_free(s);
    free(q);
    free(scales);
    return r;
}

static int write_all(struct job *j)
{
    struct tensor_role t;
    int r = write_keys(j);

    if (r == ST_OK && j->scheme != SCHEME_Q8_0)
        r = write_plan(j);
    if (r == ST_OK)
        r = declare(j);
    for (size_t i = 0; r == ST_OK && weights_tensor_at(&j->hp, i, &t); i++) {
        if (is_matrix(j, &t))
            r = write_matrix(j, &t);
        else if (gguf_find(j->g, t.name))
            r = write_vector(j, &t);
    }
    if (r == ST_OK && j->opts->progress.fn)
        j->opts->progress.fn(j->opts->progress.arg, "quantizing", j->total, j->total);
    return r;
}

static int open_input(struct job *j)
{
    const struct gguf_opts go = {0};
    int r = gguf_open(j->opts->in, &go, &j->g, j->err);

    return r == ST_OK ? weights_read_shape(j->g, &j->hp, j->err) : r;
}

int model_quantize(const struct model_quantize_opts *opts, struct model_quantize_report *ret_report,
                   struct error *err)
{
    struct job j = {.opts = opts, .err = err};
    struct stat st;
    int r = quant_scheme_parse(opts->scheme, &j.scheme, err);

    if (err)
        err->text[0] = '\0';
    if (r == ST_OK)
        r = open_input(&j);
    if (r == ST_OK)
        r = gguf_write_open(opts->out, &j.out, err);
    if (r == ST_OK) {
        r = write_all(&j);
        if (r == ST_OK)
            r = gguf_write_commit(j.out, err);
        else
            gguf_write_abort(j.out);
    }
    if (r == ST_OK) {
        j.report.bytes_in = gguf_file_bytes(j.g);
        j.report.bytes_out = stat(opts->out, &st) == 0 ? (uint64_t)st.st_size : 0;
        j.report.n_weights = j.sum.n_weights;
        j.report.snr_db = snr_db(j.sum.signal, j.sum.noise);
        *ret_report = j.report;
    } else if (err && !err->text[0]) {
        error_set(err, r, "%s: %s", opts->out, r == ST_NOMEM ? "out of memory" : status_name(r));
    }
    gguf_close(j.g);
    return r;
}
