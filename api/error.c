#include "api/error.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/render.h"
#include "config/escape.h"

static const struct {
    int status;
    const char *name, *type;
} CODES[API_N_CODES] = {
    [API_INVALID_JSON] = {400, "invalid_json", "invalid_request_error"},
    [API_MISSING_FIELD] = {400, "missing_field", "invalid_request_error"},
    [API_UNKNOWN_FIELD] = {400, "unknown_field", "invalid_request_error"},
    [API_DUPLICATE_FIELD] = {400, "duplicate_field", "invalid_request_error"},
    [API_WRONG_TYPE] = {400, "wrong_type", "invalid_request_error"},
    [API_OUT_OF_RANGE] = {400, "out_of_range", "invalid_request_error"},
    [API_INVALID_VALUE] = {400, "invalid_value", "invalid_request_error"},
    [API_CONTEXT_LENGTH] = {400, "context_length_exceeded", "invalid_request_error"},
    [API_TOKEN_OUT_OF_VOCAB] = {400, "token_out_of_vocabulary", "invalid_request_error"},
    [API_BAD_REQUEST] = {400, "bad_request", "invalid_request_error"},
    [API_MODEL_NOT_FOUND] = {404, "model_not_found", "not_found_error"},
    [API_ROUTE_NOT_FOUND] = {404, "route_not_found", "not_found_error"},
    [API_METHOD_NOT_ALLOWED] = {405, "method_not_allowed", "invalid_request_error"},
    [API_REQUEST_TIMEOUT] = {408, "request_timeout", "timeout_error"},
    [API_BODY_TOO_LARGE] = {413, "body_too_large", "invalid_request_error"},
    [API_UNSUPPORTED_MEDIA] = {415, "unsupported_media_type", "invalid_request_error"},
    [API_QUEUE_FULL] = {429, "queue_full", "overloaded_error"},
    [API_INTERNAL] = {500, "internal_error", "server_error"},
    [API_NOT_IMPLEMENTED] = {501, "not_implemented", "server_error"},
    [API_LOADING] = {503, "loading", "unavailable_error"},
    [API_DRAINING] = {503, "draining", "unavailable_error"},
    [API_DEADLINE] = {504, "deadline_exceeded", "timeout_error"},
};

int api_code_status(enum api_code code)
{
    return CODES[code].status;
}

const char *api_code_name(enum api_code code)
{
    return CODES[code].name;
}

const char *api_code_type(enum api_code code)
{
    return CODES[code].type;
}

const char *http_reason(int http_status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {400, "Bad Request"},        {404, "Not Found"},
        {405, "Method Not Allowed"}, {408, "Request Timeout"},
        {413, "Content Too Large"},  {415, "Unsupported Media Type"},
        {429, "Too Many Requests"},  {500, "Internal Server Error"},
        {501, "Not Implemented"},    {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == http_status)
            return reasons[i].reason;
    return "Error";
}

/* A text that snprintf cut may end inside a character: drop that part. */
static void trim_character(char *text)
{
    const char *at = text, *end = text + strlen(text);

    while (at < end) {
        size_t len = utf8_len(at, end);
        if (len == 0 && end - at < 4) {
            text[at - text] = '\0';
            return;
        }
        at += len ? len : 1;
    }
}

void api_error_set(struct api_error *err, enum api_code code, const char *param, const char *fmt,
                   ...)
{
    va_list args;

    assert(code >= 0 && code < API_N_CODES);
    *err = (struct api_error){.code = code, .http_status = CODES[code].status};
    if (param)
        snprintf(err->param, sizeof(err->param), "%s", param);
    va_start(args, fmt);
    vsnprintf(err->message, sizeof(err->message), fmt, args);
    va_end(args);
    trim_character(err->param);
    trim_character(err->message);
}

void api_error_context(struct api_error *err, size_t n_prompt, size_t max_tokens, size_t n_ctx)
{
    if (max_tokens == 0)
        api_error_set(
            err, API_CONTEXT_LENGTH, "prompt",
            "the prompt's %zu tokens leave no room in the context of %zu tokens: shorten it",
            n_prompt, n_ctx);
    else
        api_error_set(err, API_CONTEXT_LENGTH, "max_tokens",
                      "the prompt's %zu tokens and max_tokens %zu are %zu together, more than the "
                      "context of %zu tokens: "
                      "shorten the prompt or lower max_tokens",
                      n_prompt, max_tokens, n_prompt + max_tokens, n_ctx);
}

void api_error_prompt_bytes(struct api_error *err, size_t prompt_bytes, size_t n_ctx)
{
    api_error_set(err, API_CONTEXT_LENGTH, "prompt",
                  "a prompt of %zu bytes can't fit the context of %zu tokens: shorten it",
                  prompt_bytes, n_ctx);
}

void api_error_vocab(struct api_error *err, size_t index, int64_t id, size_t n_vocab)
{
    api_error_set(err, API_TOKEN_OUT_OF_VOCAB, "prompt",
                  "prompt[%zu] is token id %lld, but the vocabulary has ids 0 to %zu", index,
                  (long long)id, n_vocab ? n_vocab - 1 : 0);
}

/* The part of a caller's text that a sentence shows, for "%.*s". */
static int shown(const char *text)
{
    return (int)utf8_cut(text, strlen(text), 100);
}

void api_error_model(struct api_error *err, const char *asked, const char *served)
{
    api_error_set(err, API_MODEL_NOT_FOUND, "model",
                  "model \"%.*s\" is not served here: ask for \"%s\" or leave model out",
                  shown(asked), asked, served);
}

void api_error_route(struct api_error *err, const char *method, const char *path)
{
    api_error_set(
        err, API_ROUTE_NOT_FOUND, NULL,
        "no route %.16s %.*s: POST /v1/generate completes a prompt, GET /v1/models lists models",
        method, shown(path), path);
}

void api_error_method(struct api_error *err, const char *method, const char *path,
                      const char *allow)
{
    api_error_set(err, API_METHOD_NOT_ALLOWED, NULL, "%.16s is not allowed on %.*s: use %s", method,
                  shown(path), path, allow);
}

void api_error_media(struct api_error *err, const char *content_type)
{
    api_error_set(
        err, API_UNSUPPORTED_MEDIA, NULL,
        "Content-Type \"%.*s\" is not JSON: send the header Content-Type: application/json",
        shown(content_type), content_type);
}

void api_error_encoding(struct api_error *err, const char *encoding)
{
    api_error_set(
        err, API_UNSUPPORTED_MEDIA, NULL,
        "Content-Encoding \"%.*s\" is not built: send the body as it is, without that header",
        shown(encoding), encoding);
}

void api_error_body_too_large(struct api_error *err, size_t max_bytes)
{
    api_error_set(err, API_BODY_TOO_LARGE, NULL,
                  "the body is larger than %zu bytes: send a shorter prompt", max_bytes);
}

void api_error_queue_full(struct api_error *err, size_t max_queue, unsigned retry_after_s)
{
    api_error_set(err, API_QUEUE_FULL, NULL, "%zu requests are waiting already: try again in %u s",
                  max_queue, retry_after_s);
}

void api_error_deadline(struct api_error *err, uint64_t timeout_ms)
{
    api_error_set(
        err, API_DEADLINE, "timeout_ms",
        "the deadline of %llu ms passed before the first token: allow more time or try again later",
        (unsigned long long)timeout_ms);
}

/* "error":{"message","type","param","code"} */
static void render_member(const struct api_error *err, struct buf *out)
{
    buf_puts(out, "\"error\":{\"message\":");
    render_string(out, err->message, strlen(err->message));
    buf_printf(out, ",\"type\":\"%s\",\"param\":", CODES[err->code].type);
    if (err->param[0])
        render_string(out, err->param, strlen(err->param));
    else
        buf_puts(out, "null");
    buf_printf(out, ",\"code\":\"%s\"}", CODES[err->code].name);
}

int api_error_render(const struct api_error *err, struct buf *out)
{
    /* RFC 9457: about:blank says that the title is the status code's own phrase; `error.code` tells
     * more. */
    buf_printf(out, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":",
               http_reason(err->http_status), err->http_status);
    render_string(out, err->message, strlen(err->message));
    buf_puts(out, ",");
    render_member(err, out);
    return buf_puts(out, "}");
}

int api_error_render_event(const struct api_error *err, struct buf *out)
{
    buf_puts(out, "{");
    render_member(err, out);
    return buf_puts(out, "}");
}
