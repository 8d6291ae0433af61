/* quality.h - what was measured of a model file: the record that it carries, and what a deployment
 * may require of it.
 *
 * `octet eval --record` writes it, `octet info`, /v1/models and /metrics show it, octetd's
 * --require-* hold a model to it.
 * Owner, memory, threads: plain structs and pure functions over the caller's memory.
 * Errors:  quality_require() gives ST_INVALID with one sentence. */
#ifndef OCTET_CONFIG_QUALITY_H
#define OCTET_CONFIG_QUALITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/sha256.h"
#include "config/status.h"

/* The figures are those of tools/eval_stats.h; same_top and rms_dp are fractions. */
struct quality {
    double ppl, ppl_se, ppl_ratio;
    double kld_mean, kld_median, kld_p99, kld_max;
    double same_top, rms_dp;
    uint64_t tokens, chunks; /* scored, and the chunks they are of */
    uint32_t ctx;
    char precision[8], kv[8], scheme[96]; /* what ran: "int8", "int8", "int8-h64-g64" */
    char version[32];                     /* of the octet that measured */
    char text_sha256[SHA256_HEX];         /* the text's bytes */
    char source_sha256[SHA256_HEX]; /* the file of the reference; of a directory, its digest */
    char digest[SHA256_HEX];        /* model_digest() of the model itself */
};

/* The figures and texts by name, for whoever reads or writes all of them. */
struct quality_number {
    const char *name; /* "kld_mean" */
    size_t offset;    /* of a double in struct quality */
    double max;       /* 0 .. max is possible */
};
struct quality_text {
    const char *name; /* "text_sha256" */
    size_t offset, size;
    bool sha; /* 64 lower-case hexadecimal digits */
};
enum { QUALITY_NUMBERS = 9, QUALITY_TEXTS = 7 };
extern const struct quality_number QUALITY_NUMBER[QUALITY_NUMBERS];
extern const struct quality_text QUALITY_TEXT[QUALITY_TEXTS];

/* One JSON object, NUL-terminated. */
#define QUALITY_JSON_MAX 4096u
void quality_json(const struct quality *quality, char out[static QUALITY_JSON_MAX]);

/* Bounds; negative: not asked for. */
struct quality_bounds {
    double max_kld, min_same_top, max_ppl_ratio;
};
bool quality_asked(const struct quality_bounds *bounds);

/* How the model is about to run. */
struct quality_run {
    const char *path, *scheme, *precision, *kv;
    const struct quality *quality; /* its record; NULL: none */
    bool changed;                  /* the file is not the one that was measured */
};

/* Does the record promise what is asked for, of what is about to run? The sentence says which
 * figure, what was wanted and found, and the command that would record it. */
int quality_require(const struct quality_bounds *bounds, const struct quality_run *run,
                    struct error *err);

#endif
