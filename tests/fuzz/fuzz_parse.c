/* fuzz_parse.c - any bytes as the body of POST /v1/generate, and any bytes as text to render.
 *
 * Beyond what the sanitizers see: a request that was taken keeps parse.h's promises, a refused one
 * gives a sentence, and whatever is rendered can be read by jansson. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/error.h"
#include "api/parse.h"
#include "api/render.h"
#include "config/escape.h"
#include "config/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    json_object_seed(1); /* the same run every time */
    return 0;
}

static void must(int holds)
{
    if (!holds)
        abort();
}

static void must_be_text(const char *text, size_t len)
{
    const char *end = text + len;

    must(len > 0 && *end == '\0');
    while (text < end) {
        size_t n = utf8_len(text, end);
        must(n > 0 && *text != '\0');
        text += n;
    }
}

static void check_taken(const struct completion_req *req)
{
    must(!req->prompt != !req->prompt_ids);
    if (req->prompt)
        must_be_text(req->prompt, req->prompt_len);
    for (size_t i = 0; i < req->n_prompt_ids; i++)
        must(req->prompt_ids[i] >= 0);
    if (req->model)
        must_be_text(req->model, strlen(req->model));
    must(req->max_tokens >= 0 && req->timeout_ms >= 0 && req->top_k >= 0);
    must(req->temperature >= 0 && req->temperature <= 2);
    must(req->top_p > 0 && req->top_p <= 1 && req->min_p >= 0 && req->min_p <= 1);
    must(req->repetition_penalty > 0 && req->repetition_penalty <= 10);
    must(req->seed <= INT64_MAX && req->n_stops <= LIMIT_STOP_STRINGS);
    for (size_t i = 0; i < req->n_stops; i++) {
        must_be_text(req->stops[i], strlen(req->stops[i]));
        must(strlen(req->stops[i]) <= LIMIT_STOP_BYTES);
    }
}

static void must_be_json(struct buf *buf)
{
    json_t *doc = json_loadb(buf->data, buf->len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);

    must(doc != NULL && !memchr(buf->data, '\n', buf->len));
    json_decref(doc);
    buf_reset(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct completion_req req;
    struct api_error err = {0};
    struct buf buf;
    int r = parse_generate((const char *)data, size, &req, &err);

    buf_init(&buf, 8 * size + 65536);
    if (r == ST_OK) {
        check_taken(&req);
        completion_req_done(&req);
    } else {
        must(err.http_status == 400 && err.message[0] != '\0');
        must(api_error_render(&err, &buf) == ST_OK);
        must_be_json(&buf);
    }
    must(render_piece(&buf, "gen-1", (const char *)data, size) == ST_OK);
    must_be_json(&buf);
    buf_done(&buf);
    return 0;
}
