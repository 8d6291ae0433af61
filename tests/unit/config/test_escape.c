/* The oracle is jansson: whatever bytes go in, it must read the quoted result, and read the same
 * text back. */
#include "config/escape.h"

#include <jansson.h>
#include <stdint.h>
#include <string.h>

#include "unit/suite.h"

static size_t quote(const char *bytes, size_t len, char *out)
{
    const char *end = bytes + len;
    size_t n = 0;

    out[n++] = '"';
    while (bytes < end)
        n += escape_step(&bytes, end, out + n);
    out[n++] = '"';
    return n;
}

static json_t *read_back(const char *bytes, size_t len)
{
    static char out[ESCAPE_MAX * 4096 + 2];
    size_t n = quote(bytes, len, out);

    return json_loadb(out, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

static void expect(const char *bytes, size_t len, const char *want, size_t want_len)
{
    json_t *text = read_back(bytes, len);

    ck_assert_ptr_nonnull(text);
    ck_assert_uint_eq(json_string_length(text), want_len);
    ck_assert_mem_eq(json_string_value(text), want, want_len);
    json_decref(text);
}

/* The definition of UTF-8 by bit ranges, written apart from the code under test. */
static size_t encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

START_TEST(every_character_survives)
{
    for (uint32_t c = 0; c <= 0x10FFFF; c += c < 0x3000 ? 1 : 61) {
        char bytes[4];
        size_t len = encode(c, bytes);
        if (c >= 0xD800 && c <= 0xDFFF) {
            ck_assert_uint_eq(utf8_len(bytes, bytes + len), 0);
            continue;
        }
        ck_assert_uint_eq(utf8_len(bytes, bytes + len), len);
        for (size_t cut = 1; cut < len; cut++)
            ck_assert_uint_eq(utf8_len(bytes, bytes + cut), 0);
        expect(bytes, len, bytes, len);
    }
}
END_TEST

START_TEST(invalid_bytes_become_the_replacement)
{
    static const char *const bad[] = {"\x80", "\xBF", "\xC0", "\xC1",
                                      "\xF5", "\xFF", "\xC3", "\xE2"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect(bad[i], 1, "\xEF\xBF\xBD", 3);
    expect("\xC0\x80", 2, "\xEF\xBF\xBD\xEF\xBF\xBD", 6);                 /* overlong NUL */
    expect("\xE0\x9F\xBF", 3, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", 9); /* overlong */
    expect("\xED\xA0\x80", 3, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", 9); /* surrogate */
    expect("\xF0\x8F\xBF\xBF", 4, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", 12);
    expect("\xF4\x90\x80\x80", 4, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", 12);
    expect("a\xE2\x82z", 4, "a\xEF\xBF\xBD\xEF\xBF\xBDz", 8);
}
END_TEST

START_TEST(random_bytes_give_valid_json)
{
    uint32_t state = 1;
    char bytes[512];

    for (int round = 0; round < 2000; round++) {
        size_t len = round % sizeof(bytes);
        json_t *text;
        for (size_t i = 0; i < len; i++) {
            state = state * 1664525u + 1013904223u;
            bytes[i] = (char)(state >> 24);
        }
        text = read_back(bytes, len);
        ck_assert_ptr_nonnull(text);
        json_decref(text);
    }
}
END_TEST

START_TEST(no_raw_control_or_quote)
{
    char bytes[256], out[ESCAPE_MAX * 256 + 2];
    size_t n;

    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    n = quote(bytes, 256, out);
    for (size_t i = 1; i + 1 < n; i++) {
        ck_assert((unsigned char)out[i] >= 0x20);
        if (out[i] == '"')
            ck_assert_int_eq(out[i - 1], '\\');
    }
}
END_TEST

START_TEST(cut_keeps_characters_whole)
{
    const char *text = "a\xC3\xA9\xE2\x82\xAC"; /* a é € : 1, 2, 3 bytes */
    static const size_t want[] = {0, 1, 1, 3, 3, 3, 6, 6};

    for (size_t max = 0; max < 8; max++)
        ck_assert_uint_eq(utf8_cut(text, 6, max), want[max]);
}
END_TEST

RUN_SUITE("escape", every_character_survives, invalid_bytes_become_the_replacement,
          random_bytes_give_valid_json, no_raw_control_or_quote, cut_keeps_characters_whole)
