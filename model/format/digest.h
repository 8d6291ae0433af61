/* digest.h - one SHA-256 of what makes a model compute as it does, wherever its parts lie in the
 * file.
 *
 * It covers the tensors (name, type, shape, data) and the keys that their use depends on, both in
 * the order of their names; left out are descriptions: general.* but the architecture, the chat
 * template, and octet.quality.*, the record that carries the digest.
 *
 *   SHA-256( for each key:    its entry as it stands in the file
 *            for each tensor: u64 length of the name, name, u32 type, u32 n_dims, u64 dims[4],
 *                             SHA-256 of its data )             numbers little-endian
 *
 * Owner, memory: the caller's. Errors: none. Threads: any. */
#ifndef OCTET_MODEL_FORMAT_DIGEST_H
#define OCTET_MODEL_FORMAT_DIGEST_H

#include "config/sha256.h"
#include "model/format/gguf.h"

/* The file was opened with its tensors. fn (may be NULL) is told the bytes hashed so far. */
void gguf_digest(const struct gguf *g, void (*fn)(void *arg, uint64_t done, uint64_t total),
                 void *arg, char hex[static SHA256_HEX]);

#endif
