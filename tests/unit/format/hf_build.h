/* hf_build.h - a small Hugging Face directory under /tmp, put together byte by byte. */
#ifndef OCTET_TESTS_UNIT_FORMAT_HF_BUILD_H
#define OCTET_TESTS_UNIT_FORMAT_HF_BUILD_H

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/format/gguf.h"
#include "unit/suite.h"

/* One layer, 2 heads of 4 over 1 key/value head, a vocabulary of 7. */
static const char hf_config[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":8,\"intermediate_size\":4,"
    "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"num_key_value_heads\":1,"
    "\"max_position_embeddings\":64,\"rms_norm_eps\":1e-05,\"rope_theta\":20000,\"vocab_size\":7,"
    "\"tie_word_embeddings\":true,\"hidden_act\":\"silu\",\"rope_scaling\":null,"
    "\"bos_token_id\":5,\"eos_token_id\":4}";

static const char hf_tokenizer[] =
    "{\"added_tokens\":[{\"id\":4,\"content\":\"<e>\",\"special\":true},"
    "{\"id\":5,\"content\":\"<tool>\",\"special\":false}],\"normalizer\":null,"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"
    "\"post_processor\":null,\"model\":{\"type\":\"BPE\",\"ignore_merges\":false,"
    "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"abb\":3},\"merges\":[\"a b\",[\"ab\",\"b\"]]}}";

struct hf_tensor {
    const char *name, *dtype;
    unsigned rows, columns; /* columns 0: a vector */
};

#define HF_LAYER "model.layers.0."
static const struct hf_tensor hf_tensors[] = {
    {"model.embed_tokens.weight", "F32", 7, 8},
    {"model.norm.weight", "F32", 8, 0},
    {HF_LAYER "input_layernorm.weight", "F32", 8, 0},
    {HF_LAYER "self_attn.q_proj.weight", "F32", 8, 8},
    {HF_LAYER "self_attn.k_proj.weight", "F32", 4, 8},
    {HF_LAYER "self_attn.v_proj.weight", "F32", 4, 8},
    {HF_LAYER "self_attn.o_proj.weight", "F32", 8, 8},
    {HF_LAYER "post_attention_layernorm.weight", "F32", 8, 0},
    {HF_LAYER "mlp.gate_proj.weight", "F32", 4, 8},
    {HF_LAYER "mlp.up_proj.weight", "F32", 4, 8},
    {HF_LAYER "mlp.down_proj.weight", "F32", 8, 4},
};
enum { HF_TENSORS = sizeof(hf_tensors) / sizeof(*hf_tensors) };

static char hf_path[64];

static inline void hf_write(const char *name, const void *data, size_t n)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", hf_path, name);
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, n, f), n);
    fclose(f);
}

static inline void hf_text(const char *name, const char *text)
{
    hf_write(name, text, strlen(text));
}

/* The text with `from` in it changed to `to`, as the file. */
static inline void hf_change(const char *name, const char *text, const char *from, const char *to)
{
    char changed[4096];
    const char *at = strstr(text, from);

    ck_assert_msg(at != NULL, "no %s in %s", from, name);
    snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    hf_text(name, changed);
}

/* Values: row + column / 16 as f32; as many bytes of no meaning in other types. */
static inline void hf_weights(const char *name, const struct hf_tensor *list, size_t n)
{
    static char header[8192];
    static uint8_t bytes[16384];
    size_t at = (size_t)snprintf(header, sizeof(header), "{"), end = 0;

    for (size_t i = 0; i < n; i++) {
        const struct hf_tensor *t = &list[i];
        size_t columns = t->columns ? t->columns : 1, start = end;
        size_t each = !strcmp(t->dtype, "F32") ? 4 : !strcmp(t->dtype, "I8") ? 1 : 2;
        char shape[32];

        for (size_t e = 0; e < t->rows * columns; e++) {
            float value = (float)(e / columns) + (float)(e % columns) / 16;

            memcpy(bytes + end, &value, each);
            end += each;
        }
        snprintf(shape, sizeof(shape), t->columns ? "%u,%u" : "%u", t->rows, t->columns);
        at += (size_t)snprintf(
            header + at, sizeof(header) - at,
            "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}", i ? "," : "",
            t->name, t->dtype, shape, start, end);
    }
    at += (size_t)snprintf(header + at, sizeof(header) - at, "}");
    static uint8_t file[8 + sizeof(header) + sizeof(bytes)];
    uint64_t len = at;
    memcpy(file, &len, 8);
    memcpy(file + 8, header, at);
    memcpy(file + 8 + at, bytes, end);
    hf_write(name, file, 8 + at + end);
}

/* A sound directory at hf_path. */
static inline void hf_make(void)
{
    snprintf(hf_path, sizeof(hf_path), "/tmp/octet-hf-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(hf_path));
    hf_text("config.json", hf_config);
    hf_text("tokenizer.json", hf_tokenizer);
    hf_weights("model.safetensors", hf_tensors, HF_TENSORS);
}

static inline void hf_forget(const char *name)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", hf_path, name);
    unlink(path);
}

static inline uint64_t hf_bytes(const char *name)
{
    char path[512];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s", hf_path, name);
    ck_assert_int_eq(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

static inline void hf_remove(void)
{
    DIR *dir = opendir(hf_path);

    for (struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.')
            hf_forget(e->d_name);
    closedir(dir);
    ck_assert_int_eq(rmdir(hf_path), 0);
}

#endif
