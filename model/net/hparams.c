#include "model/net/hparams.h"

#include <stdio.h>
#include <string.h>

#include "config/limits.h"
#include "model/kernels/kernels.h"

struct reader {
    const struct gguf *g;
    const char *arch;
    struct error *err;
    int r;
};

static const char *key_of(const struct reader *rd, const char *name, char *buf, size_t len)
{
    snprintf(buf, len, "%s.%s", rd->arch, name);
    return buf;
}

/* required: 0 as `fallback` means the key must be there. */
static uint32_t read_u32(struct reader *rd, const char *name, uint32_t fallback, uint32_t max)
{
    char key[64];
    uint32_t v = fallback;

    if (rd->r != ST_OK)
        return 0;
    int r = gguf_get_u32(rd->g, key_of(rd, name, key, sizeof(key)), &v, rd->err);
    if (r == ST_NOTFOUND && fallback)
        r = ST_OK;
    else if (r == ST_NOTFOUND)
        r = error_set(rd->err, ST_FORMAT, "%s: the key %s is missing", gguf_path(rd->g), key);
    if (r == ST_OK && (v == 0 || v > max))
        r = error_set(rd->err, ST_FORMAT, "%s: %s is %u, it must be 1 .. %u", gguf_path(rd->g), key,
                      v, max);
    rd->r = r;
    return v;
}

static float read_f32(struct reader *rd, const char *name, float fallback)
{
    char key[64];
    float v = fallback;

    if (rd->r != ST_OK)
        return v;
    int r = gguf_get_f32(rd->g, key_of(rd, name, key, sizeof(key)), &v, rd->err);
    if (r == ST_NOTFOUND && fallback > 0)
        r = ST_OK;
    else if (r == ST_NOTFOUND)
        r = error_set(rd->err, ST_FORMAT, "%s: the key %s is missing", gguf_path(rd->g), key);
    if (r == ST_OK && !(v > 0.0f && v < 1e30f))
        r = error_set(rd->err, ST_FORMAT, "%s: %s is %g, it must be a positive number",
                      gguf_path(rd->g), key, (double)v);
    rd->r = r;
    return v;
}

static int read_arch(const struct gguf *g, struct hparams *hp, struct error *err)
{
    struct gguf_str s;
    int r = gguf_get_str(g, "general.architecture", &s, err);

    if (r == ST_NOTFOUND)
        return error_set(err, ST_FORMAT, "%s: the key general.architecture is missing",
                         gguf_path(g));
    if (r != ST_OK)
        return r;
    if (s.len < sizeof(hp->arch)) {
        memcpy(hp->arch, s.data, s.len);
        hp->arch[s.len] = '\0';
        if (strcmp(hp->arch, "llama") == 0 || strcmp(hp->arch, "qwen2") == 0)
            return ST_OK;
    }
    return error_set(err, ST_UNSUPPORTED,
                     "%s: architecture \"%s\" is not built; llama and qwen2 are", gguf_path(g),
                     gguf_show(s).text);
}

static void read_rope(struct reader *rd, struct hparams *hp)
{
    char key[64];
    struct gguf_str type = {"none", 4};

    hp->rope_base = read_f32(rd, "rope.freq_base", 10000.0f);
    hp->rope_scale = 1.0f;
    hp->rope_halves = strcmp(hp->arch, "qwen2") == 0;
    if (rd->r != ST_OK)
        return;
    int r = gguf_get_str(rd->g, key_of(rd, "rope.scaling.type", key, sizeof(key)), &type, rd->err);
    if (r != ST_OK && r != ST_NOTFOUND) {
        rd->r = r;
        return;
    }
    bool linear = type.len == 6 && memcmp(type.data, "linear", 6) == 0;
    bool none = type.len == 4 && memcmp(type.data, "none", 4) == 0;
    if (!linear && !none) {
        rd->r =
            error_set(rd->err, ST_UNSUPPORTED, "%s: %s \"%s\" is not built; none and linear are",
                      gguf_path(rd->g), key, gguf_show(type).text);
        return;
    }
    if (linear) {
        hp->rope_scale = read_f32(rd, "rope.scaling.factor", 1.0f);
    } else if (gguf_key(rd->g, key_of(rd, "rope.scale_linear", key, sizeof(key)))) {
        hp->rope_scale = read_f32(rd, "rope.scale_linear", 1.0f); /* the name old files use */
    }
}

static int check_shape(const struct gguf *g, const struct hparams *hp, struct error *err)
{
    if (hp->n_head % hp->n_kv)
        return error_set(err, ST_FORMAT, "%s: %u query heads do not divide into %u key/value heads",
                         gguf_path(g), hp->n_head, hp->n_kv);
    if (hp->head_dim > HEAD_MAX || hp->head_dim % 2)
        return error_set(err, ST_UNSUPPORTED, "%s: heads of %u; even sizes up to %u are built",
                         gguf_path(g), hp->head_dim, HEAD_MAX);
    if (hp->n_rot > hp->head_dim || hp->n_rot % 2)
        return error_set(err, ST_FORMAT,
                         "%s: %s.rope.dimension_count is %u, it must be even and at most %u",
                         gguf_path(g), hp->arch, hp->n_rot, hp->head_dim);
    if ((uint64_t)hp->n_head * hp->head_dim > LIMIT_WIDTH)
        return error_set(err, ST_FORMAT, "%s: %u heads of %u are wider than %u", gguf_path(g),
                         hp->n_head, hp->head_dim, LIMIT_WIDTH);
    return ST_OK;
}

int hparams_read(const struct gguf *g, struct hparams *ret_hp, struct error *err)
{
    struct hparams hp = {0};
    char key[64];
    int r = read_arch(g, &hp, err);
    if (r != ST_OK)
        return r;

    struct reader rd = {g, hp.arch, err, ST_OK};
    hp.n_layer = read_u32(&rd, "block_count", 0, LIMIT_LAYERS);
    hp.d_model = read_u32(&rd, "embedding_length", 0, LIMIT_WIDTH);
    hp.d_ff = read_u32(&rd, "feed_forward_length", 0, LIMIT_WIDTH);
    hp.n_head = read_u32(&rd, "attention.head_count", 0, 65536);
    hp.n_kv = read_u32(&rd, "attention.head_count_kv", hp.n_head, 65536);
    hp.n_ctx = read_u32(&rd, "context_length", 0, LIMIT_CONTEXT);
    hp.eps = read_f32(&rd, "attention.layer_norm_rms_epsilon", 0.0f);
    if (rd.r != ST_OK)
        return rd.r;
    bool given = gguf_key(g, key_of(&rd, "attention.key_length", key, sizeof(key))) != NULL;
    if (!given && hp.d_model % hp.n_head)
        return error_set(err, ST_FORMAT, "%s: width %u does not divide into %u heads", gguf_path(g),
                         hp.d_model, hp.n_head);
    hp.head_dim = read_u32(&rd, "attention.key_length",
                           hp.d_model / hp.n_head ? hp.d_model / hp.n_head : 1, LIMIT_WIDTH);
    uint32_t v_dim = read_u32(&rd, "attention.value_length", hp.head_dim, LIMIT_WIDTH);
    hp.n_rot = read_u32(&rd, "rope.dimension_count", hp.head_dim, LIMIT_WIDTH);
    read_rope(&rd, &hp);
    if (rd.r != ST_OK)
        return rd.r;
    if (v_dim != hp.head_dim)
        return error_set(err, ST_UNSUPPORTED, "%s: values of %u beside keys of %u are not built",
                         gguf_path(g), v_dim, hp.head_dim);
    uint32_t experts = 0;
    if (gguf_get_u32(g, key_of(&rd, "expert_count", key, sizeof(key)), &experts, NULL) == ST_OK &&
        experts)
        return error_set(err, ST_UNSUPPORTED, "%s: mixture of experts (%s) is not built",
                         gguf_path(g), key);
    r = check_shape(g, &hp, err);
    if (r == ST_OK)
        *ret_hp = hp;
    return r;
}

uint32_t hparams_head_block(const struct hparams *hp)
{
    uint32_t b = 64;
    while (hp->head_dim % b)
        b /= 2;
    return b;
}
