/* error.h - why a request was refused, and how that looks on the wire.
 *
 * Owner:   the caller; a struct api_error is plain values.
 * Memory:  fixed buffers; code, type and title point at constants.
 * Errors:  rendering fails only as struct buf does.
 * Threads: no shared state. */
#ifndef OCTET_API_ERROR_H
#define OCTET_API_ERROR_H

#include <stddef.h>
#include <stdint.h>

#include "api/buf.h"

/* Adding one? Also the table in error.c and openapi.yaml; a test holds the two together. */
enum api_code {
    API_INVALID_JSON,       /* 400: not JSON, not UTF-8, not an object, too deep */
    API_MISSING_FIELD,      /* 400 */
    API_UNKNOWN_FIELD,      /* 400 */
    API_DUPLICATE_FIELD,    /* 400 */
    API_WRONG_TYPE,         /* 400 */
    API_OUT_OF_RANGE,       /* 400 */
    API_INVALID_VALUE,      /* 400: right type, no sense (an empty prompt, U+0000) */
    API_CONTEXT_LENGTH,     /* 400 context_length_exceeded */
    API_TOKEN_OUT_OF_VOCAB, /* 400 */
    API_BAD_REQUEST,        /* 400: HTTP itself is malformed (two Content-Length, say) */
    API_MODEL_NOT_FOUND,    /* 404 */
    API_ROUTE_NOT_FOUND,    /* 404 */
    API_METHOD_NOT_ALLOWED, /* 405, with Allow */
    API_REQUEST_TIMEOUT,    /* 408: headers or body did not arrive in time */
    API_BODY_TOO_LARGE,     /* 413 */
    API_UNSUPPORTED_MEDIA,  /* 415 */
    API_QUEUE_FULL,         /* 429, with Retry-After */
    API_INTERNAL,           /* 500 */
    API_NOT_IMPLEMENTED,    /* 501: a transfer coding other than chunked */
    API_LOADING,            /* 503, with Retry-After */
    API_DRAINING,           /* 503, with Retry-After */
    API_DEADLINE,           /* 504: the deadline passed before the first token */
    API_N_CODES,
};

struct api_error {
    enum api_code code;
    int http_status;
    char param[80];    /* field it is about; "": none */
    char message[512]; /* one sentence: what, where, what would be right */
};

/* Fill err printf-style; a param or message that does not fit is cut between characters. param may
 * be NULL. */
void api_error_set(struct api_error *err, enum api_code code, const char *param, const char *fmt,
                   ...) __attribute__((format(printf, 4, 5)));

int api_code_status(enum api_code code); /* 400 .. 504 */
const char *
api_code_name(enum api_code code); /* "context_length_exceeded": metrics labels and error.code */
const char *api_code_type(enum api_code code); /* "invalid_request_error": error.type */
const char *http_reason(int http_status);      /* "Bad Request"; "Error" for one not known */

/* The refusals that only the server can decide, with one wording each. max_tokens 0: not asked for;
 * the prompt alone is too long. */
void api_error_context(struct api_error *err, size_t n_prompt, size_t max_tokens, size_t n_ctx);
/* The prompt is so long that it was refused untokenized. */
void api_error_prompt_bytes(struct api_error *err, size_t prompt_bytes, size_t n_ctx);
void api_error_vocab(struct api_error *err, size_t index, int64_t id, size_t n_vocab);
void api_error_model(struct api_error *err, const char *asked, const char *served);
void api_error_route(struct api_error *err, const char *method, const char *path);
void api_error_method(struct api_error *err, const char *method, const char *path,
                      const char *allow);
void api_error_media(struct api_error *err, const char *content_type);
/* 415: a body compressed or otherwise encoded. */
void api_error_encoding(struct api_error *err, const char *encoding);
void api_error_body_too_large(struct api_error *err, size_t max_bytes);
void api_error_queue_full(struct api_error *err, size_t max_queue, unsigned retry_after_s);
void api_error_deadline(struct api_error *err, uint64_t timeout_ms);

/* The body: {"type","title","status","detail","error":{"message","type","param","code"}}. It is
 * sent as API_ERROR_CONTENT_TYPE on native routes. */
#define API_ERROR_CONTENT_TYPE "application/problem+json"
int api_error_render(const struct api_error *err, struct buf *out);

/* Only {"error":{…}}: what a stream gets after its first byte (wrap it with sse_data()). */
int api_error_render_event(const struct api_error *err, struct buf *out);

#endif
