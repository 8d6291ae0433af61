/* The oracle is jansson: it must read what was rendered, and find the same values. */
#include "api/render.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "unit/suite.h"

static struct buf buf;

static json_t *parsed(int status)
{
    json_t *doc;

    ck_assert_int_eq(status, ST_OK);
    ck_assert_ptr_null(memchr(buf.data, '\n', buf.len));
    doc = json_loadb(buf.data, buf.len, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_msg(doc != NULL, "not JSON: %s", buf.data);
    buf_reset(&buf);
    return doc;
}

static struct generate_result sample(void)
{
    return (struct generate_result){.id = "gen-1",
                                    .created = 1795518000,
                                    .model = "smol \"lm\"",
                                    .text = "a\n\"b\xF0\x9F\x99\x82",
                                    .text_len = 8,
                                    .seed = INT64_MAX,
                                    .finish = FINISH_LENGTH,
                                    .prompt_tokens = 3,
                                    .completion_tokens = 5,
                                    .timings = {0.0004, 12.3456, 1e6, NAN, -1}};
}

static json_t *at(json_t *doc, const char *path)
{
    char key[64];

    while (*path) {
        size_t len = strcspn(path, ".");
        memcpy(key, path, len);
        key[len] = '\0';
        doc = json_object_get(doc, key);
        path += len + (path[len] == '.');
    }
    ck_assert_ptr_nonnull(doc);
    return doc;
}

START_TEST(whole_answer)
{
    struct generate_result result = sample();
    json_t *doc;

    buf_init(&buf, 65536);
    doc = parsed(render_generate(&buf, &result));
    ck_assert_uint_eq(json_object_size(doc), 10);
    ck_assert_str_eq(json_string_value(at(doc, "id")), "gen-1");
    ck_assert_str_eq(json_string_value(at(doc, "object")), "generation");
    ck_assert_int_eq(json_integer_value(at(doc, "created")), 1795518000);
    ck_assert_str_eq(json_string_value(at(doc, "model")), "smol \"lm\"");
    ck_assert_str_eq(json_string_value(at(doc, "text")), result.text);
    ck_assert_int_eq(json_integer_value(at(doc, "seed")), INT64_MAX);
    ck_assert_str_eq(json_string_value(at(doc, "finish_reason")), "length");
    ck_assert(json_is_null(at(doc, "stop_reason")));
    ck_assert_int_eq(json_integer_value(at(doc, "usage.prompt_tokens")), 3);
    ck_assert_int_eq(json_integer_value(at(doc, "usage.completion_tokens")), 5);
    ck_assert_int_eq(json_integer_value(at(doc, "usage.total_tokens")), 8);
    ck_assert_int_eq(json_integer_value(at(doc, "usage.prompt_tokens_details.cached_tokens")), 0);
    ck_assert_double_eq(json_real_value(at(doc, "timings.queue_ms")), 0.0);
    ck_assert_double_eq(json_real_value(at(doc, "timings.prefill_ms")), 12.346);
    ck_assert_double_eq(json_real_value(at(doc, "timings.decode_ms")), 1e6);
    ck_assert_double_eq(json_real_value(at(doc, "timings.ttft_ms")), 0.0);
    ck_assert_double_eq(json_real_value(at(doc, "timings.total_ms")), 0.0);
    json_decref(doc);
    buf_done(&buf);
}
END_TEST

START_TEST(stop_reasons)
{
    struct generate_result result = sample();
    json_t *doc;

    buf_init(&buf, 65536);
    result.finish = FINISH_STOP;
    result.stop_kind = STOP_STRING;
    result.stop_string = "\n\n";
    doc = parsed(render_generate(&buf, &result));
    ck_assert_str_eq(json_string_value(at(doc, "stop_reason")), "\n\n");
    ck_assert_str_eq(json_string_value(at(doc, "finish_reason")), "stop");
    json_decref(doc);
    result.stop_kind = STOP_TOKEN;
    result.stop_token = 2;
    doc = parsed(render_generate(&buf, &result));
    ck_assert_int_eq(json_integer_value(at(doc, "stop_reason")), 2);
    json_decref(doc);
    result.finish = FINISH_DEADLINE;
    doc = parsed(render_generate(&buf, &result));
    ck_assert_str_eq(json_string_value(at(doc, "finish_reason")), "deadline");
    json_decref(doc);
    buf_done(&buf);
}
END_TEST

START_TEST(pieces)
{
    struct generate_result result = sample();
    json_t *doc;

    buf_init(&buf, 65536);
    ck_assert_int_eq(render_piece(&buf, "gen-1", "he", 2), ST_OK);
    ck_assert_str_eq(buf.data, "{\"id\":\"gen-1\",\"index\":0,\"text\":\"he\"}");
    buf_reset(&buf);
    result.text = "";
    result.text_len = 0;
    doc = parsed(render_last_piece(&buf, &result));
    ck_assert_uint_eq(json_object_size(doc), 11);
    ck_assert_int_eq(json_integer_value(at(doc, "index")), 0);
    ck_assert_str_eq(json_string_value(at(doc, "text")), "");
    ck_assert_str_eq(json_string_value(at(doc, "finish_reason")), "length");
    json_decref(doc);
    buf_done(&buf);
}
END_TEST

START_TEST(models_and_status)
{
    const struct quality quality = {.kld_mean = 0.25, .ctx = 512, .scheme = "a\"b"};
    const struct model_entry entries[] = {{"a", 1, 8192, "llama", "int8-h64-g64", "int8", NULL},
                                          {"b\"", 2, 16, "qwen2", "fp32", "fp32", &quality}};
    json_t *doc, *second;

    buf_init(&buf, 65536);
    doc = parsed(render_models(&buf, entries, 2));
    ck_assert_str_eq(json_string_value(at(doc, "object")), "list");
    ck_assert_uint_eq(json_array_size(at(doc, "data")), 2);
    second = json_array_get(at(doc, "data"), 1);
    ck_assert_str_eq(json_string_value(at(second, "id")), "b\"");
    ck_assert_str_eq(json_string_value(at(second, "object")), "model");
    ck_assert_str_eq(json_string_value(at(second, "owned_by")), "octet");
    ck_assert_str_eq(json_string_value(at(second, "arch")), "qwen2");
    ck_assert_str_eq(json_string_value(at(second, "scheme")), "fp32");
    ck_assert_str_eq(json_string_value(at(second, "precision")), "fp32");
    ck_assert_int_eq(json_integer_value(at(second, "max_model_len")), 16);
    ck_assert_int_eq(json_integer_value(at(second, "created")), 2);
    ck_assert_double_eq(json_number_value(at(at(second, "quality"), "kld_mean")), 0.25);
    ck_assert_int_eq(json_integer_value(at(at(second, "quality"), "ctx")), 512);
    ck_assert_str_eq(json_string_value(at(at(second, "quality"), "scheme")), "a\"b");
    ck_assert(json_is_null(at(json_array_get(at(doc, "data"), 0), "quality")));
    json_decref(doc);
    doc = parsed(render_models(&buf, NULL, 0));
    ck_assert_uint_eq(json_array_size(at(doc, "data")), 0);
    json_decref(doc);
    ck_assert_int_eq(render_status(&buf, "loading"), ST_OK);
    ck_assert_str_eq(buf.data, "{\"status\":\"loading\"}");
    buf_done(&buf);
}
END_TEST

START_TEST(any_bytes_give_valid_json)
{
    char bytes[700];
    uint32_t state = 7;

    buf_init(&buf, 65536);
    for (int round = 0; round < 500; round++) {
        for (size_t i = 0; i < sizeof(bytes); i++) {
            state = state * 1664525u + 1013904223u;
            bytes[i] = (char)(state >> 24);
        }
        bytes[round] = '\0';
        json_t *doc;
        ck_assert_int_eq(render_piece(&buf, "x", bytes, sizeof(bytes)), ST_OK);
        doc = json_loadb(buf.data, buf.len, JSON_ALLOW_NUL, NULL);
        ck_assert_ptr_nonnull(doc);
        json_decref(doc);
        buf_reset(&buf);
    }
    buf_done(&buf);
}
END_TEST

START_TEST(a_full_buffer_is_reported)
{
    struct generate_result result = sample();

    buf_init(&buf, 100);
    ck_assert_int_eq(render_generate(&buf, &result), ST_TOOLONG);
    ck_assert_int_eq(buf.status, ST_TOOLONG);
    buf_done(&buf);
}
END_TEST

RUN_SUITE("render", whole_answer, stop_reasons, pieces, models_and_status,
          any_bytes_give_valid_json, a_full_buffer_is_reported)
