#include "api/parse.h"

#include "unit/api/refused.h"

START_TEST(defaults_are_the_documented_ones)
{
    ok("{\"prompt\":\"Hi\"}");
    ck_assert_str_eq(req.prompt, "Hi");
    ck_assert_uint_eq(req.prompt_len, 2);
    ck_assert_ptr_null(req.prompt_ids);
    ck_assert_ptr_null(req.model);
    ck_assert(req.parse_special);
    ck_assert_int_eq(req.max_tokens, 0);
    ck_assert(!req.stream);
    ck_assert_double_eq(req.temperature, 1);
    ck_assert_int_eq(req.top_k, 0);
    ck_assert_double_eq(req.top_p, 1);
    ck_assert_double_eq(req.min_p, 0);
    ck_assert_double_eq(req.repetition_penalty, 1);
    ck_assert(!req.has_seed);
    ck_assert_uint_eq(req.n_stops, 0);
    ck_assert(!req.ignore_eos);
    ck_assert_int_eq(req.timeout_ms, 0);
    completion_req_done(&req);
}
END_TEST

START_TEST(every_field)
{
    ok(" {\"prompt\":\"\\u00e9\\ud83d\\ude42\",\"model\":\"m\",\"max_tokens\":1000000,\"stream\":"
       "true,\"temperature\":2,"
       "\"top_k\":40,\"top_p\":0.9,\"min_p\":1,\"repetition_penalty\":10,\"seed\":"
       "9223372036854775807,"
       "\"stop\":[\"a\",\"bc\"],\"ignore_eos\":true,\"parse_special\":false,\"timeout_ms\":5}\r\n");
    ck_assert_str_eq(req.prompt, "\xC3\xA9\xF0\x9F\x99\x82");
    ck_assert_uint_eq(req.prompt_len, 6);
    ck_assert_str_eq(req.model, "m");
    ck_assert_int_eq(req.max_tokens, 1000000);
    ck_assert(req.stream && req.ignore_eos && !req.parse_special);
    ck_assert_double_eq(req.temperature, 2);
    ck_assert_int_eq(req.top_k, 40);
    ck_assert_double_eq(req.top_p, 0.9);
    ck_assert_double_eq(req.min_p, 1);
    ck_assert_double_eq(req.repetition_penalty, 10);
    ck_assert(req.has_seed);
    ck_assert(req.seed == INT64_MAX);
    ck_assert_uint_eq(req.n_stops, 2);
    ck_assert_str_eq(req.stops[0], "a");
    ck_assert_str_eq(req.stops[1], "bc");
    ck_assert_int_eq(req.timeout_ms, 5);
    completion_req_done(&req);
}
END_TEST

START_TEST(token_ids)
{
    ok("{\"prompt\":[0,1,2147483647,5.0],\"stop\":\"x\"}");
    ck_assert_ptr_null(req.prompt);
    ck_assert_uint_eq(req.n_prompt_ids, 4);
    ck_assert_int_eq(req.prompt_ids[0], 0);
    ck_assert_int_eq(req.prompt_ids[2], INT32_MAX);
    ck_assert_int_eq(req.prompt_ids[3], 5);
    ck_assert_uint_eq(req.n_stops, 1);
    ck_assert_str_eq(req.stops[0], "x");
    completion_req_done(&req);
}
END_TEST

START_TEST(null_is_absent)
{
    ok("{\"prompt\":\"a\",\"model\":null,\"max_tokens\":null,\"stream\":null,\"temperature\":null,"
       "\"top_k\":null,"
       "\"top_p\":null,\"min_p\":null,\"repetition_penalty\":null,\"seed\":null,\"stop\":null,"
       "\"ignore_eos\":null,"
       "\"parse_special\":null,\"timeout_ms\":null}");
    ck_assert_double_eq(req.temperature, 1);
    ck_assert(req.parse_special && !req.has_seed);
    completion_req_done(&req);
}
END_TEST

START_TEST(edges_that_are_allowed)
{
    static const char *const good[] = {
        "{\"prompt\":\"a\",\"max_tokens\":1}",
        "{\"prompt\":\"a\",\"max_tokens\":2147483647}",
        "{\"prompt\":\"a\",\"max_tokens\":1e6}", /* JSON has one kind of number: this is the integer
                                                    1000000 */
        "{\"prompt\":\"a\",\"temperature\":0}",
        "{\"prompt\":\"a\",\"temperature\":2.0}",
        "{\"prompt\":\"a\",\"temperature\":-0.0}",
        "{\"prompt\":\"a\",\"top_p\":1}",
        "{\"prompt\":\"a\",\"top_p\":1e-9}",
        "{\"prompt\":\"a\",\"min_p\":0}",
        "{\"prompt\":\"a\",\"repetition_penalty\":1e-3}",
        "{\"prompt\":\"a\",\"seed\":0}",
        "{\"prompt\":\"a\",\"stop\":[]}",
        "{\"prompt\":\" \"}",
        "{\"prompt\":\"\xEF\xBF\xBF\"}",
        "{\"prompt\":\"a\",\"top_k\":2147483647}",
    };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ok(good[i]);
        completion_req_done(&req);
    }
}
END_TEST

START_TEST(wrong_types)
{
    static const struct bad bad[] = {
        {"{\"prompt\":5}", API_WRONG_TYPE, "prompt",
         "prompt must be a string or an array of token ids, not an integer"},
        {"{\"prompt\":{}}", API_WRONG_TYPE, "prompt", "not an object"},
        {"{\"prompt\":true}", API_WRONG_TYPE, "prompt", "not true"},
        {"{\"prompt\":[\"a\"]}", API_WRONG_TYPE, "prompt",
         "prompt[0] must be a token id, an integer, not a string"},
        {"{\"prompt\":[1,null]}", API_WRONG_TYPE, "prompt",
         "prompt[1] must be a token id, an integer, not null"},
        {"{\"prompt\":[1,2,3.5]}", API_WRONG_TYPE, "prompt", "prompt[2] must be a token id"},
        {"{\"prompt\":[[1]]}", API_WRONG_TYPE, "prompt", "not an array"},
        {"{\"prompt\":\"a\",\"model\":5}", API_WRONG_TYPE, "model",
         "model must be a string, not an integer"},
        {"{\"prompt\":\"a\",\"max_tokens\":\"5\"}", API_WRONG_TYPE, "max_tokens",
         "max_tokens must be an integer, not a string"},
        {"{\"prompt\":\"a\",\"max_tokens\":5.5}", API_WRONG_TYPE, "max_tokens", "an integer"},
        {"{\"prompt\":\"a\",\"max_tokens\":1e300}", API_WRONG_TYPE, "max_tokens", "an integer"},
        {"{\"prompt\":\"a\",\"max_tokens\":true}", API_WRONG_TYPE, "max_tokens", "not true"},
        {"{\"prompt\":\"a\",\"stream\":1}", API_WRONG_TYPE, "stream",
         "stream must be true or false, not an integer"},
        {"{\"prompt\":\"a\",\"stream\":\"true\"}", API_WRONG_TYPE, "stream", "not a string"},
        {"{\"prompt\":\"a\",\"temperature\":\"hot\"}", API_WRONG_TYPE, "temperature",
         "temperature must be a number, not a string"},
        {"{\"prompt\":\"a\",\"temperature\":false}", API_WRONG_TYPE, "temperature", "not false"},
        {"{\"prompt\":\"a\",\"top_p\":[]}", API_WRONG_TYPE, "top_p", "not an array"},
        {"{\"prompt\":\"a\",\"seed\":\"1\"}", API_WRONG_TYPE, "seed", "an integer"},
        {"{\"prompt\":\"a\",\"seed\":0.5}", API_WRONG_TYPE, "seed", "an integer"},
        {"{\"prompt\":\"a\",\"stop\":5}", API_WRONG_TYPE, "stop",
         "stop must be a string or an array of strings"},
        {"{\"prompt\":\"a\",\"stop\":[\"a\",5]}", API_WRONG_TYPE, "stop",
         "stop[1] must be a string, not an integer"},
        {"{\"prompt\":\"a\",\"stop\":[null]}", API_WRONG_TYPE, "stop",
         "stop[0] must be a string, not null"},
        {"{\"prompt\":\"a\",\"ignore_eos\":0}", API_WRONG_TYPE, "ignore_eos", "true or false"},
        {"{\"prompt\":\"a\",\"parse_special\":{}}", API_WRONG_TYPE, "parse_special",
         "true or false"},
        {"{\"prompt\":\"a\",\"timeout_ms\":\"1s\"}", API_WRONG_TYPE, "timeout_ms", "an integer"},
    };

    ALL_REFUSED(bad);
}
END_TEST

START_TEST(out_of_range)
{
    static const struct bad bad[] = {
        {"{\"prompt\":\"a\",\"max_tokens\":0}", API_OUT_OF_RANGE, "max_tokens",
         "max_tokens must be 1 to 2147483647, not 0"},
        {"{\"prompt\":\"a\",\"max_tokens\":-5}", API_OUT_OF_RANGE, "max_tokens", "not -5"},
        {"{\"prompt\":\"a\",\"max_tokens\":2147483648}", API_OUT_OF_RANGE, "max_tokens",
         "not 2147483648"},
        {"{\"prompt\":\"a\",\"max_tokens\":99999999999999999999}", API_OUT_OF_RANGE, "max_tokens",
         "1 to 2147483647"},
        {"{\"prompt\":\"a\",\"temperature\":1e999}", API_OUT_OF_RANGE, "temperature",
         "temperature must be 0 to 2"},
        {"{\"prompt\":[1,99999999999999999999]}", API_OUT_OF_RANGE, "prompt",
         "prompt is out of range"},
        {"{\"prompt\":\"a\",\"temperature\":-1}", API_OUT_OF_RANGE, "temperature",
         "temperature must be 0 to 2, not -1"},
        {"{\"prompt\":\"a\",\"temperature\":2.01}", API_OUT_OF_RANGE, "temperature", "not 2.01"},
        {"{\"prompt\":\"a\",\"top_k\":-1}", API_OUT_OF_RANGE, "top_k",
         "top_k must be 0 to 2147483647, not -1"},
        {"{\"prompt\":\"a\",\"top_p\":0}", API_OUT_OF_RANGE, "top_p",
         "top_p must be above 0 and at most 1, not 0"},
        {"{\"prompt\":\"a\",\"top_p\":1.1}", API_OUT_OF_RANGE, "top_p", "not 1.1"},
        {"{\"prompt\":\"a\",\"min_p\":-0.1}", API_OUT_OF_RANGE, "min_p",
         "min_p must be 0 to 1, not -0.1"},
        {"{\"prompt\":\"a\",\"repetition_penalty\":0}", API_OUT_OF_RANGE, "repetition_penalty",
         "above 0 and at most 10"},
        {"{\"prompt\":\"a\",\"repetition_penalty\":10.5}", API_OUT_OF_RANGE, "repetition_penalty",
         "at most 10, not 10.5"},
        {"{\"prompt\":\"a\",\"seed\":-1}", API_OUT_OF_RANGE, "seed",
         "seed must be 0 to 9223372036854775807, not -1"},
        {"{\"prompt\":\"a\",\"seed\":9223372036854775808}", API_OUT_OF_RANGE, "seed",
         "seed must be 0 to 9223372036854775807"},
        {"{\"prompt\":\"a\",\"timeout_ms\":0}", API_OUT_OF_RANGE, "timeout_ms",
         "timeout_ms must be 1 to 2147483647, not 0"},
        {"{\"prompt\":[-1]}", API_OUT_OF_RANGE, "prompt",
         "prompt[0] must be a token id, 0 to 2147483647, not -1"},
        {"{\"prompt\":[1,2147483648]}", API_OUT_OF_RANGE, "prompt", "prompt[1]"},
        {"{\"prompt\":\"a\",\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\","
         "\"11\",\"12\",\"13\","
         "\"14\",\"15\",\"16\",\"17\"]}",
         API_OUT_OF_RANGE, "stop", "stop has 17 strings: at most 16"},
    };

    ALL_REFUSED(bad);
}
END_TEST

START_TEST(values_without_sense)
{
    static const struct bad bad[] = {
        {"{}", API_MISSING_FIELD, "prompt", "prompt is missing"},
        {"{\"prompt\":null}", API_MISSING_FIELD, "prompt", "prompt is missing"},
        {"{\"max_tokens\":5}", API_MISSING_FIELD, "prompt", "prompt is missing"},
        {"{\"prompt\":\"\"}", API_INVALID_VALUE, "prompt", "prompt is an empty string"},
        {"{\"prompt\":[]}", API_INVALID_VALUE, "prompt", "prompt is an empty array"},
        {"{\"prompt\":\"a\",\"model\":\"\"}", API_INVALID_VALUE, "model",
         "model is an empty string"},
        {"{\"prompt\":\"a\",\"stop\":\"\"}", API_INVALID_VALUE, "stop", "stop is an empty string"},
        {"{\"prompt\":\"a\",\"stop\":[\"a\",\"\"]}", API_INVALID_VALUE, "stop",
         "stop[1] is an empty string"},
        {"{\"prompt\":\"a\",\"max_token\":5}", API_UNKNOWN_FIELD, "max_token",
         "unknown field \"max_token\""},
        {"{\"prompt\":\"a\",\"Temperature\":1}", API_UNKNOWN_FIELD, "Temperature",
         "unknown field \"Temperature\""},
        {"{\"prompt\":\"a\",\"\":1}", API_UNKNOWN_FIELD, "", "unknown field \"\""},
        {"{\"prompt\":\"a\",\"x\":null}", API_UNKNOWN_FIELD, "x", "unknown field \"x\""},
    };

    ALL_REFUSED(bad);
}
END_TEST

START_TEST(the_first_problem_in_the_text_wins)
{
    static const struct bad bad[] = {
        {"{\"temperature\":9,\"nope\":1,\"prompt\":\"\"}", API_OUT_OF_RANGE, "temperature",
         "temperature"},
        {"{\"nope\":1,\"temperature\":9,\"prompt\":\"\"}", API_UNKNOWN_FIELD, "nope", "nope"},
        {"{\"prompt\":\"\",\"nope\":1,\"temperature\":9}", API_INVALID_VALUE, "prompt", "prompt"},
    };

    ALL_REFUSED(bad);
}
END_TEST

START_TEST(large_but_right)
{
    size_t len;
    char *body = repeated("{\"prompt\":[", "7,", 500000, "7]}", &len);

    ck_assert_int_eq(parse_n(body, len), ST_OK);
    ck_assert_uint_eq(req.n_prompt_ids, 500001);
    ck_assert_int_eq(req.prompt_ids[500000], 7);
    completion_req_done(&req);
    free(body);
    body = repeated("{\"prompt\":\"", "\xC3\xA9", 500000, "\"}", &len);
    ck_assert_int_eq(parse_n(body, len), ST_OK);
    ck_assert_uint_eq(req.prompt_len, 1000000);
    completion_req_done(&req);
    free(body);
}
END_TEST

START_TEST(stop_string_length)
{
    size_t len;
    char *body = repeated("{\"prompt\":\"a\",\"stop\":\"", "x", LIMIT_STOP_BYTES, "\"}", &len);

    ck_assert_int_eq(parse_n(body, len), ST_OK);
    completion_req_done(&req);
    free(body);
    bomb("{\"prompt\":\"a\",\"stop\":\"", "x", LIMIT_STOP_BYTES + 1, "\"}",
         &(struct bad){NULL, API_OUT_OF_RANGE, "stop", "stop has 1025 bytes: at most 1024"});
}
END_TEST

START_TEST(a_long_name_is_shown_in_part)
{
    size_t len;
    char *body = repeated("{\"", "\xE2\x82\xAC", 1000, "\":1}", &len);

    ck_assert_int_eq(parse_n(body, len), ST_INVALID);
    ck_assert_int_eq(err.code, API_UNKNOWN_FIELD);
    ck_assert_uint_eq(strlen(err.param), 63); /* 21 whole characters of 3 bytes */
    ck_assert_ptr_nonnull(strstr(err.message, "..."));
    free(body);
}
END_TEST

START_TEST(content_types)
{
    static const char *const good[] = {
        "application/json",       "application/json; charset=utf-8", "Application/JSON",
        " application/json ;x=y", "application/vnd.api+json",        "application/json;"};
    static const char *const bad[] = {"",
                                      "text/plain",
                                      "application/jsonp",
                                      "application/x-www-form-urlencoded",
                                      "text/json2",
                                      "application/+json",
                                      "json",
                                      "application/xml; a=application/json"};

    ck_assert(parse_is_json(NULL));
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        ck_assert_msg(parse_is_json(good[i]), "%s", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(!parse_is_json(bad[i]), "%s", bad[i]);
}
END_TEST

START_TEST(done_twice_is_fine)
{
    struct completion_req empty = {0};

    parse_init();
    completion_req_done(&empty);
    ok("{\"prompt\":\"a\",\"stop\":[\"b\"]}");
    completion_req_done(&req);
    completion_req_done(&req);
}
END_TEST

RUN_SUITE("parse", defaults_are_the_documented_ones, every_field, token_ids, null_is_absent,
          edges_that_are_allowed, wrong_types, out_of_range, values_without_sense,
          the_first_problem_in_the_text_wins, large_but_right, stop_string_length,
          a_long_name_is_shown_in_part, content_types, done_twice_is_fine)
