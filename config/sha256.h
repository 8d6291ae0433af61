/* sha256.h - SHA-256 (FIPS 180-4): what binds a measurement to the bytes it was made of.
 *
 * Owner:   the caller.
 * Memory:  the struct is the caller's; nothing is allocated.
 * Errors:  sha256_file: ST_IO naming the file; the rest cannot fail.
 * Threads: no shared state. */
#ifndef OCTET_CONFIG_SHA256_H
#define OCTET_CONFIG_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/status.h"

#define SHA256_BYTES 32u
#define SHA256_HEX (2u * SHA256_BYTES + 1u) /* with the NUL */

struct sha256 {
    uint32_t state[8];
    uint64_t n_bytes; /* taken in so far */
    uint8_t block[64];
};

void sha256_init(struct sha256 *sha);
void sha256_add(struct sha256 *sha, const void *data, size_t n);
void sha256_end(struct sha256 *sha, uint8_t digest[static SHA256_BYTES]);

/* Lower-case hexadecimal. */
void sha256_hex(const uint8_t digest[static SHA256_BYTES], char hex[static SHA256_HEX]);
/* Is text[n] what sha256_hex() may have written, without the NUL? */
bool sha256_is_hex(const char *text, size_t n);
/* All at once. */
void sha256_text(const void *data, size_t n, char hex[static SHA256_HEX]);
int sha256_file(const char *path, char hex[static SHA256_HEX], struct error *err);

#endif
