#include <check.h>
#include <string.h>

#include "config/status.h"
#include "server/filter.h"
#include "unit/suite.h"

struct header {
    const char *name, *value;
};

static const struct filter_case {
    const char *version;
    struct header headers[4];
    int status; /* 200, 400 or 501 */
} cases[] = {
    {"HTTP/1.1", {{"Host", "a"}}, 200},
    {"HTTP/1.1", {{"Host", "a"}, {"Content-Length", "12"}}, 200},
    {"HTTP/1.1", {{"host", "a"}, {"TRANSFER-ENCODING", "Chunked"}}, 200},
    {"HTTP/1.0", {{"Content-Length", "12"}}, 200},
    {"HTTP/1.0", {{"X", "y"}}, 200},
    {"HTTP/1.1", {{"Host", "a"}, {"!#$%&'*+-.^_`|~09azAZ", ""}}, 200},
    {"HTTP/1.1", {{"Host", "a"}, {"Content-Type", "x"}, {"Content-Language", "x"}}, 200},

    {"HTTP/1.1", {{"X", "y"}}, 400},
    {"HTTP/1.1", {{"Host", "a"}, {"Host", "a"}}, 400},
    {"HTTP/1.0", {{"Host", "a"}, {"Host", "a"}}, 400},
    {"HTTP/1.1", {{"Host", "a"}, {"Content-Length", "3"}, {"content-length", "3"}}, 400},
    {"HTTP/1.1", {{"Host", "a"}, {"Content-Length", "3"}, {"Transfer-Encoding", "chunked"}}, 400},
    {"HTTP/1.1", {{"Host", "a"}, {"Content-Length", "3"}, {"Transfer-Encoding", "gzip"}}, 400},
    {"HTTP/1.1", {{"Host", "a"}, {"Content-Length", ""}}, 400},
    {"HTTP/1.1", {{"Host", "a"}, {"Content-Length", "+3"}}, 400},
    {"HTTP/1.1", {{"Host", "a"}, {"Content-Length", " 3"}}, 400},
    {"HTTP/1.1", {{"Host", "a"}, {"Content-Length", "3,3"}}, 400},
    {"HTTP/1.1", {{"Host", "a"}, {"Content-Length3", ""}}, 400},
    {"HTTP/1.1", {{"Host", "a"}, {"Content-Length ", "3"}}, 400},
    {"HTTP/1.1", {{"Host", "a"}, {"Transfer-Encoding ", "chunked"}}, 400},
    {"HTTP/1.1", {{"Host", "a"}, {"Transfer-Encodingchunked", ""}}, 400},
    {"HTTP/1.1", {{"Host", "a"}, {"X Y", "1"}}, 400},
    {"HTTP/1.1", {{"Host", "a"}, {"X\x7f", "1"}}, 400},
    {"HTTP/1.1", {{"Host", "a"}, {"X\xc3\xa9", "1"}}, 400},
    {"HTTP/1.1", {{"Host", "a"}, {"", "1"}}, 400},
    {"HTTP/1.0", {{"Transfer-Encoding", "chunked"}}, 400},
    {"HTTP/1.1",
     {{"Host", "a"}, {"Transfer-Encoding", "chunked"}, {"Transfer-Encoding", "chunked"}},
     400},

    {"HTTP/1.1", {{"Host", "a"}, {"Transfer-Encoding", "gzip"}}, 501},
    {"HTTP/1.1", {{"Host", "a"}, {"Transfer-Encoding", "gzip, chunked"}}, 501},
    {"HTTP/1.1", {{"Host", "a"}, {"Transfer-Encoding", "xchunked"}}, 501},
    {"HTTP/1.1", {{"Host", "a"}, {"Transfer-Encoding", ""}}, 501},
};

static void check_case(const struct filter_case *c)
{
    struct filter filter = {0};
    struct api_error err = {.http_status = 200};

    for (unsigned i = 0; i < 4 && c->headers[i].name; i++)
        filter_header(&filter, c->headers[i].name, strlen(c->headers[i].name), c->headers[i].value,
                      strlen(c->headers[i].value));
    int r = filter_verdict(&filter, c->version, &err);
    ck_assert_int_eq(err.http_status, c->status);
    ck_assert_int_eq(r, c->status == 200 ? ST_OK : ST_INVALID);
}

START_TEST(test_table)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_case(&cases[i]);
}
END_TEST

static uint64_t length_of(const char *digits)
{
    struct filter filter = {0};

    filter_header(&filter, "Content-Length", 14, digits, strlen(digits));
    ck_assert(!filter.bad_length);
    return filter.length;
}

START_TEST(test_lengths_that_overflow_stay_huge)
{
    ck_assert_uint_eq(length_of("0"), 0);
    ck_assert_uint_eq(length_of("1048577"), 1048577);
    ck_assert_uint_eq(length_of("18446744073709551615"), UINT64_MAX);
    ck_assert_uint_gt(length_of("18446744073709551616"), UINT64_MAX / 100);
    ck_assert_uint_gt(length_of("99999999999999999999999999999999999999999"), UINT64_MAX / 100);
    ck_assert_uint_gt(length_of("184467440737095516160"), UINT64_MAX / 100);
}
END_TEST

START_TEST(test_a_body_is_expected)
{
    struct filter filter = {0};

    ck_assert(!filter_has_body(&filter));
    filter_header(&filter, "Content-Length", 14, "0", 1);
    ck_assert(!filter_has_body(&filter));
    filter_header(&filter, "Transfer-Encoding", 17, "chunked", 7);
    ck_assert(filter_has_body(&filter));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_table, test_lengths_that_overflow_stay_huge,
                                  test_a_body_is_expected, NULL};

    return suite_run("filter", tests, 10);
}
