/* prompt.h - a parsed request meets the model: text -> ids, and the checks that need the vocabulary
 * or the context.
 *
 * Owner:   whoever owns the request: a libuv worker (TOKENIZE).
 * Memory:  request->ids, with room for every token it may make.
 * Errors:  request->error is filled, the request is FAILED; nothing else is touched.
 * Threads: any; the model is constant. */
#ifndef OCTET_SERVER_PROMPT_H
#define OCTET_SERVER_PROMPT_H

#include <stdint.h>

#include "server/request.h"

struct model;

/* Cheap enough for the loop: the served name, and a text no context could hold. */
int prompt_check(struct request *request, const struct model *model, const char *served,
                 uint32_t n_ctx);

/* Fills ids, n_prompt and max_tokens. */
int prompt_prepare(struct request *request, const struct model *model, uint32_t n_ctx);

#endif
