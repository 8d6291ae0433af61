#include "api/parse.h"

#include <stdio.h>
#include <string.h>

#include "config/limits.h"
#include "unit/config/run_suite.h"

static struct completion_req req;
static struct api_error err;

static int parse_n(const char *body, size_t len)
{
    /* An exact copy, so that ASan sees one byte read too far. */
    char *copy = malloc(len ? len : 1);
    int r;

    memcpy(copy, body, len);
    memset(&err, 0, sizeof(err));
    memset(&req, 0x55, sizeof(req));
    r = parse_generate(copy, len, &req, &err);
    free(copy);
    return r;
}

static void ok(const char *body)
{
    int r = parse_n(body, strlen(body));

    ck_assert_msg(r == ST_OK, "%s: %s", body, err.message);
}

struct bad {
    const char *body;
    enum api_code code;
    const char *param, *says;
};

static void refused(const struct bad *bad, const char *body, size_t len)
{
    unsigned char was[sizeof(req)];

    ck_assert_msg(parse_n(body, len) == ST_INVALID, "%.200s was taken", body);
    ck_assert_msg(err.code == bad->code, "%.200s: %s: %s", body, api_code_name(err.code),
                  err.message);
    ck_assert_int_eq(err.http_status, 400);
    ck_assert_msg(strcmp(err.param, bad->param) == 0, "%.200s: param %s", body, err.param);
    ck_assert_msg(strstr(err.message, bad->says) != NULL, "%.200s: \"%s\" lacks \"%s\"", body,
                  err.message, bad->says);
    memset(was, 0x55, sizeof(was));
    ck_assert_mem_eq(&req, was, sizeof(req)); /* outputs change only on success */
}

static void all_refused(const struct bad *bad, size_t n)
{
    for (size_t i = 0; i < n; i++)
        refused(&bad[i], bad[i].body, strlen(bad[i].body));
}

#define ALL_REFUSED(table) all_refused(table, sizeof(table) / sizeof(table[0]))

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

START_TEST(broken_json)
{
    static const struct bad bad[] = {
        {"", API_INVALID_JSON, "", "the body is empty"},
        {" \r\n\t", API_INVALID_JSON, "", "the body is empty"},
        {"[]", API_INVALID_JSON, "", "must be a JSON object"},
        {"[{\"prompt\":\"a\"}]", API_INVALID_JSON, "", "must be a JSON object"},
        {"\"prompt\"", API_INVALID_JSON, "", "must be a JSON object"},
        {"5", API_INVALID_JSON, "", "must be a JSON object"},
        {"null", API_INVALID_JSON, "", "must be a JSON object"},
        {"prompt=a", API_INVALID_JSON, "", "must be a JSON object"},
        {"\xEF\xBB\xBF{\"prompt\":\"a\"}", API_INVALID_JSON, "", "must be a JSON object"},
        {"{", API_INVALID_JSON, "", "ends at byte 1"},
        {"{\"prompt\":\"a\"", API_INVALID_JSON, "", "ends at byte 13"},
        {"{\"prompt\":\"a", API_INVALID_JSON, "", "ends at byte 12"},
        {"{\"prompt\":\"a\"}}", API_INVALID_JSON, "", "follows the JSON object"},
        {"{\"prompt\":\"a\"} {}", API_INVALID_JSON, "", "follows the JSON object"},
        {"{\"prompt\":\"a\",}", API_INVALID_JSON, "", "not valid JSON at byte"},
        {"{'prompt':'a'}", API_INVALID_JSON, "", "not valid JSON at byte"},
        {"{\"prompt\" \"a\"}", API_INVALID_JSON, "", "not valid JSON at byte"},
        {"{\"prompt\":NaN}", API_INVALID_JSON, "", "not valid JSON at byte"},
        {"{\"prompt\":Infinity}", API_INVALID_JSON, "", "not valid JSON at byte"},
        {"{\"prompt\":01}", API_INVALID_JSON, "", "not valid JSON at byte"},
        {"{\"prompt\":tru}", API_INVALID_JSON, "", "not valid JSON at byte"},
        {"{\"prompt\":\"a\nb\"}", API_INVALID_JSON, "", "not valid JSON at byte"},
        {"{\"prompt\":\"\\x\"}", API_INVALID_JSON, "", "not valid JSON at byte"},
        {"{\"prompt\":\"\\ud800\"}", API_INVALID_JSON, "", "not valid JSON at byte"},
        {"{\"prompt\":\"a\" /* b */}", API_INVALID_JSON, "", "not valid JSON at byte"},
        {"{1:2}", API_INVALID_JSON, "", "not valid JSON at byte"},
        {"{\"prompt\":\"\xFF\"}", API_INVALID_JSON, "", "not valid UTF-8 at byte"},
        {"{\"prompt\":\"\xC0\x80\"}", API_INVALID_JSON, "", "not valid UTF-8"},
        {"{\"prompt\":\"\xED\xA0\x80\"}", API_INVALID_JSON, "", "not valid UTF-8"},
        {"{\"prompt\":\"\xE2\x82\"}", API_INVALID_JSON, "", "not valid UTF-8"},
        {"{\"prompt\":\"a\\u0000b\"}", API_INVALID_VALUE, "prompt", "U+0000"},
        {"{\"prompt\":\"a\",\"stop\":[\"\\u0000\"]}", API_INVALID_VALUE, "stop", "U+0000"},
        {"{\"a\\u0000\":1}", API_INVALID_VALUE, "", "U+0000"},
        {"{\"prompt\":\"a\",\"prompt\":\"b\"}", API_DUPLICATE_FIELD, "prompt",
         "prompt appears twice"},
        {"{\"prompt\":\"a\",\"top_k\":1,\"top_k\":1}", API_DUPLICATE_FIELD, "top_k",
         "top_k appears twice"},
        {"{\"pr\\u006fmpt\":\"a\",\"prompt\":\"b\"}", API_DUPLICATE_FIELD, "prompt",
         "appears twice"},
    };

    ALL_REFUSED(bad);
}
END_TEST

START_TEST(raw_nul_bytes)
{
    static const struct bad bad = {NULL, API_INVALID_JSON, "", "is a NUL"};

    refused(&bad, "{\"prompt\":\"a\0b\"}", 16);
    refused(&bad, "{\"prompt\":\"a\"}\0", 15);
    refused(&(struct bad){NULL, API_INVALID_JSON, "", "must be a JSON object"}, "\0{}", 3);
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

/* `{"prompt":` + unit repeated + tail, n times in all. */
static char *repeated(const char *head, const char *unit, size_t n, const char *tail,
                      size_t *ret_len)
{
    size_t head_len = strlen(head), unit_len = strlen(unit), tail_len = strlen(tail);
    char *body = malloc(head_len + n * unit_len + tail_len + 1);

    memcpy(body, head, head_len);
    for (size_t i = 0; i < n; i++)
        memcpy(body + head_len + i * unit_len, unit, unit_len);
    memcpy(body + head_len + n * unit_len, tail, tail_len + 1);
    *ret_len = head_len + n * unit_len + tail_len;
    return body;
}

static void bomb(const char *head, const char *unit, size_t n, const char *tail,
                 const struct bad *bad)
{
    size_t len;
    char *body = repeated(head, unit, n, tail, &len);

    refused(bad, body, len);
    free(body);
}

START_TEST(bombs)
{
    static const struct bad deep = {NULL, API_INVALID_JSON, "", "nested deeper than 32 levels"};
    static const struct bad many = {NULL, API_INVALID_JSON, "", "arrays and objects"};
    static const struct bad unknown = {NULL, API_UNKNOWN_FIELD, "a", "unknown"};

    bomb("{\"prompt\":", "[", 1000000, "", &deep);
    bomb("{\"prompt\":", "{\"a\":", 100000, "", &deep);
    bomb("{\"prompt\":", "[", LIMIT_JSON_DEPTH, "", &deep); /* with the object: one too deep */
    bomb("{\"prompt\":[", "{},", 300000, "{}]}", &many);
    bomb("{\"prompt\":[", "[],", 300000, "[]]}", &many);
    bomb("{", "\"a\":1,", 150000, "\"a\":1}", &many);
    bomb("{\"a\":\"", "{[:", 100000, "\"}", &unknown); /* inside a string nothing counts */
    bomb("{\"a\":\"\\\"", "{[:", 100000, "\\\\\"}", &unknown);
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

/* Errors are logged and prompts never are: a syntax error must not quote the body. */
START_TEST(errors_do_not_quote_the_prompt)
{
    static const char *const bodies[] = {"{\"prompt\":\"secret\",}",
                                         "{\"prompt\":\"secret\" secret}",
                                         "{\"prompt\":secret}",
                                         "{\"prompt\":\"secret\\x\"}",
                                         "{\"prompt\":\"secret",
                                         "{\"prompt\":[\"secret\"]}",
                                         "{\"prompt\":\"secret\\u0000\"}",
                                         "{\"prompt\":\"secret\xFF\"}"};

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        ck_assert_int_eq(parse_n(bodies[i], strlen(bodies[i])), ST_INVALID);
        ck_assert_msg(strstr(err.message, "secret") == NULL, "%s", err.message);
    }
}
END_TEST

START_TEST(every_prefix_is_refused_cleanly)
{
    static const char body[] = "{\"prompt\":\"\xC3\xA9\\u00e9\",\"stop\":[\"a\"],\"seed\":12,\"top_"
                               "p\":0.5,\"stream\":true}";

    for (size_t len = 0; len < sizeof(body) - 1; len++)
        ck_assert_int_eq(parse_n(body, len), ST_INVALID);
    ck_assert_int_eq(parse_n(body, sizeof(body) - 1), ST_OK);
    completion_req_done(&req);
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
          edges_that_are_allowed, broken_json, raw_nul_bytes, wrong_types, out_of_range,
          values_without_sense, the_first_problem_in_the_text_wins, bombs, large_but_right,
          stop_string_length, a_long_name_is_shown_in_part, errors_do_not_quote_the_prompt,
          every_prefix_is_refused_cleanly, content_types, done_twice_is_fine)
