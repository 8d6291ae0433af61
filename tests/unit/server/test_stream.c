#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/status.h"
#include "server/stream.h"
#include "unit/suite.h"

static struct stream stream;

static void setup(void)
{
    stream_init(&stream, 1000, 0);
}

static void teardown(void)
{
    stream_done(&stream);
}

/* Everything that is there, in bites of n bytes. */
static size_t read_all(char *out, size_t cap, size_t n)
{
    size_t len = 0, got;

    while ((got = stream_read(&stream, out + len, n)) > 0) {
        len += got;
        ck_assert_uint_lt(len, cap);
    }
    out[len] = '\0';
    return len;
}

START_TEST(test_frames_in_order_whatever_the_bites)
{
    char out[4096];

    for (size_t n = 1; n < 200; n++) {
        setup();
        stream_piece(&stream, "gen-1", "a", 1, 5);
        stream_ping(&stream, 6);
        stream_piece(&stream, "gen-1", "b\n", 2, 7);
        ck_assert_uint_eq(stream.last_us, 7);
        read_all(out, sizeof(out), n);
        ck_assert_str_eq(out, "data: {\"id\":\"gen-1\",\"index\":0,\"text\":\"a\"}\n\n: ping\n\n"
                              "data: {\"id\":\"gen-1\",\"index\":0,\"text\":\"b\\n\"}\n\n");
        teardown();
    }
}
END_TEST

START_TEST(test_pieces_between_reads)
{
    char out[200000], want[200000];
    size_t len = 0, n_want = 0;

    setup();
    for (unsigned i = 0; i < 2000; i++) {
        char text[12];
        int n = snprintf(text, sizeof(text), "%u", i);
        ck_assert_int_eq(stream_piece(&stream, "x", text, (size_t)n, i), ST_OK);
        n_want += (size_t)snprintf(want + n_want, sizeof(want) - n_want,
                                   "data: {\"id\":\"x\",\"index\":0,\"text\":\"%u\"}\n\n", i);
        len += stream_read(&stream, out + len, 60); /* now and then something stays behind */
    }
    size_t got;
    while ((got = stream_read(&stream, out + len, 4096)) > 0)
        len += got;
    ck_assert_uint_eq(len, n_want);
    ck_assert(memcmp(out, want, len) == 0);
    ck_assert_uint_lt(stream.out.cap, 64000); /* what was read is not kept */
    teardown();
}
END_TEST

START_TEST(test_a_reader_that_stops_is_found_out)
{
    char text[100];
    int r = ST_OK;
    unsigned n = 0;

    setup();
    memset(text, 'x', sizeof(text));
    while (r == ST_OK && n < 100) {
        r = stream_piece(&stream, "x", text, sizeof(text), n);
        n++;
    }
    ck_assert_int_eq(r, ST_TOOLONG);
    ck_assert_uint_le(n, 10);
    teardown();
}
END_TEST

START_TEST(test_error_ends_it_without_done)
{
    char out[1000];
    struct api_error err;

    setup();
    api_error_set(&err, API_INTERNAL, NULL, "it broke");
    ck_assert_int_eq(stream_error(&stream, &err), ST_OK);
    ck_assert(stream.ended);
    read_all(out, sizeof(out), 64);
    ck_assert(strncmp(out, "data: {\"error\":{\"message\":\"it broke\"", 36) == 0);
    ck_assert_ptr_null(strstr(out, "[DONE]"));
    ck_assert_str_eq(out + strlen(out) - 2, "\n\n");
    teardown();
}
END_TEST

START_TEST(test_the_last_piece_always_fits)
{
    char text[1000];
    struct generate_result result = {
        .id = "x", .model = "m", .text = text, .text_len = sizeof(text)};

    setup();
    memset(text, 'y', sizeof(text));
    while (stream_piece(&stream, "x", text, 100, 0) == ST_OK)
        continue;
    ck_assert_int_eq(stream_last(&stream, &result), ST_OK);
    ck_assert(stream.ended);
    char *out = malloc(100000);
    read_all(out, 100000, 1000);
    ck_assert_str_eq(out + strlen(out) - 14, "data: [DONE]\n\n");
    free(out);
    teardown();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        test_frames_in_order_whatever_the_bites, test_pieces_between_reads,
        test_a_reader_that_stops_is_found_out,   test_error_ends_it_without_done,
        test_the_last_piece_always_fits,         NULL};

    return suite_run("stream", tests, 60);
}
