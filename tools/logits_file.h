/* logits_file.h - a reference's logits on disk, so that it runs once for many models:
 * `octet eval --save-reference`.
 *
 * A head, then a row for each scored position: the largest logit and a step as floats, then for
 * each token how many steps it lies below, as 65535 less that. Logits more than RANGE below the
 * largest are held to that: their probability is below 5e-18. Only the largest is given 65535, so
 * that it stays the likeliest. Rounding changes a logit by at most RANGE / 65535 / 2 = 0.0003, and
 * a mean KL divergence by about 3e-8 at most. Numbers are little-endian.
 *
 * Owner:   the subcommand.
 * Memory:  logits_read_close() and logits_write_*() give everything back.
 * Errors:  ST_IO, ST_FORMAT, ST_NOMEM with a sentence that names the file.
 * Threads: encoding and decoding a row: any. */
#ifndef OCTET_TOOLS_LOGITS_FILE_H
#define OCTET_TOOLS_LOGITS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/sha256.h"
#include "tools/outfile.h"

/* What the rows are of. */
struct logits_head {
    char magic[8]; /* LOGITS_MAGIC */
    uint32_t version, ctx;
    uint64_t n_vocab, n_chunks, n_rows;
    char model_sha256[SHA256_HEX]; /* the file whose logits these are */
    char text_sha256[SHA256_HEX];  /* the text's bytes */
    char ids_sha256[SHA256_HEX];   /* its tokens, chunk after chunk, as int32 */
    char zero[5];
};
#define LOGITS_MAGIC "OCTLOGIT"
#define LOGITS_VERSION 1u

size_t logits_row_bytes(size_t n_vocab);
void logits_encode(const float *logits, size_t n_vocab, void *row);
void logits_decode(const void *row, size_t n_vocab, float *logits);

/* Does the file begin as one? False also if it can't be read. */
bool logits_is_file(const char *path);

struct logits_reader {
    struct logits_head head;
    const uint8_t *rows; /* head.n_rows of them, mapped */
    void *map;
    size_t map_bytes;
};
int logits_read_open(struct logits_reader *reader, const char *path, struct error *err);
void logits_read_close(struct logits_reader *reader); /* a zeroed struct is fine */

struct logits_writer {
    struct outfile out;
    size_t row_bytes;
};
/* magic and version are filled in. */
int logits_write_open(struct logits_writer *writer, const char *path,
                      const struct logits_head *head, struct error *err);
int logits_write_rows(struct logits_writer *writer, const void *rows, size_t n, struct error *err);

#endif
