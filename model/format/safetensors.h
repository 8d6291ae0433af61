/* safetensors.h - a .safetensors file as checked, read-only facts.
 *
 * The format (https://github.com/huggingface/safetensors#format): u64 N, little-endian; N bytes of
 * JSON, {"name": {"dtype", "shape", "data_offsets": [begin, end]}, …, "__metadata__": {…}}; the data,
 * row-major, which the tensors cover without holes or overlap.
 *
 * Owner:   immutable after opening; any thread may read.
 * Memory:  the file is mapped; names live in the struct, data point into the map, until
 *          safetensors_close.
 * Errors:  every size is held against the file, once: ST_IO, ST_FORMAT or ST_UNSUPPORTED with one
 *          sentence naming the file and the tensor.
 * Not here: what the tensors are for (hf.h). */
#ifndef OCTET_MODEL_FORMAT_SAFETENSORS_H
#define OCTET_MODEL_FORMAT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "config/status.h"

struct safetensor {
    const char *name;
    const char *dtype; /* "F32", "BF16", "I8", … as the format names it */
    uint32_t n_dims;   /* 0: a single number */
    uint64_t dims[4];  /* in the file's order: the last one is contiguous; unused ones are 1 */
    uint64_t n_elems;
    uint64_t n_bytes;
    uint64_t offset;     /* of data, from the first byte after the header */
    const uint8_t *data; /* aligned for bytes only */
};

struct safetensors;

int safetensors_open(const char *path, struct safetensors **ret_file, struct error *err);
/* The same over bytes that the caller keeps alive; name is for messages. */
int safetensors_open_memory(const char *name, const void *data, size_t len,
                            struct safetensors **ret_file, struct error *err);
void safetensors_close(struct safetensors *file); /* NULL is fine */

uint64_t safetensors_file_bytes(const struct safetensors *file);
/* Tensors stand in the order of their data. */
size_t safetensors_n(const struct safetensors *file);
const struct safetensor *safetensors_at(const struct safetensors *file, size_t i);

#endif
