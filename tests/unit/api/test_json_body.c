/* Bodies that are no JSON object, or a hostile one: seen through parse_generate(), as the server
 * sees them. */
#include "api/json_body.h"

#include "unit/api/refused.h"

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

RUN_SUITE("json_body", broken_json, raw_nul_bytes, bombs, errors_do_not_quote_the_prompt,
          every_prefix_is_refused_cleanly)
