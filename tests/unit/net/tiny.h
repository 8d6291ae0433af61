/* tiny.h - networks of chosen sizes with weights of noise, for tests that run one in process. */
#ifndef OCTET_TESTS_UNIT_NET_TINY_H
#define OCTET_TESTS_UNIT_NET_TINY_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/format/gguf_write.h"
#include "model/net/runner.h"
#include "unit/suite.h"

enum { VOCAB = 70 };

struct tiny {
    uint32_t d, ff, heads, kv, head, layers, ctx;
    bool bias; /* of q, k and v: then it is a qwen2, else a llama */
    enum model_precision precision;
};

static const struct tiny tiny_small = {
    .d = 64, .ff = 96, .heads = 4, .kv = 2, .head = 16, .layers = 2, .ctx = 256};

static inline float tiny_noise(void)
{
    static uint32_t x = 2463534242u;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return (float)(int32_t)x * 0x1p-31f;
}

struct tiny_shape {
    char name[64];
    uint64_t dims[2];
    uint32_t n_dims;
};

enum { TINY_PER_LAYER = 12, TINY_LAYERS = 2, TINY_TENSORS = 2 + TINY_LAYERS * TINY_PER_LAYER };

static inline size_t tiny_list(const struct tiny *t, struct tiny_shape *to)
{
    const uint64_t d = t->d, q = t->heads * t->head, kv = t->kv * t->head;
    const struct {
        const char *name;
        uint64_t k, n;
        bool bias;
    } layer[TINY_PER_LAYER] = {
        {"attn_norm.weight", d, 0, false},  {"attn_q.weight", d, q, false},
        {"attn_k.weight", d, kv, false},    {"attn_v.weight", d, kv, false},
        {"attn_q.bias", q, 0, true},        {"attn_k.bias", kv, 0, true},
        {"attn_v.bias", kv, 0, true},       {"attn_output.weight", q, d, false},
        {"ffn_norm.weight", d, 0, false},   {"ffn_gate.weight", d, t->ff, false},
        {"ffn_up.weight", d, t->ff, false}, {"ffn_down.weight", t->ff, d, false}};
    size_t n = 0;

    to[n++] = (struct tiny_shape){"token_embd.weight", {d, VOCAB}, 2};
    to[n++] = (struct tiny_shape){"output_norm.weight", {d, 0}, 1};
    for (uint32_t l = 0; l < t->layers; l++)
        for (size_t i = 0; i < TINY_PER_LAYER; i++) {
            if (layer[i].bias && !t->bias)
                continue;
            to[n] = (struct tiny_shape){"", {layer[i].k, layer[i].n}, layer[i].n ? 2 : 1};
            snprintf(to[n++].name, sizeof(to[0].name), "blk.%u.%s", l, layer[i].name);
        }
    return n;
}

static inline void tiny_key(struct gguf_writer *w, const struct tiny *t, const char *name,
                            uint32_t value)
{
    char key[64];

    snprintf(key, sizeof(key), "%s.%s", t->bias ? "qwen2" : "llama", name);
    gguf_write_u32(w, key, value);
}

static inline void tiny_write(const struct tiny *t, const char *path)
{
    struct gguf_writer *w;
    struct tiny_shape s[TINY_TENSORS];
    size_t n = tiny_list(t, s);

    ck_assert_uint_le(t->layers, TINY_LAYERS);
    ck_assert_int_eq(gguf_write_open(path, &w, NULL), ST_OK);
    gguf_write_str(w, "general.architecture", t->bias ? "qwen2" : "llama", 5);
    tiny_key(w, t, "block_count", t->layers);
    tiny_key(w, t, "embedding_length", t->d);
    tiny_key(w, t, "feed_forward_length", t->ff);
    tiny_key(w, t, "attention.head_count", t->heads);
    tiny_key(w, t, "attention.head_count_kv", t->kv);
    tiny_key(w, t, "attention.key_length", t->head);
    tiny_key(w, t, "attention.value_length", t->head);
    tiny_key(w, t, "context_length", t->ctx);
    gguf_write_f32(w,
                   t->bias ? "qwen2.attention.layer_norm_rms_epsilon"
                           : "llama.attention.layer_norm_rms_epsilon",
                   1e-5f);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(gguf_write_tensor(w, s[i].name, GGUF_F32, s[i].dims, s[i].n_dims), ST_OK);
    for (size_t i = 0; i < n; i++) {
        size_t elems = (size_t)(s[i].dims[0] * (s[i].n_dims == 2 ? s[i].dims[1] : 1));
        float *x = malloc(elems * sizeof(*x)), mean = strstr(s[i].name, "norm") ? 1.0f : 0.0f;
        for (size_t e = 0; e < elems; e++)
            x[e] = mean + 0.3f * tiny_noise();
        ck_assert_int_eq(gguf_write_data(w, x, elems * sizeof(*x), NULL), ST_OK);
        free(x);
    }
    ck_assert_int_eq(gguf_write_commit(w, NULL), ST_OK);
}

/* Its weights, to be given back with weights_done(). */
static inline void tiny_load(const struct tiny *t, struct weights *w)
{
    const struct model_progress quiet = {0};
    struct error err = {""};
    struct gguf *g;
    char path[64];

    snprintf(path, sizeof(path), "/tmp/octet_tiny_%d.gguf", (int)getpid());
    tiny_write(t, path);
    ck_assert_int_eq(gguf_open(path, &(struct gguf_opts){0}, &g, &err), ST_OK);
    ck_assert_msg(weights_load(g, t->precision, NULL, &quiet, w, &err) == ST_OK, "%s", err.text);
    gguf_close(g);
    unlink(path);
}

#endif
