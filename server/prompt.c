#include "server/prompt.h"

#include <stdlib.h>
#include <string.h>

#include "model/model.h"

#define DEFAULT_MAX_TOKENS 128u

int prompt_check(struct request *request, const struct model *model, const char *served,
                 uint32_t n_ctx)
{
    const struct completion_req *ask = &request->ask;

    if (ask->model && strcmp(ask->model, served) != 0) {
        api_error_model(&request->error, ask->model, served);
        request_failed(request);
        return ST_NOTFOUND;
    }
    if (ask->prompt && ask->prompt_len > model_max_text_bytes(model, n_ctx)) {
        api_error_prompt_bytes(&request->error, ask->prompt_len, n_ctx);
        request_failed(request);
        return ST_TOOLONG;
    }
    return ST_OK;
}

static int check_ids(struct request *request, const struct model *model)
{
    const struct completion_req *ask = &request->ask;
    uint32_t n_vocab = model_info(model)->n_vocab;

    for (size_t i = 0; i < ask->n_prompt_ids; i++) {
        if ((uint32_t)ask->prompt_ids[i] < n_vocab)
            continue;
        api_error_vocab(&request->error, i, ask->prompt_ids[i], n_vocab);
        request_failed(request);
        return ST_INVALID;
    }
    return ST_OK;
}

static int text_to_ids(struct request *request, const struct model *model, int32_t **ret_ids,
                       size_t *ret_n)
{
    const struct completion_req *ask = &request->ask;
    unsigned flags = MODEL_TEXT_BOS_AUTO | (ask->parse_special ? MODEL_TEXT_SPECIAL : 0);
    struct error err = {0};
    int r = model_tokenize(model, ask->prompt, ask->prompt_len, flags, ret_ids, ret_n, &err);

    if (r == ST_INVALID)
        request_fail(request, API_INVALID_VALUE, "%s", err.text);
    else if (r != ST_OK)
        request_fail(request, API_INTERNAL, "the prompt could not be tokenized: %s",
                     err.text[0] ? err.text : status_name(r));
    return r;
}

/* Room for n prompt tokens and what is made of them, or the refusal that names both numbers. */
static int set_max_tokens(struct request *request, size_t n, uint32_t n_ctx)
{
    uint32_t asked = (uint32_t)request->ask.max_tokens; /* 0: not given */

    if (n + (asked ? asked : 1) > n_ctx) {
        api_error_context(&request->error, n, asked ? asked : 1, n_ctx);
        request_failed(request);
        return ST_TOOLONG;
    }
    uint32_t room = n_ctx - (uint32_t)n;
    request->n_prompt = (uint32_t)n;
    request->max_tokens = asked ? asked : room < DEFAULT_MAX_TOKENS ? room : DEFAULT_MAX_TOKENS;
    return ST_OK;
}

int prompt_prepare(struct request *request, const struct model *model, uint32_t n_ctx)
{
    const struct completion_req *ask = &request->ask;
    int32_t *ids = NULL, *all;
    size_t n = ask->n_prompt_ids;
    int r = ask->prompt ? text_to_ids(request, model, &ids, &n) : check_ids(request, model);

    if (r != ST_OK)
        return r;
    if (n == 0) {
        request_fail(request, API_INVALID_VALUE, "`prompt` gives no token; give it some text.");
        return ST_INVALID;
    }
    r = set_max_tokens(request, n, n_ctx);
    if (r != ST_OK)
        goto out;
    all = malloc((n + request->max_tokens) * sizeof(*all)); /* at most n_ctx: LIMIT_CONTEXT */
    if (!all) {
        request_fail(request, API_INTERNAL, "no memory for a prompt of %zu tokens.", n);
        r = ST_NOMEM;
        goto out;
    }
    memcpy(all, ids ? ids : ask->prompt_ids, n * sizeof(*all));
    request->ids = all;
out:
    free(ids);
    return r;
}
