/* parse.h - bytes of a POST body → struct completion_req. Every limit on a request is checked here,
 * except those that need the model (context length, vocabulary), which the server checks with
 * api/error.h's constructors.
 *
 * Owner:   the caller owns the struct and gives it back with completion_req_done().
 * Memory:  texts and ids are copies; the body may be freed at once.
 * Errors:  ST_INVALID with err filled (the first problem in the order of the text), ST_NOMEM (err
 *          filled too: 500).
 * Threads: any, after parse_init(). */
#ifndef OCTET_API_PARSE_H
#define OCTET_API_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/error.h"

struct completion_req {
    /* One of the two: text (valid UTF-8, no U+0000, not empty, NUL-terminated), or ids (>= 0, not
     * empty). */
    char *prompt; /* NULL when ids are given */
    size_t prompt_len;
    int32_t *prompt_ids;
    size_t n_prompt_ids;

    bool parse_special; /* control tokens' names in a text prompt count as tokens */
    char *model;        /* NULL: not named */
    int32_t max_tokens; /* 1 ..; 0: not given */
    bool stream;
    double temperature; /* 0: greedy */
    int32_t top_k;      /* 0: off */
    double top_p, min_p;
    double repetition_penalty;
    bool has_seed;
    uint64_t seed; /* 0 .. 2^63-1 */
    char **stops;  /* n_stops NUL-terminated texts, each 1 .. LIMIT_STOP_BYTES */
    size_t n_stops;
    bool ignore_eos;
    int32_t timeout_ms; /* 1 ..; 0: not given, the server's */
};

/* Once, before threads start: seeds the hash of JSON objects. */
void parse_init(void);

/* body need not end in NUL. On ST_OK the caller owns *ret_req's memory. */
int parse_generate(const char *body, size_t len, struct completion_req *ret_req,
                   struct api_error *err);

void completion_req_done(struct completion_req *req); /* a zeroed struct is fine */

/* Content-Type of a request is JSON: application/json or …+json, any case, any parameters; NULL
 * (absent) counts. */
bool parse_is_json(const char *content_type);

#endif
