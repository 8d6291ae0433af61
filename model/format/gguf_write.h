/* gguf_write.h - write a GGUF v3 file: keys first, then tensors in the order they were declared.
 *
 * Owner:   one thread.
 * Memory:  keys and declarations are kept in memory, tensor data stream through to the file.
 * Errors:  ST_NOMEM, or ST_IO with a sentence that names the file and why (a full disk, say); after
 *          an error only gguf_write_abort may follow.
 * Atomic:  bytes go to a temporary file in the same folder, which gguf_write_commit syncs and
 *          renames. Until then the old file is untouched; gguf_write_abort leaves nothing behind,
 *          and a crash no half file under the final name. */
#ifndef OCTET_MODEL_FORMAT_GGUF_WRITE_H
#define OCTET_MODEL_FORMAT_GGUF_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/status.h"
#include "model/format/gguf.h"

struct gguf_writer;

/* Makes the temporary file, so a folder that is missing or may not be written is found at once. A
 * file that is there lends its permissions. */
int gguf_write_open(const char *path, struct gguf_writer **ret_writer, struct error *err);

/* Keys alone, for a file that stays in memory; ends with gguf_write_commit_keys or
 * gguf_write_abort. */
int gguf_write_open_keys(struct gguf_writer **ret_writer);

/* Metadata: each key once. Sizes and counts are the caller's own, trusted. */
int gguf_write_u32(struct gguf_writer *w, const char *key, uint32_t value);
int gguf_write_u64(struct gguf_writer *w, const char *key, uint64_t value);
int gguf_write_f32(struct gguf_writer *w, const char *key, float value);
int gguf_write_f64(struct gguf_writer *w, const char *key, double value);
int gguf_write_bool(struct gguf_writer *w, const char *key, bool value);
int gguf_write_str(struct gguf_writer *w, const char *key, const char *value, size_t len);
int gguf_write_u32s(struct gguf_writer *w, const char *key, const uint32_t *values, size_t n);
int gguf_write_i32s(struct gguf_writer *w, const char *key, const int32_t *values, size_t n);
int gguf_write_strs(struct gguf_writer *w, const char *key, const struct gguf_str *values,
                    size_t n);
/* Where tensors are to begin, before the first is declared: a power of two up to
 * GGUF_MAX_ALIGNMENT; 32 unless told. */
int gguf_write_alignment(struct gguf_writer *w, uint32_t alignment);
/* Copy a key with its value, byte for byte, from a file that was read; general.alignment is left
 * out, for it is the writer's own. */
int gguf_write_copy(struct gguf_writer *w, const struct gguf_kv *kv);

/* Declare a tensor, before the first data. dims[0] is contiguous. The type's block divides it. */
int gguf_write_tensor(struct gguf_writer *w, const char *name, uint32_t type, const uint64_t *dims,
                      uint32_t n_dims);
/* After the last declaration: the bytes of the tensors in order. A tensor may come in pieces, but
 * a piece never spans two. The padding between tensors is the writer's business. */
int gguf_write_data(struct gguf_writer *w, const void *data, size_t n_bytes, struct error *err);
/* The same of n floats, as f32 or, x being changed, as f16. */
int gguf_write_floats(struct gguf_writer *w, float *x, size_t n, bool half, struct error *err);

/* Every declared byte must have come. Frees w, also when it fails (the temporary file is gone). */
int gguf_write_commit(struct gguf_writer *w, struct error *err);
/* What gguf_write_open_keys began, as the bytes of a file without tensors: the caller's, to be freed.
 * Frees w. ST_NOMEM is all that can go wrong. */
int gguf_write_commit_keys(struct gguf_writer *w, uint8_t **ret_bytes, size_t *ret_n);
void gguf_write_abort(struct gguf_writer *w); /* NULL is fine */

#endif
