/* json_body.h - bytes of a request → one JSON object, hostile ones refused before they cost memory.
 *
 * Owner:   the caller owns the object (json_decref).
 * Memory:  bounded by LIMIT_JSON_* and the body's size (at most some 50 times its bytes, for
 *          integers).
 * Errors:  ST_INVALID or ST_NOMEM with err filled; a sentence says at which byte.
 * Threads: any, once json_object_seed() was called. */
#ifndef OCTET_API_JSON_BODY_H
#define OCTET_API_JSON_BODY_H

#include <jansson.h>
#include <stddef.h>

#include "api/error.h"

/* Strict: UTF-8, no duplicate keys, nothing behind the object, no U+0000. A number beyond 64 bits
 * is API_OUT_OF_RANGE with the member's name as param. */
int json_body_load(const char *body, size_t len, json_t **ret_object, struct api_error *err);

#endif
