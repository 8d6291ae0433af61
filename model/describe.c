/* describe.c - what a model file holds, for people and as JSON. Behind model_describe of model.h.
 *
 * Reads metadata and the tensor list only; weights are not touched unless a record is to be
 * checked, so any size of file answers at once. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/escape.h"
#include "model/format/gguf.h"
#include "model/format/map.h"
#include "model/model.h"
#include "model/net/weights.h"
#include "model/quant/source.h"
#include "model/record.h"

static void put_json(FILE *f, const char *s, size_t n)
{
    char out[ESCAPE_MAX];

    fputc('"', f);
    for (const char *end = s + n; s < end;)
        fwrite(out, 1, escape_step(&s, end, out), f);
    fputc('"', f);
}

static struct gguf_str get_str(const struct gguf *g, const char *key)
{
    struct gguf_str s = {"", 0};
    gguf_get_str(g, key, &s, NULL);
    return s;
}

struct totals {
    uint64_t params, weight_bytes;
    uint64_t by_type[256]; /* bytes */
};

static bool ends_in(struct gguf_str name, const char *end)
{
    size_t n = strlen(end);
    return name.len > n && memcmp(name.data + name.len - n, end, n) == 0;
}

/* What the file says of one of octet's own matrices. */
static bool spec_of(const struct gguf *g, const struct gguf_tensor *x, struct quant_spec *ret_spec)
{
    char name[256];

    if (!ends_in(x->name, ".octet_q") || x->name.len >= sizeof(name))
        return false;
    snprintf(name, sizeof(name), "%.*sweight", (int)(x->name.len - strlen("octet_q")),
             x->name.data);
    return source_stored_spec(g, name, ret_spec, NULL) == ST_OK && ret_spec->bits;
}

/* Weights that a tensor holds: two a byte where its bits are 4, none beside it. */
static uint64_t weights_in(const struct gguf *g, const struct gguf_tensor *x)
{
    struct quant_spec spec;

    if (ends_in(x->name, ".octet_scale") || ends_in(x->name, ".octet_zero") ||
        ends_in(x->name, ".octet_act"))
        return 0;
    return x->n_elems * (spec_of(g, x, &spec) && spec.bits == 4 ? 2 : 1);
}

static void add_up(const struct gguf *g, struct totals *t)
{
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *x = gguf_tensor_at(g, i);
        t->params += weights_in(g, x);
        t->weight_bytes += x->n_bytes;
        if (x->type < 256)
            t->by_type[x->type] += x->n_bytes;
    }
}

static void scheme_of(const struct gguf *g, char *buf, size_t len)
{
    struct gguf_str s = get_str(g, "octet.scheme");
    const struct gguf_tensor *t = gguf_find(g, "blk.0.attn_q.weight");
    const char *type = t ? gguf_type_name(t->type) : NULL;

    if (s.len)
        snprintf(buf, len, "%s", gguf_show(s).text);
    else
        snprintf(buf, len, "%s", type ? type : "unknown");
}

struct row {
    const char *key;
    uint64_t value;
};

static size_t shape_rows(const struct hparams *hp, struct row rows[10])
{
    const struct row all[] = {{"n_layer", hp->n_layer},   {"d_model", hp->d_model},
                              {"d_ff", hp->d_ff},         {"n_head", hp->n_head},
                              {"n_kv_head", hp->n_kv},    {"head_dim", hp->head_dim},
                              {"n_ctx_train", hp->n_ctx}, {"n_rot", hp->n_rot}};
    memcpy(rows, all, sizeof(all));
    return sizeof(all) / sizeof(all[0]);
}

static void print_spec(FILE *f, const struct quant_spec *s)
{
    static const char *const acts[] = {"dynamic", "static", "channel"};

    fprintf(f,
            ",\"spec\":{\"bits\":%u,\"group\":%u,\"hadamard\":%u,\"act_group\":%u,"
            "\"act\":\"%s\",\"scale_f32\":%s,\"zero\":%s,\"act_zero\":%s}",
            s->bits, s->group, s->block_in, quant_act_group(s), acts[s->act_static],
            s->scale_f32 ? "true" : "false", s->zero ? "true" : "false",
            s->act_zero ? "true" : "false");
}

/* Alpha of each input that is smoothed (model/prepare.h), none of them or ill-formed: no names. */
struct smooth_keys {
    struct gguf_array names, alphas;
};

static struct smooth_keys smooth_keys(const struct gguf *g)
{
    struct smooth_keys none = {0}, found = {0};

    if (gguf_get_strs(g, "octet.smooth.names", &found.names, NULL) != ST_OK ||
        gguf_get_ints(g, "octet.smooth.alpha_percent", &found.alphas, NULL) != ST_OK ||
        found.names.n != found.alphas.n)
        return none;
    return found;
}

static void print_smooth_json(FILE *f, const struct gguf *g)
{
    const struct smooth_keys s = smooth_keys(g);

    fputs(",\"smooth\":", f);
    if (!s.names.n)
        fputs("null", f);
    for (uint64_t i = 0; i < s.names.n; i++) {
        int alpha = gguf_array_i32(&s.alphas, i);
        fputs(i ? "," : "{", f);
        put_json(f, s.names.strs[i].data, s.names.strs[i].len);
        fprintf(f, alpha < 0 ? ":null" : ":%.2f", alpha / 100.0);
    }
    fputs(s.names.n ? "}" : "", f);
}

static void print_smooth(FILE *f, const struct gguf *g)
{
    const struct smooth_keys s = smooth_keys(g);
    int least = 100, most = 0;
    unsigned n = 0;

    for (uint64_t i = 0; i < s.names.n; i++) {
        int alpha = gguf_array_i32(&s.alphas, i);
        if (alpha < 0)
            continue;
        least = alpha < least ? alpha : least;
        most = alpha > most ? alpha : most;
        n++;
    }
    if (n)
        fprintf(f, "%-16s %u of %" PRIu64 " inputs, alpha %.2f to %.2f\n", "smoothed", n, s.names.n,
                least / 100.0, most / 100.0);
}

/* The record of quality, and whether it is of this file. */
struct found {
    int status; /* of record_read() */
    struct quality quality;
    struct error err;
    enum { UNCHECKED, MATCHES, CHANGED } match;
};

static void find_record(const struct gguf *g, const struct model_describe_opts *opts, bool whole,
                        struct found *ret_found)
{
    char hex[SHA256_HEX];

    *ret_found = (struct found){.match = UNCHECKED};
    ret_found->status = record_read(g, &ret_found->quality, &ret_found->err);
    if (ret_found->status != ST_OK || !opts->check || !whole)
        return;
    record_digest(g, &opts->progress, hex);
    ret_found->match = strcmp(hex, ret_found->quality.digest) == 0 ? MATCHES : CHANGED;
}

/* ---- the plan: what each module was to be ---- */

/* The file's own, or its scheme as one; NULL: it has neither. */
static struct quant_plan *find_plan(const struct gguf *g)
{
    struct gguf_str json = get_str(g, "octet.plan"), scheme = get_str(g, "octet.scheme");
    struct quant_plan *plan = NULL;
    char label[QUANT_LABEL_MAX];

    if (json.len) {
        quant_plan_parse(gguf_path(g), json.data, json.len, &plan, NULL);
    } else if (scheme.len && scheme.len < sizeof(label)) {
        snprintf(label, sizeof(label), "%.*s", (int)scheme.len, scheme.data);
        quant_plan_new(label, &plan, NULL);
    }
    return plan;
}

/* Modules of one choice. */
struct use {
    char label[64];
    uint64_t modules, weights, bytes;
};
enum { USES_MAX = 64 };

static uint64_t bytes_of(const struct gguf *g, const char *name)
{
    const struct gguf_tensor *t = gguf_find(g, name);

    return t ? t->n_bytes : 0;
}

/* Those of the file by what the plan says of them. Returns how many choices there are. */
static size_t count_uses(const struct gguf *g, const struct hparams *hp,
                         const struct quant_plan *plan, struct use uses[USES_MAX])
{
    const bool tied = !source_exists(g, "output.weight");
    struct source_names octet;
    struct tensor_role t;
    size_t n = 0;

    for (size_t i = 0; weights_tensor_at(hp, i, &t); i++) {
        char label[sizeof(uses->label)];
        size_t at = 0;
        if (!t.k || !source_exists(g, t.name) || source_octet_names(t.name, &octet) != ST_OK)
            continue;
        quant_choice_label(quant_plan_choice(plan, t.name, tied), label, sizeof(label));
        while (at < n && strcmp(uses[at].label, label) != 0)
            at++;
        if (at == USES_MAX)
            continue;
        if (at == n)
            uses[n++] = (struct use){0};
        const struct gguf_tensor *plain = gguf_find(g, t.name), *ints = gguf_find(g, octet.q);
        memcpy(uses[at].label, label, sizeof(label));
        uses[at].modules++;
        uses[at].weights += plain ? plain->n_elems : weights_in(g, ints);
        uses[at].bytes += bytes_of(g, t.name) + bytes_of(g, octet.q) + bytes_of(g, octet.scale) +
                          bytes_of(g, octet.zero);
    }
    return n;
}

static double bits_each(const struct use *use)
{
    return use->weights ? 8.0 * (double)use->bytes / (double)use->weights : 0.0;
}

static void print_plan_json(FILE *f, const struct gguf *g, const struct hparams *hp)
{
    struct quant_plan *plan = find_plan(g);
    char *json = plan ? quant_plan_json(plan) : NULL;
    struct use uses[USES_MAX];

    fprintf(f, ",\"plan\":%s,\"choices\":{", json ? json : "null");
    for (size_t i = 0, n = plan && hp ? count_uses(g, hp, plan, uses) : 0; i < n; i++)
        fprintf(f,
                "%s\"%s\":{\"modules\":%" PRIu64 ",\"weights\":%" PRIu64 ",\"bytes\":%" PRIu64
                ",\"bits_per_weight\":%.4f}",
                i ? "," : "", uses[i].label, uses[i].modules, uses[i].weights, uses[i].bytes,
                bits_each(&uses[i]));
    fputc('}', f);
    free(json);
    quant_plan_free(plan);
}

static void print_plan(FILE *f, const struct gguf *g, const struct hparams *hp)
{
    struct quant_plan *plan = find_plan(g);
    struct use uses[USES_MAX];

    for (size_t i = 0, n = plan && hp ? count_uses(g, hp, plan, uses) : 0; i < n; i++)
        fprintf(f, "%-16s %s: %" PRIu64 " module%s, %.1f M weights, %.2f bits each\n",
                i ? "" : "plan", uses[i].label, uses[i].modules, uses[i].modules == 1 ? "" : "s",
                (double)uses[i].weights / 1e6, bits_each(&uses[i]));
    quant_plan_free(plan);
}

static void print_json(FILE *f, const struct gguf *g, const struct hparams *hp,
                       const struct totals *t, const struct found *found)
{
    static const char *const matches[] = {"null", "true", "false"};
    char quality[QUALITY_JSON_MAX] = "null";
    struct gguf_str arch = get_str(g, "general.architecture"), name = get_str(g, "general.name");
    struct gguf_str tok = get_str(g, "tokenizer.ggml.model"),
                    pre = get_str(g, "tokenizer.ggml.pre");
    struct row rows[10];
    struct quant_spec spec;
    char scheme[sizeof(struct gguf_shown)];

    if (found->status == ST_OK)
        quality_json(&found->quality, quality);
    scheme_of(g, scheme, sizeof(scheme));
    fputs("{\"file\":", f);
    put_json(f, gguf_path(g), strlen(gguf_path(g)));
    fprintf(f, ",\"file_bytes\":%" PRIu64 ",\"name\":", gguf_file_bytes(g));
    put_json(f, name.data, name.len);
    fputs(",\"architecture\":", f);
    put_json(f, arch.data, arch.len);
    fputs(",\"scheme\":", f);
    put_json(f, scheme, strlen(scheme));
    fputs(",\"tokenizer\":", f);
    put_json(f, tok.data, tok.len);
    fputs(",\"pre_tokenizer\":", f);
    put_json(f, pre.data, pre.len);
    fprintf(f, ",\"parameters\":%" PRIu64 ",\"weight_bytes\":%" PRIu64 ",\"bits_per_weight\":%.4f",
            t->params, t->weight_bytes,
            t->params ? 8.0 * (double)t->weight_bytes / (double)t->params : 0.0);
    for (size_t i = 0, n = hp ? shape_rows(hp, rows) : 0; i < n; i++)
        fprintf(f, ",\"%s\":%" PRIu64, rows[i].key, rows[i].value);
    print_plan_json(f, g, hp);
    print_smooth_json(f, g);
    fprintf(f, ",\"quality\":%s,\"quality_matches\":%s,\"tensors\":[", quality,
            matches[found->match]);
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *x = gguf_tensor_at(g, i);
        fputs(i ? ",{\"name\":" : "{\"name\":", f);
        put_json(f, x->name.data, x->name.len);
        fprintf(f, ",\"type\":\"%s\",\"dims\":[",
                gguf_type_name(x->type) ? gguf_type_name(x->type) : "unknown");
        for (uint32_t d = 0; d < x->n_dims; d++)
            fprintf(f, "%s%" PRIu64, d ? "," : "", x->dims[d]);
        fprintf(f, "],\"bytes\":%" PRIu64, x->n_bytes);
        if (spec_of(g, x, &spec))
            print_spec(f, &spec);
        fputc('}', f);
    }
    fputs("]}\n", f);
}

static void print_quality(FILE *f, const struct found *found)
{
    struct quality q = found->quality;

    fprintf(f, "%-16s ", "quality");
    if (found->status != ST_OK) {
        fprintf(f, "%s\n", found->status == ST_NOTFOUND ? "none recorded" : found->err.text);
        return;
    }
    fprintf(f, "perplexity %.4f +- %.4f, %.5f times the source's\n", q.ppl, q.ppl_se, q.ppl_ratio);
    fprintf(f, "%-16s KL divergence mean %.6f, median %.6f, 99 %% %.6f, most %.6f\n", "",
            q.kld_mean, q.kld_median, q.kld_p99, q.kld_max);
    fprintf(f, "%-16s same top token %.2f %%, right token's probability %.3f %% off (RMS)\n", "",
            q.same_top * 100, q.rms_dp * 100);
    fprintf(f, "%-16s %" PRIu64 " tokens in %" PRIu64 " chunks of %" PRIu32 ", %s, kv %s, %s\n", "",
            q.tokens, q.chunks, q.ctx, q.scheme, q.kv, q.precision);
    fprintf(f, "%-16s by octet %s; text %.16s…, source %.16s…\n", "", q.version, q.text_sha256,
            q.source_sha256);
    if (found->match != UNCHECKED)
        fprintf(f, "%-16s %s\n", "",
                found->match == MATCHES ? "checked: of this file, as it is"
                                        : "NOT of this file as it is: it was changed since");
}

static void print_text(FILE *f, const struct gguf *g, const struct hparams *hp,
                       const struct totals *t, const struct found *found)
{
    struct gguf_str arch = get_str(g, "general.architecture"), name = get_str(g, "general.name");
    struct gguf_str tok = get_str(g, "tokenizer.ggml.model"),
                    pre = get_str(g, "tokenizer.ggml.pre");
    struct row rows[10];
    char scheme[sizeof(struct gguf_shown)];

    scheme_of(g, scheme, sizeof(scheme));
    fprintf(f, "%-16s %s (%.1f MB)\n", "file", gguf_path(g), (double)gguf_file_bytes(g) / 1e6);
    fprintf(f, "%-16s %s\n%-16s %s\n", "name", gguf_show(name).text, "architecture",
            gguf_show(arch).text);
    fprintf(f, "%-16s %s\n%-16s %s, pre-tokenizer %s\n", "scheme", scheme, "tokenizer",
            gguf_show(tok).text, gguf_show(pre).text);
    fprintf(f, "%-16s %.1f M, %.1f MB of tensors, %.2f bits each\n", "parameters",
            (double)t->params / 1e6, (double)t->weight_bytes / 1e6,
            t->params ? 8.0 * (double)t->weight_bytes / (double)t->params : 0.0);
    for (size_t i = 0, n = hp ? shape_rows(hp, rows) : 0; i < n; i++)
        fprintf(f, "%-16s %" PRIu64 "\n", rows[i].key, rows[i].value);
    fprintf(f, "%-16s %zu", "tensors", gguf_n_tensors(g));
    for (uint32_t type = 0; type < 256; type++)
        if (t->by_type[type])
            fprintf(f, ", %s %.1f MB", gguf_type_name(type) ? gguf_type_name(type) : "unknown",
                    (double)t->by_type[type] / 1e6);
    fputs("\n", f);
    print_plan(f, g, hp);
    print_smooth(f, g);
    print_quality(f, found);
}

int model_describe(const char *path, const struct model_describe_opts *opts, char **ret_text,
                   struct error *err)
{
    const struct gguf_opts whole = {0}, vocab = {.vocab_only = true};
    struct gguf *g = NULL;
    struct hparams hp;
    struct totals t = {0};
    struct found found;
    bool all;
    char *text = NULL;
    size_t len = 0;
    int r = gguf_open(path, &whole, &g, err);

    /* A file with tensors that are not built, or with none, is still worth describing. Of a directory
     * nothing but the vocabulary would be left: then the reason says more. */
    all = r == ST_OK;
    if (r == ST_UNSUPPORTED && !map_is_folder(path))
        r = gguf_open(path, &vocab, &g, err);
    if (r != ST_OK)
        return r;
    FILE *f = open_memstream(&text, &len);
    if (!f) {
        gguf_close(g);
        return error_set(err, ST_NOMEM, "out of memory");
    }
    bool shape = hparams_read(g, &hp, NULL) == ST_OK;
    add_up(g, &t);
    find_record(g, opts, all, &found);
    (opts->json ? print_json : print_text)(f, g, shape ? &hp : NULL, &t, &found);
    bool failed = ferror(f) != 0;
    failed |= fclose(f) != 0;
    gguf_close(g);
    if (failed) {
        free(text);
        return error_set(err, ST_NOMEM, "out of memory");
    }
    *ret_text = text;
    return ST_OK;
}
