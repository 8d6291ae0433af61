/* gguf.h - a GGUF file (version 2 or 3, little-endian) as checked, read-only facts.
 *
 * Owner:   immutable after gguf_open; any thread may read.
 * Memory:  the file is mapped read-only; strings and tensor data point into the map and live until
 *          gguf_close.
 * Errors:  gguf_open holds every count, offset and size against the file, once: ST_IO, ST_FORMAT
 *          or ST_UNSUPPORTED with one sentence naming the file and the place.
 * Cost:    opening takes O(n log n) time and O(file) memory.
 * Not here: what the keys mean (model/), how blocks are laid out (dequant.h). */
#ifndef OCTET_MODEL_FORMAT_GGUF_H
#define OCTET_MODEL_FORMAT_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/status.h"

/* Tensor types by GGUF's own numbers (ggml's gguf specification). */
enum gguf_type {
    GGUF_F32 = 0,
    GGUF_F16 = 1,
    GGUF_Q4_0 = 2,
    GGUF_Q4_1 = 3,
    GGUF_Q5_0 = 6,
    GGUF_Q5_1 = 7,
    GGUF_Q8_0 = 8,
    GGUF_Q4_K = 12,
    GGUF_Q5_K = 13,
    GGUF_Q6_K = 14,
    GGUF_I8 = 24,
    GGUF_BF16 = 30,
};

/* Metadata value types by GGUF's own numbers. */
enum gguf_value {
    GGUF_V_U8,
    GGUF_V_I8,
    GGUF_V_U16,
    GGUF_V_I16,
    GGUF_V_U32,
    GGUF_V_I32,
    GGUF_V_F32,
    GGUF_V_BOOL,
    GGUF_V_STRING,
    GGUF_V_ARRAY,
    GGUF_V_U64,
    GGUF_V_I64,
    GGUF_V_F64
};

struct gguf_str {
    const char *data; /* not NUL-terminated */
    size_t len;
};

/* A string of the file for a message: what is not printable ASCII becomes '?', what is too long
 * ends in "...". */
struct gguf_shown {
    char text[80];
};
struct gguf_shown gguf_show(struct gguf_str str);

/* The largest general.alignment that is read. */
#define GGUF_MAX_ALIGNMENT 1048576u

struct gguf_tensor {
    struct gguf_str name;
    uint32_t type; /* enum gguf_type, or a number that is not built (only with vocab_only) */
    uint32_t n_dims;
    uint64_t dims[4]; /* dims[0] is contiguous (K of a weight matrix), unused ones are 1 */
    uint64_t n_elems;
    uint64_t n_bytes; /* 0: the type is not built (only with vocab_only) */
    const void *data; /* inside the map, aligned for bytes only; NULL with vocab_only */
};

struct gguf;
struct gguf_kv;

struct gguf_opts {
    bool vocab_only; /* check metadata only; tensor types may be unknown and data may be missing */
};

/* opts may be NULL. A file that another process shortens while it is mapped ends this one by
 * SIGBUS, as with any map. */
int gguf_open(const char *path, const struct gguf_opts *opts, struct gguf **ret_gguf,
              struct error *err);
/* The same over bytes the caller keeps alive (tests, fuzzing); name is for messages. */
int gguf_open_memory(const char *name, const void *data, size_t len, const struct gguf_opts *opts,
                     struct gguf **ret_gguf, struct error *err);
void gguf_close(struct gguf *gguf);

const char *gguf_path(const struct gguf *gguf);
uint64_t gguf_file_bytes(const struct gguf *gguf);
uint32_t gguf_alignment(const struct gguf *gguf);

/* The tensor's data is not read again soon: a mapped file's pages of it may leave memory. */
void gguf_release(const struct gguf *gguf, const struct gguf_tensor *t);

size_t gguf_n_tensors(const struct gguf *gguf);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *gguf, size_t i);
/* NULL: not there. */
const struct gguf_tensor *gguf_find(const struct gguf *gguf, const char *name);

size_t gguf_n_keys(const struct gguf *gguf);
const struct gguf_kv *gguf_kv_at(const struct gguf *gguf, size_t i);
const struct gguf_kv *gguf_key(const struct gguf *gguf, const char *key); /* NULL: not there */
struct gguf_str gguf_kv_name(const struct gguf_kv *kv);
enum gguf_value gguf_kv_type(const struct gguf_kv *kv);
const char *gguf_value_name(enum gguf_value type); /* "u32", "string", …; NULL if unknown */

/* Typed getters. Integers of any width convert if the value fits, f32 and f64 if finite in what is
 * asked for; else ST_FORMAT. Absent: ST_NOTFOUND. ret changes only on ST_OK; err names file and key. */
int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *ret, struct error *err);
int gguf_get_u64(const struct gguf *g, const char *key, uint64_t *ret, struct error *err);
int gguf_get_i64(const struct gguf *g, const char *key, int64_t *ret, struct error *err);
int gguf_get_f32(const struct gguf *g, const char *key, float *ret, struct error *err);
int gguf_get_f64(const struct gguf *g, const char *key, double *ret, struct error *err);
int gguf_get_bool(const struct gguf *g, const char *key, bool *ret, struct error *err);
int gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *ret, struct error *err);

/* Arrays. gguf_get_array takes any element type; the three below it refuse a wrong one with a
 * sentence. An empty array has n = 0 and whatever element type the file says. */
struct gguf_array {
    enum gguf_value elem;
    uint64_t n;
    const void *data;            /* numbers: packed little-endian, unaligned */
    const struct gguf_str *strs; /* strings: n of them, indexed at open; else NULL */
};
int gguf_get_array(const struct gguf *g, const char *key, struct gguf_array *ret,
                   struct error *err);
int gguf_get_ints(const struct gguf *g, const char *key, struct gguf_array *ret, struct error *err);
int gguf_get_floats(const struct gguf *g, const char *key, struct gguf_array *ret,
                    struct error *err);
int gguf_get_strs(const struct gguf *g, const char *key, struct gguf_array *ret, struct error *err);
/* Element i < n of an array whose elements are integers of any width (beyond int32: the nearest
 * int32), or f32 or f64. */
int32_t gguf_array_i32(const struct gguf_array *a, uint64_t i);
float gguf_array_f32(const struct gguf_array *a, uint64_t i);

/* Bytes of n elements of a type; 0 if the type is not built, its block does not divide n, or the
 * bytes do not fit. */
uint64_t gguf_type_bytes(uint32_t type, uint64_t n);
uint32_t gguf_type_block(uint32_t type); /* elements a block; 0: not built */
/* "Q8_0", …, also of types that are not built; NULL if unknown. */
const char *gguf_type_name(uint32_t type);

#endif
