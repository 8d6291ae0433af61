/* gguf_priv.h - what the gguf*.c files share; nobody else includes it.
 *
 * Owner:   as in gguf.h.
 * Memory:  names and values lead into the file's bytes; gguf_close frees the arrays, and those of a
 *          half-built struct gguf too.
 * Errors:  ST_OK or a negative enum status with one sentence in err.
 * Threads: one opens; after that nothing changes. */
#ifndef OCTET_MODEL_FORMAT_GGUF_PRIV_H
#define OCTET_MODEL_FORMAT_GGUF_PRIV_H

#include "model/format/checked.h"
#include "model/format/gguf.h"
#include "model/format/map.h"

#define GGUF_DEFAULT_ALIGNMENT 32u
#define GGUF_ALIGNMENT_KEY "general.alignment"

/* Both keys and tensors begin with their name, so one index serves both: pointers to names in
 * bytewise order. */
struct gguf_index {
    const struct gguf_str **names;
    size_t n;
};

struct gguf_kv {
    struct gguf_str name;
    enum gguf_value type;
    enum gguf_value elem;  /* of an array */
    uint64_t n;            /* elements: 1 unless an array */
    const uint8_t *value;  /* first element; of a string: its bytes */
    size_t str_len;        /* of a string */
    struct gguf_str *strs; /* of an array of strings: n of them */
    const uint8_t *entry;  /* key and value as they stand in the file … */
    size_t entry_bytes;    /* … to be copied byte for byte */
};

struct gguf {
    char *path;
    const uint8_t *bytes;
    size_t n_bytes;         /* of the file, or of a directory's weights */
    struct map map;         /* of a file that gguf_open mapped */
    struct hf_parts *parts; /* of a directory: what keys and tensors lead into instead */
    bool vocab_only;
    uint32_t alignment;
    struct gguf_kv *keys;
    size_t n_keys;
    struct gguf_index key_index;
    struct gguf_tensor *tensors;
    size_t n_tensors;
    struct gguf_index tensor_index;
};

/* Read n keys, or n tensor descriptions and check where their data lie. c moves on. */
int gguf_read_keys(struct gguf *g, struct cursor *c, uint64_t n, struct error *err);
int gguf_read_tensors(struct gguf *g, struct cursor *c, uint64_t n, struct error *err);

/* The name of item i ("key", "tensor") at the cursor. */
int gguf_read_name(const struct gguf *g, struct cursor *c, const char *what, uint64_t i,
                   struct gguf_str *ret_name, struct error *err);
/* Index n items of stride bytes, each beginning with its name; refuses two of one name. */
int gguf_index_make(const struct gguf *g, const char *what, const void *items, size_t n,
                    size_t stride, struct gguf_index *ret_index, struct error *err);
const void *gguf_index_find(const struct gguf_index *index, const char *name);

#endif
