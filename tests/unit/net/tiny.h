/* tiny.h - a llama of two layers with weights of noise, for tests that run the network in process.
 */
#ifndef OCTET_TESTS_UNIT_NET_TINY_H
#define OCTET_TESTS_UNIT_NET_TINY_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "model/format/gguf_write.h"
#include "model/net/runner.h"
#include "unit/suite.h"

enum { D = 64, FF = 96, HEADS = 4, KV = 2, HEAD = 16, LAYERS = 2, VOCAB = 70 };

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

static inline size_t tiny_list(struct tiny_shape *t)
{
    static const struct {
        const char *name;
        uint64_t k, n;
    } layer[] = {{"attn_norm", D, 0},
                 {"attn_q", D, HEADS * HEAD},
                 {"attn_k", D, KV * HEAD},
                 {"attn_v", D, KV * HEAD},
                 {"attn_output", HEADS * HEAD, D},
                 {"ffn_norm", D, 0},
                 {"ffn_gate", D, FF},
                 {"ffn_up", D, FF},
                 {"ffn_down", FF, D}};
    size_t n = 0;

    t[n++] = (struct tiny_shape){"token_embd.weight", {D, VOCAB}, 2};
    t[n++] = (struct tiny_shape){"output_norm.weight", {D, 0}, 1};
    for (int l = 0; l < LAYERS; l++)
        for (size_t i = 0; i < sizeof(layer) / sizeof(layer[0]); i++) {
            t[n] = (struct tiny_shape){"", {layer[i].k, layer[i].n}, layer[i].n ? 2 : 1};
            snprintf(t[n++].name, sizeof(t[0].name), "blk.%d.%s.weight", l, layer[i].name);
        }
    return n;
}

static inline void tiny_write(const char *path)
{
    struct gguf_writer *w;
    struct tiny_shape t[2 + LAYERS * 9];
    size_t n = tiny_list(t);

    ck_assert_int_eq(gguf_write_open(path, &w, NULL), ST_OK);
    gguf_write_str(w, "general.architecture", "llama", 5);
    gguf_write_u32(w, "llama.block_count", LAYERS);
    gguf_write_u32(w, "llama.embedding_length", D);
    gguf_write_u32(w, "llama.feed_forward_length", FF);
    gguf_write_u32(w, "llama.attention.head_count", HEADS);
    gguf_write_u32(w, "llama.attention.head_count_kv", KV);
    gguf_write_u32(w, "llama.context_length", 256);
    gguf_write_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(gguf_write_tensor(w, t[i].name, GGUF_F32, t[i].dims, t[i].n_dims), ST_OK);
    for (size_t i = 0; i < n; i++) {
        size_t elems = (size_t)(t[i].dims[0] * (t[i].n_dims == 2 ? t[i].dims[1] : 1));
        float *x = malloc(elems * sizeof(*x));
        for (size_t e = 0; e < elems; e++)
            x[e] = t[i].n_dims == 1 ? 1.0f + 0.3f * tiny_noise() : 0.3f * tiny_noise();
        ck_assert_int_eq(gguf_write_data(w, x, elems * sizeof(*x), NULL), ST_OK);
        free(x);
    }
    ck_assert_int_eq(gguf_write_commit(w, NULL), ST_OK);
}

/* Its weights, to be given back with weights_done(). */
static inline void tiny_load(struct weights *w)
{
    const struct model_progress quiet = {0};
    struct error err = {""};
    struct gguf *g;
    char path[64];

    snprintf(path, sizeof(path), "/tmp/octet_tiny_%d.gguf", (int)getpid());
    tiny_write(path);
    ck_assert_int_eq(gguf_open(path, &(struct gguf_opts){0}, &g, &err), ST_OK);
    ck_assert_msg(weights_load(g, MODEL_INT8, &quiet, w, &err) == ST_OK, "%s", err.text);
    gguf_close(g);
    unlink(path);
}

#endif
