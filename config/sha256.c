#include "config/sha256.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 64u
#define READ_BYTES 65536u

/* FIPS 180-4 section 4.2.2: the first 32 bits of the fractions of the cube roots of the primes. */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static inline uint32_t turn(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static inline uint32_t load_be(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

/* One round of section 6.2.2. Instead of moving the words a .. h along, round t finds them t places
 * earlier; inlined, the places are constants and the words stay in registers. */
static inline void one_round(uint32_t s[8], unsigned t, uint32_t k_w)
{
#define AT(i) s[((i)-t) & 7u]
    uint32_t a = AT(0), e = AT(4);
    uint32_t choose = AT(6) ^ (e & (AT(5) ^ AT(6)));
    uint32_t most = (a & AT(1)) | (AT(2) & (a | AT(1)));
    uint32_t t1 = AT(7) + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + choose + k_w;

    AT(3) += t1;
    AT(7) = t1 + (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + most;
#undef AT
}

static void compress(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64], s[8];

    for (unsigned t = 0; t < 16; t++)
        w[t] = load_be(block + 4 * (size_t)t);
    for (unsigned t = 16; t < 64; t++) {
        uint32_t a = w[t - 15], b = w[t - 2];
        w[t] = w[t - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[t - 7] +
               (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
    }
    memcpy(s, state, sizeof(s));
    for (unsigned t = 0; t < 64; t += 8) {
        one_round(s, 0, K[t] + w[t]);
        one_round(s, 1, K[t + 1] + w[t + 1]);
        one_round(s, 2, K[t + 2] + w[t + 2]);
        one_round(s, 3, K[t + 3] + w[t + 3]);
        one_round(s, 4, K[t + 4] + w[t + 4]);
        one_round(s, 5, K[t + 5] + w[t + 5]);
        one_round(s, 6, K[t + 6] + w[t + 6]);
        one_round(s, 7, K[t + 7] + w[t + 7]);
    }
    for (unsigned i = 0; i < 8; i++)
        state[i] += s[i];
}

void sha256_init(struct sha256 *sha)
{
    *sha = (struct sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                                     0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sha256_add(struct sha256 *sha, const void *data, size_t n)
{
    const uint8_t *p = data;
    size_t held = sha->n_bytes % BLOCK;

    sha->n_bytes += n;
    if (held) {
        size_t take = n < BLOCK - held ? n : BLOCK - held;
        memcpy(sha->block + held, p, take);
        if (held + take < BLOCK)
            return;
        compress(sha->state, sha->block);
        p += take;
        n -= take;
    }
    for (; n >= BLOCK; p += BLOCK, n -= BLOCK)
        compress(sha->state, p);
    if (n)
        memcpy(sha->block, p, n);
}

/* Section 5.1.1: a one bit, zeros, and the length in bits, so that whole blocks come out. */
void sha256_end(struct sha256 *sha, uint8_t digest[static SHA256_BYTES])
{
    static const uint8_t pad[BLOCK] = {0x80};
    uint64_t n_bits = sha->n_bytes * 8;
    uint8_t length[8];

    for (unsigned i = 0; i < 8; i++)
        length[i] = (uint8_t)(n_bits >> (56 - 8 * i));
    sha256_add(sha, pad, 1 + (size_t)((2 * BLOCK - 9 - sha->n_bytes % BLOCK) % BLOCK));
    sha256_add(sha, length, sizeof(length));
    for (unsigned i = 0; i < SHA256_BYTES; i++)
        digest[i] = (uint8_t)(sha->state[i / 4] >> (24 - 8 * (i % 4)));
}

void sha256_hex(const uint8_t digest[static SHA256_BYTES], char hex[static SHA256_HEX])
{
    static const char digits[] = "0123456789abcdef";

    for (unsigned i = 0; i < SHA256_BYTES; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[2 * SHA256_BYTES] = '\0';
}

bool sha256_is_hex(const char *text, size_t n)
{
    bool ok = n == SHA256_HEX - 1;

    for (size_t i = 0; i < n && ok; i++)
        ok = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
    return ok;
}

static void end_hex(struct sha256 *sha, char hex[static SHA256_HEX])
{
    uint8_t digest[SHA256_BYTES];

    sha256_end(sha, digest);
    sha256_hex(digest, hex);
}

void sha256_text(const void *data, size_t n, char hex[static SHA256_HEX])
{
    struct sha256 sha;

    sha256_init(&sha);
    sha256_add(&sha, data, n);
    end_hex(&sha, hex);
}

int sha256_file(const char *path, char hex[static SHA256_HEX], struct error *err)
{
    struct sha256 sha;
    FILE *file = fopen(path, "rbe");
    uint8_t *bytes = malloc(READ_BYTES);
    int r = ST_OK;
    size_t n;

    if (!bytes)
        r = error_set(err, ST_NOMEM, "%s: no memory to read it", path);
    else if (!file)
        r = error_set(err, ST_IO, "%s: cannot be opened: %s", path, strerror(errno));
    if (r != ST_OK)
        goto out;
    sha256_init(&sha);
    while ((n = fread(bytes, 1, READ_BYTES, file)) > 0)
        sha256_add(&sha, bytes, n);
    if (ferror(file))
        r = error_set(err, ST_IO, "%s: cannot be read: %s", path, strerror(errno));
    else
        end_hex(&sha, hex);
out:
    free(bytes);
    if (file)
        fclose(file);
    return r;
}
