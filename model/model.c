/* model.c - wires the rooms behind model.h: format → text, quant, net. */
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/format/gguf.h"
#include "model/net/runner.h"
#include "model/record.h"
#include "model/text/detok.h"
#include "model/text/tokenizer.h"
#include "model/text/utf8.h"

struct model {
    struct model_info info;
    struct weights weights; /* empty with vocab_only */
    const struct kernels *kernels;
    struct tokenizer *tokenizer;
    int32_t *ends;
    size_t n_ends;
    char name[128];
    struct quality quality;
};

/* The base name of the file or directory: what a user would type, where general.name is whatever a
 * training run was called. */
static void set_name(struct model *m, const char *path)
{
    size_t end = strlen(path), start, len;

    while (end > 1 && path[end - 1] == '/')
        end--;
    for (start = end; start > 0 && path[start - 1] != '/';)
        start--;
    snprintf(m->name, sizeof(m->name), "%.*s", (int)(end - start), path + start);
    len = strlen(m->name);
    if (len > 5 && strcmp(m->name + len - 5, ".gguf") == 0)
        m->name[len - 5] = '\0';
    /* It goes into JSON and metrics: whole printable characters only. */
    len = strlen(m->name);
    for (size_t i = 0, n; i < len; i += n)
        if (utf8_look(m->name + i, len - i, &n) != UTF8_WHOLE || (unsigned char)m->name[i] < ' ' ||
            m->name[i] == 127)
            memset(m->name + i, '?', n);
    m->info.name = m->name;
}

static int list_ends(struct model *m)
{
    uint32_t n = tokenizer_n_vocab(m->tokenizer);

    for (int pass = 0; pass < 2; pass++) {
        m->n_ends = 0;
        for (uint32_t i = 0; i < n; i++)
            if (tokenizer_is_end(m->tokenizer, (int32_t)i)) {
                if (pass)
                    m->ends[m->n_ends] = (int32_t)i;
                m->n_ends++;
            }
        if (!pass && !(m->ends = calloc(m->n_ends + 1, sizeof(*m->ends))))
            return ST_NOMEM;
    }
    return ST_OK;
}

static void count_step(const struct weights *w, struct model_info *info)
{
    const struct linear *head = weights_head(w);

    info->head_macs = (uint64_t)head->desc.n * head->desc.k;
    info->step_bytes = linear_bytes(head);
    for (size_t i = 0; i < w->hp.n_layer; i++) {
        const struct layer *l = &w->layers[i];
        const struct linear *const all[] = {&l->qkv, &l->o, &l->gate_up, &l->down};
        for (size_t j = 0; j < sizeof(all) / sizeof(all[0]); j++) {
            info->row_macs += (uint64_t)all[j]->desc.n * all[j]->desc.k;
            info->step_bytes += linear_bytes(all[j]);
        }
    }
}

static int load_weights(struct model *m, const struct gguf *g, const struct model_opts *opts,
                        struct error *err)
{
    int r;

    m->kernels = kernels_get(err);
    if (!m->kernels)
        return ST_INVALID;
    r = weights_load(g, opts->precision, opts->plan, &opts->progress, &m->weights, err);
    if (r != ST_OK)
        return r;
    const struct hparams *hp = &m->weights.hp;
    if (tokenizer_n_vocab(m->tokenizer) > hp->n_vocab)
        return error_set(err, ST_FORMAT,
                         "%s: the vocabulary has %u tokens but the embedding only %u rows",
                         opts->path, tokenizer_n_vocab(m->tokenizer), hp->n_vocab);
    m->info = (struct model_info){.name = m->name,
                                  .quality = m->info.quality,
                                  .quality_stale = m->info.quality_stale,
                                  .arch = hp->arch,
                                  .scheme = m->weights.scheme,
                                  .kernels = m->kernels->name,
                                  .precision = opts->precision,
                                  .n_layer = hp->n_layer,
                                  .d_model = hp->d_model,
                                  .d_ff = hp->d_ff,
                                  .n_head = hp->n_head,
                                  .n_kv_head = hp->n_kv,
                                  .head_dim = hp->head_dim,
                                  .n_ctx_train = hp->n_ctx,
                                  .n_vocab = tokenizer_n_vocab(m->tokenizer),
                                  .n_params = m->weights.n_params,
                                  .weight_bytes = m->weights.bytes};
    count_step(&m->weights, &m->info);
    return ST_OK;
}

static int read_quality(struct model *m, const struct gguf *g, const struct model_opts *opts,
                        struct error *err)
{
    char hex[SHA256_HEX];
    int r = record_read(g, &m->quality, err);

    if (r != ST_OK)
        return r == ST_NOTFOUND ? ST_OK : r;
    m->info.quality = &m->quality;
    if (opts->check_quality) {
        record_digest(g, &opts->progress, hex);
        m->info.quality_stale = strcmp(hex, m->quality.digest) != 0;
    }
    return ST_OK;
}

int model_open(const struct model_opts *opts, struct model **ret_model, struct error *err)
{
    struct model *m = calloc(1, sizeof(*m));
    struct gguf *g = NULL;
    struct gguf_opts go = {.vocab_only = opts->vocab_only};
    int r;

    if (!m)
        return error_set(err, ST_NOMEM, "out of memory");
    r = gguf_open(opts->path, &go, &g, err);
    if (r == ST_OK)
        r = tokenizer_open(g, &m->tokenizer, err);
    if (r != ST_OK)
        goto out;
    set_name(m, opts->path);
    m->info.arch = "";
    m->info.scheme = "";
    m->info.kernels = "";
    m->info.n_vocab = tokenizer_n_vocab(m->tokenizer);
    r = list_ends(m) == ST_OK ? ST_OK : error_set(err, ST_NOMEM, "out of memory");
    if (r == ST_OK && !opts->vocab_only)
        r = read_quality(m, g, opts, err);
    if (r == ST_OK && !opts->vocab_only)
        r = load_weights(m, g, opts, err);
out:
    gguf_close(g); /* weights are packed, text is copied: nothing points into the file any more */
    if (r != ST_OK) {
        model_free(m);
        return r;
    }
    *ret_model = m;
    return ST_OK;
}

static int check_plan(const char *path, const struct quant_plan *plan, struct error *err)
{
    struct gguf *g = NULL;
    struct hparams hp;
    int r = gguf_open(path, &(struct gguf_opts){0}, &g, err);

    if (r == ST_OK)
        r = weights_read_shape(g, &hp, err);
    if (r == ST_OK)
        r = weights_check_plan(g, &hp, plan, err);
    gguf_close(g);
    return r;
}

int model_plan_read(const char *path, const char *model, struct quant_plan **ret_plan,
                    struct error *err)
{
    struct quant_plan *plan = NULL;
    int r = quant_plan_read(path, &plan, err);

    if (r == ST_OK)
        r = check_plan(model, plan, err);
    if (r == ST_OK)
        *ret_plan = plan;
    else
        quant_plan_free(plan);
    return r;
}

bool model_plan_is_static(const struct quant_plan *plan)
{
    return quant_plan_is_static(plan);
}

int model_plan_parse(const char *name, const char *text, size_t len, struct quant_plan **ret_plan,
                     struct error *err)
{
    return quant_plan_parse(name, text, len, ret_plan, err);
}

void model_plan_free(struct quant_plan *plan)
{
    quant_plan_free(plan);
}

int model_check_cpu(struct error *err)
{
    return kernels_get(err) ? ST_OK : ST_INVALID;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    weights_done(&m->weights);
    tokenizer_free(m->tokenizer);
    free(m->ends);
    free(m);
}

const struct model_info *model_info(const struct model *m)
{
    return &m->info;
}

int model_tokenize(const struct model *m, const char *text, size_t len, unsigned flags,
                   int32_t **ret_ids, size_t *ret_n, struct error *err)
{
    return tokenizer_encode(m->tokenizer, text, len, flags, ret_ids, ret_n, err);
}

size_t model_max_text_bytes(const struct model *m, size_t n_tokens)
{
    size_t bytes;
    if (__builtin_mul_overflow(tokenizer_longest(m->tokenizer), n_tokens, &bytes))
        return SIZE_MAX;
    return bytes;
}

bool model_is_end(const struct model *m, int32_t id)
{
    return tokenizer_is_end(m->tokenizer, id);
}

int32_t model_bos(const struct model *m)
{
    return tokenizer_bos(m->tokenizer);
}

bool model_add_bos(const struct model *m)
{
    return tokenizer_add_bos(m->tokenizer);
}

int model_token_bytes(const struct model *m, int32_t id, const char **ret_bytes, size_t *ret_len)
{
    return tokenizer_name(m->tokenizer, id, ret_bytes, ret_len);
}

int detok_open(const struct model *m, const char *const *stops, size_t n_stops,
               struct detok **ret_detok)
{
    return detok_new(m->tokenizer, stops, n_stops, ret_detok);
}

int runner_open(const struct model *m, const struct runner_opts *opts, struct runner **ret_runner,
                struct error *err)
{
    return runner_new(&m->weights, m->kernels, opts, ret_runner, err);
}

int sampler_open(const struct model *m, const struct sampler_opts *opts,
                 struct sampler **ret_sampler)
{
    return sampler_new(m->info.n_vocab, m->ends, m->n_ends, opts, ret_sampler);
}
