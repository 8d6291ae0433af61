/* vocab_build.h - vocabulary-only GGUF files put together in memory, key by key, good or broken. */
#ifndef OCTET_TESTS_UNIT_TEXT_VOCAB_BUILD_H
#define OCTET_TESTS_UNIT_TEXT_VOCAB_BUILD_H

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/format/gguf.h"
#include "model/text/tokenizer.h"

enum { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE };

struct vocab_file {
    uint8_t *data;
    size_t n, cap;
    uint64_t n_keys;
};

static inline void put(struct vocab_file *f, const void *bytes, size_t n)
{
    if (f->n + n > f->cap) {
        f->cap = (f->n + n) * 2;
        f->data = realloc(f->data, f->cap);
        assert(f->data);
    }
    memcpy(f->data + f->n, bytes, n);
    f->n += n;
}

static inline void put_u32(struct vocab_file *f, uint32_t value)
{
    put(f, &value, sizeof(value));
}

static inline void put_u64(struct vocab_file *f, uint64_t value)
{
    put(f, &value, sizeof(value));
}

static inline void put_str(struct vocab_file *f, const char *text)
{
    put_u64(f, strlen(text));
    put(f, text, strlen(text));
}

static inline void put_key(struct vocab_file *f, const char *key, enum gguf_value type)
{
    if (f->n == 0) {
        put(f, "GGUF\3\0\0", 8);
        put_u64(f, 0);
        put_u64(f, 0); /* keys: file_open fills it in */
    }
    f->n_keys++;
    put_str(f, key);
    put_u32(f, type);
}

static inline void key_str(struct vocab_file *f, const char *key, const char *value)
{
    put_key(f, key, GGUF_V_STRING);
    put_str(f, value);
}

static inline void key_u32(struct vocab_file *f, const char *key, uint32_t value)
{
    put_key(f, key, GGUF_V_U32);
    put_u32(f, value);
}

static inline void key_bool(struct vocab_file *f, const char *key, bool value)
{
    uint8_t byte = value;

    put_key(f, key, GGUF_V_BOOL);
    put(f, &byte, 1);
}

/* The head of an array; n elements follow by put_str or put_u32. */
static inline void key_array(struct vocab_file *f, const char *key, enum gguf_value elem, size_t n)
{
    put_key(f, key, GGUF_V_ARRAY);
    put_u32(f, elem);
    put_u64(f, n);
}

static inline void put_f32(struct vocab_file *f, float value)
{
    put(f, &value, sizeof(value));
}

/* The file is used up whatever comes of it. */
static inline int file_open(struct vocab_file *f, struct tokenizer **ret_tokenizer,
                            struct error *err)
{
    struct gguf *g = NULL;
    int r;

    memcpy(f->data + 16, &f->n_keys, sizeof(f->n_keys));
    r = gguf_open_memory("test.gguf", f->data, f->n, &(struct gguf_opts){.vocab_only = true}, &g,
                         err);
    if (r == ST_OK)
        r = tokenizer_open(g, ret_tokenizer, err);
    gguf_close(g);
    free(f->data);
    *f = (struct vocab_file){0};
    return r;
}

/* ---- whole vocabularies ---- */

struct token {
    const char *name;
    int kind;
    float score;
};

/* The name of a byte in a byte-level vocabulary, by the rule of GPT-2's encoder.py: printable bytes
 * are themselves, the others are counted from U+0100. */
static inline const char *byte_name(int byte, char ret_name[3])
{
    unsigned c = 0x100;

    for (int i = 0; i <= byte; i++) {
        bool printable = (i >= '!' && i <= '~') || (i >= 0xa1 && i <= 0xac) || i >= 0xae;

        if (i == byte && printable)
            c = (unsigned)byte;
        else if (i < byte && !printable)
            c++;
    }
    if (c < 0x80)
        snprintf(ret_name, 3, "%c", (char)c);
    else
        snprintf(ret_name, 3, "%c%c", (char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f)));
    return ret_name;
}

/* A byte-level vocabulary: ids 0 to 255 are the bytes, then more[]; merges by rank. */
static inline void byte_level(struct vocab_file *f, const char *pre, const struct token *more,
                              size_t n_more, const char *const *merges, size_t n_merges)
{
    char name[3];

    key_str(f, "tokenizer.ggml.model", "gpt2");
    key_str(f, "tokenizer.ggml.pre", pre);
    key_array(f, "tokenizer.ggml.tokens", GGUF_V_STRING, 256 + n_more);
    for (int i = 0; i < 256; i++)
        put_str(f, byte_name(i, name));
    for (size_t i = 0; i < n_more; i++)
        put_str(f, more[i].name);
    key_array(f, "tokenizer.ggml.token_type", GGUF_V_I32, 256 + n_more);
    for (size_t i = 0; i < 256 + n_more; i++)
        put_u32(f, i < 256 ? NORMAL : (uint32_t)more[i - 256].kind);
    key_array(f, "tokenizer.ggml.merges", GGUF_V_STRING, n_merges);
    for (size_t i = 0; i < n_merges; i++)
        put_str(f, merges[i]);
}

/* A SentencePiece vocabulary: <unk>, <s>, </s>, the 256 byte tokens (ids 3 to 258), then more[]. */
#define FIRST_PIECE 259
static inline void pieces(struct vocab_file *f, const struct token *more, size_t n_more)
{
    static const char *const heads[] = {"<unk>", "<s>", "</s>"};
    char name[8];

    key_str(f, "tokenizer.ggml.model", "llama");
    key_array(f, "tokenizer.ggml.tokens", GGUF_V_STRING, FIRST_PIECE + n_more);
    for (size_t i = 0; i < FIRST_PIECE + n_more; i++) {
        snprintf(name, sizeof(name), "<0x%02X>", (unsigned)(i - 3) & 0xff);
        put_str(f, i < 3 ? heads[i] : i < FIRST_PIECE ? name : more[i - FIRST_PIECE].name);
    }
    key_array(f, "tokenizer.ggml.token_type", GGUF_V_I32, FIRST_PIECE + n_more);
    for (size_t i = 0; i < FIRST_PIECE + n_more; i++)
        put_u32(f, i == 0            ? UNKNOWN
                   : i < 3           ? CONTROL
                   : i < FIRST_PIECE ? BYTE
                                     : (uint32_t)more[i - FIRST_PIECE].kind);
    key_array(f, "tokenizer.ggml.scores", GGUF_V_F32, FIRST_PIECE + n_more);
    for (size_t i = 0; i < FIRST_PIECE + n_more; i++)
        put_f32(f, i < FIRST_PIECE ? 0 : more[i - FIRST_PIECE].score);
}

#endif
