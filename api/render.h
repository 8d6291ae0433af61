/* render.h - results → JSON. Every function appends one JSON document on one line, without a
 * newline.
 *
 * Owner:   the caller's buf and values; texts are borrowed for the call.
 * Memory:  only what buf grows.
 * Errors:  buf's (ST_NOMEM, ST_TOOLONG), returned and kept in buf->status.
 * Threads: no shared state. */
#ifndef OCTET_API_RENDER_H
#define OCTET_API_RENDER_H

#include <stddef.h>
#include <stdint.h>

#include "api/buf.h"
#include "config/quality.h"

enum finish_reason { FINISH_STOP, FINISH_LENGTH, FINISH_DEADLINE };

/* What stop_reason shows: the stop string, the end token's id, or null. */
enum stop_kind { STOP_NONE, STOP_STRING, STOP_TOKEN };

struct timings {
    double queue_ms, prefill_ms, decode_ms, ttft_ms,
        total_ms; /* rendered with 3 decimals; negative counts as 0 */
};

struct generate_result {
    const char *id;    /* "gen-…" */
    int64_t created;   /* Unix seconds */
    const char *model; /* name it is served under */
    const char *text;  /* of the last piece: only the rest. UTF-8, text_len bytes */
    size_t text_len;
    uint64_t seed;
    enum finish_reason finish;
    enum stop_kind stop_kind;
    const char *stop_string; /* with STOP_STRING */
    int32_t stop_token;      /* with STOP_TOKEN */
    uint64_t prompt_tokens, completion_tokens, cached_tokens;
    struct timings timings;
};

struct model_entry {
    const char *id;
    int64_t created;
    uint64_t max_model_len; /* tokens */
    const char *arch, *scheme, *precision;
    const struct quality *quality; /* the file's record; NULL: none */
};

int render_generate(struct buf *out, const struct generate_result *result);

/* {"id":…,"index":0,"text":…}; the last piece has every field of the whole answer beside index. */
int render_piece(struct buf *out, const char *id, const char *text, size_t len);
int render_last_piece(struct buf *out, const struct generate_result *result);

int render_models(struct buf *out, const struct model_entry *entries, size_t n);

/* {"status":…}: /health ("ok") and /ready ("ready", "loading", "draining"). */
int render_status(struct buf *out, const char *status);

/* Quoted JSON string of any bytes: what is not UTF-8 becomes U+FFFD. */
int render_string(struct buf *out, const char *text, size_t len);

const char *finish_reason_name(enum finish_reason finish);

#endif
