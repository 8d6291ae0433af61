#include "api/error.h"

#include <jansson.h>
#include <string.h>

#include "config/limits.h"
#include "unit/suite.h"

static const char *str(json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static json_t *rendered(const struct api_error *err)
{
    struct buf buf;
    json_t *doc;

    buf_init(&buf, 65536);
    ck_assert_int_eq(api_error_render(err, &buf), ST_OK);
    ck_assert_ptr_null(strchr(buf.data, '\n'));
    doc = json_loadb(buf.data, buf.len, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_msg(doc != NULL, "not JSON: %s", buf.data);
    buf_done(&buf);
    return doc;
}

START_TEST(every_code_renders_both_worlds)
{
    for (int code = 0; code < API_N_CODES; code++) {
        struct api_error err;
        json_t *doc, *inner;
        api_error_set(&err, (enum api_code)code, NULL, "what %s", "went wrong");
        ck_assert_int_ge(err.http_status, 400);
        ck_assert_int_le(err.http_status, 504);
        doc = rendered(&err);
        inner = json_object_get(doc, "error");
        ck_assert_uint_eq(json_object_size(doc), 5);
        ck_assert_str_eq(str(doc, "type"), "about:blank");
        ck_assert_str_ne(str(doc, "title"), "Error");
        ck_assert_int_eq(json_integer_value(json_object_get(doc, "status")), err.http_status);
        ck_assert_str_eq(str(doc, "detail"), "what went wrong");
        ck_assert_uint_eq(json_object_size(inner), 4);
        ck_assert_str_eq(str(inner, "message"), "what went wrong");
        ck_assert_str_eq(str(inner, "code"), api_code_name((enum api_code)code));
        ck_assert_str_eq(str(inner, "type"), api_code_type((enum api_code)code));
        ck_assert(json_is_null(json_object_get(inner, "param")));
        json_decref(doc);
    }
}
END_TEST

START_TEST(names_are_unique)
{
    for (int a = 0; a < API_N_CODES; a++)
        for (int b = a + 1; b < API_N_CODES; b++)
            ck_assert_str_ne(api_code_name((enum api_code)a), api_code_name((enum api_code)b));
}
END_TEST

START_TEST(hostile_text_stays_json)
{
    struct api_error err;
    json_t *doc;

    api_error_set(&err, API_UNKNOWN_FIELD, "a\"\n\x01", "field \"%s\"", "\xff\"}\n");
    doc = rendered(&err);
    ck_assert_str_eq(str(json_object_get(doc, "error"), "param"), "a\"\n\x01");
    ck_assert_str_eq(str(doc, "detail"), "field \"\xEF\xBF\xBD\"}\n\"");
    json_decref(doc);
}
END_TEST

START_TEST(long_text_is_cut_between_characters)
{
    static char text[2000];
    struct api_error err;
    json_t *doc;

    for (size_t shift = 0; shift < 4; shift++) {
        size_t n = shift;
        memset(text, 'x', shift);
        while (n + 4 < sizeof(text))
            memcpy(text + n, "\xF0\x9F\x99\x82", 4), n += 4;
        text[n] = '\0';
        api_error_set(&err, API_INTERNAL, text, "%s", text);
        doc = rendered(&err);
        ck_assert_ptr_null(strstr(str(doc, "detail"), "\xEF\xBF\xBD"));
        ck_assert_ptr_null(strstr(str(json_object_get(doc, "error"), "param"), "\xEF\xBF\xBD"));
        ck_assert_uint_ge(strlen(err.message), sizeof(err.message) - 5);
        json_decref(doc);
        api_error_model(&err, text, "smol");
        ck_assert_ptr_nonnull(strstr(err.message, "smol"));
        doc = rendered(&err);
        ck_assert_ptr_null(strstr(str(doc, "detail"), "\xEF\xBF\xBD"));
        json_decref(doc);
    }
}
END_TEST

static void says(const struct api_error *err, int status, const char *code, const char *param,
                 const char *part)
{
    ck_assert_int_eq(err->http_status, status);
    ck_assert_str_eq(api_code_name(err->code), code);
    ck_assert_str_eq(err->param, param);
    ck_assert_msg(strstr(err->message, part) != NULL, "\"%s\" lacks \"%s\"", err->message, part);
}

START_TEST(the_servers_refusals)
{
    struct api_error err;

    api_error_context(&err, 8000, 1000000, 8192);
    says(&err, 400, "context_length_exceeded", "max_tokens", "8000");
    says(&err, 400, "context_length_exceeded", "max_tokens", "1000000");
    says(&err, 400, "context_length_exceeded", "max_tokens", "8192");
    api_error_context(&err, 9000, 0, 8192);
    says(&err, 400, "context_length_exceeded", "prompt", "9000 tokens");
    says(&err, 400, "context_length_exceeded", "prompt", "8192");
    api_error_prompt_bytes(&err, 1000000, 8192);
    says(&err, 400, "context_length_exceeded", "prompt", "1000000 bytes");
    api_error_vocab(&err, 3, 50000, 49152);
    says(&err, 400, "token_out_of_vocabulary", "prompt",
         "prompt[3] is token id 50000, but the vocabulary has ids 0 to 49151");
    api_error_model(&err, "gpt", "smol");
    says(&err, 404, "model_not_found", "model", "ask for \"smol\"");
    api_error_route(&err, "GET", "/nope");
    says(&err, 404, "route_not_found", "", "GET /nope");
    api_error_method(&err, "PUT", "/v1/generate", "POST");
    says(&err, 405, "method_not_allowed", "", "use POST");
    api_error_media(&err, "text/plain");
    says(&err, 415, "unsupported_media_type", "", "Content-Type: application/json");
    api_error_body_too_large(&err, LIMIT_BODY_BYTES);
    says(&err, 413, "body_too_large", "", "1048576 bytes");
    api_error_queue_full(&err, 128, 3);
    says(&err, 429, "queue_full", "", "try again in 3 s");
    api_error_deadline(&err, 500);
    says(&err, 504, "deadline_exceeded", "timeout_ms", "500 ms");
}
END_TEST

START_TEST(in_stream_error_is_only_the_member)
{
    struct api_error err;
    struct buf buf;

    buf_init(&buf, 4096);
    api_error_set(&err, API_INTERNAL, NULL, "broken");
    ck_assert_int_eq(api_error_render_event(&err, &buf), ST_OK);
    ck_assert_str_eq(buf.data,
                     "{\"error\":{\"message\":\"broken\",\"type\":\"server_error\",\"param\":null,"
                     "\"code\":\"internal_error\"}}");
    buf_done(&buf);
}
END_TEST

RUN_SUITE("api_error", every_code_renders_both_worlds, names_are_unique, hostile_text_stays_json,
          long_text_is_cut_between_characters, the_servers_refusals,
          in_stream_error_is_only_the_member)
