/* gguf_build.h - GGUF files put together byte by byte, good or broken, independent of the writer.
 */
#ifndef OCTET_TESTS_UNIT_FORMAT_GGUF_BUILD_H
#define OCTET_TESTS_UNIT_FORMAT_GGUF_BUILD_H

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "model/format/gguf.h"

struct build {
    uint8_t data[16384];
    size_t n;
};

static inline void build_bytes(struct build *b, const void *bytes, size_t n)
{
    assert(n <= sizeof(b->data) - b->n);
    memcpy(b->data + b->n, bytes, n);
    b->n += n;
}

static inline void build_u8(struct build *b, uint8_t value)
{
    build_bytes(b, &value, sizeof(value));
}

static inline void build_u32(struct build *b, uint32_t value)
{
    build_bytes(b, &value, sizeof(value));
}

static inline void build_u64(struct build *b, uint64_t value)
{
    build_bytes(b, &value, sizeof(value));
}

static inline void build_str(struct build *b, const char *text)
{
    build_u64(b, strlen(text));
    build_bytes(b, text, strlen(text));
}

static inline void build_head(struct build *b, uint32_t version, uint64_t n_tensors,
                              uint64_t n_keys)
{
    b->n = 0;
    build_bytes(b, "GGUF", 4);
    build_u32(b, version);
    build_u64(b, n_tensors);
    build_u64(b, n_keys);
}

static inline void build_key(struct build *b, const char *key, enum gguf_value type)
{
    build_str(b, key);
    build_u32(b, type);
}

static inline void build_key_u32(struct build *b, const char *key, uint32_t value)
{
    build_key(b, key, GGUF_V_U32);
    build_u32(b, value);
}

static inline void build_array(struct build *b, const char *key, enum gguf_value elem, uint64_t n)
{
    build_key(b, key, GGUF_V_ARRAY);
    build_u32(b, elem);
    build_u64(b, n);
}

static inline void build_tensor(struct build *b, const char *name, uint32_t type, uint64_t dim0,
                                uint64_t dim1, uint64_t offset)
{
    build_str(b, name);
    build_u32(b, 2);
    build_u64(b, dim0);
    build_u64(b, dim1);
    build_u32(b, type);
    build_u64(b, offset);
}

/* Zeros up to the next multiple of alignment, then n bytes counting up. */
static inline void build_data(struct build *b, size_t alignment, size_t n)
{
    while (b->n % alignment)
        build_u8(b, 0);
    for (size_t i = 0; i < n; i++)
        build_u8(b, (uint8_t)i);
}

/* A small file with something of everything: keys of each kind, two tensors. */
static inline void build_sample(struct build *b)
{
    build_head(b, 3, 2, 6);
    build_key(b, "general.architecture", GGUF_V_STRING);
    build_str(b, "llama");
    build_key_u32(b, "llama.block_count", 2);
    build_key(b, "flag", GGUF_V_BOOL);
    build_u8(b, 1);
    build_array(b, "tokens", GGUF_V_STRING, 3);
    build_str(b, "a");
    build_str(b, "");
    build_str(b, "bcd");
    build_array(b, "types", GGUF_V_I32, 2);
    build_u32(b, 1);
    build_u32(b, 0xffffffff);
    build_array(b, "flags", GGUF_V_BOOL, 1);
    build_u8(b, 0);
    build_tensor(b, "one", GGUF_F32, 3, 2, 0);
    build_tensor(b, "two", GGUF_Q8_0, 32, 1, 32);
    build_data(b, 32, 32 + 34);
}

#endif
