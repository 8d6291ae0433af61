/* utf8: every scalar value, and the examples of ill-formed sequences in the Unicode standard (3.9,
 * U+FFFD). */
#include <check.h>
#include <stdint.h>
#include <string.h>

#include "model/text/alphabet.h"
#include "model/text/utf8.h"
#include "unit/suite.h"
#include "unit/text/vocab_build.h"

static size_t encode(uint32_t c, char *to)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 63));
        to[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 63));
    to[2] = (char)(0x80 | (c >> 6 & 63));
    to[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* What utf8_look must say of the bytes of c, followed by another character, and of each beginning.
 */
static bool looks_right(uint32_t c)
{
    char bytes[5];
    size_t len = encode(c, bytes), n;

    bytes[len] = 'x';
    if (c >= 0xd800 && c < 0xe000)
        return utf8_look(bytes, len, &n) == UTF8_BAD;
    if (utf8_look(bytes, len + 1, &n) != UTF8_WHOLE || n != len)
        return false;
    for (size_t cut = 1; cut < len; cut++) {
        if (utf8_look(bytes, cut, &n) != UTF8_CUT || n != cut)
            return false;
    }
    return true;
}

START_TEST(every_character)
{
    /* One assertion for all: Check writes a line to a pipe for each. */
    uint32_t c = 0;

    while (c <= 0x10ffff && looks_right(c))
        c++;
    ck_assert_uint_eq(c, 0x110000);
}
END_TEST

START_TEST(maximal_subparts)
{
    static const struct {
        const char *bytes;
        size_t subparts[9]; /* lengths, 0 ends */
    } rows[] = {
        {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", {1, 1, 1, 1, 1, 1, 1, 1, 1}}, /* overlong */
        {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", {1, 1, 1, 1, 1, 1, 1, 1, 1}}, /* surrogates */
        {"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", {1, 1, 1, 1, 1, 1, 1, 1, 1}}, /* too large */
        {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", {2, 1, 3, 2, 1}},             /* cut short */
        {"\xf5\x80\xf8\xfe\x41", {1, 1, 1, 1, 1}},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const char *at = rows[i].bytes, *end = at + strlen(at);
        size_t n;

        for (size_t j = 0; at < end; j++, at += n) {
            enum utf8_kind kind = utf8_look(at, (size_t)(end - at), &n);

            ck_assert_int_eq(kind, (uint8_t)*at < 0x80 ? UTF8_WHOLE : UTF8_BAD);
            ck_assert_uint_eq(n, rows[i].subparts[j]);
        }
    }
}
END_TEST

START_TEST(spans)
{
    ck_assert_uint_eq(utf8_span("", 0), 0);
    ck_assert_uint_eq(utf8_span("a\xc3\xa9\xff", 4), 3);
    ck_assert_uint_eq(utf8_span("a\xc3\xa9", 2), 1);
    ck_assert_uint_eq(utf8_span("\x80", 1), 0);
}
END_TEST

START_TEST(alphabet)
{
    char name[3], written[2];

    for (int i = 0; i < 256; i++) {
        char byte = (char)i, back;
        size_t len = alphabet_write(&byte, 1, written), n;

        byte_name(i, name);
        ck_assert_uint_eq(len, strlen(name) ? strlen(name) : 1);
        ck_assert_mem_eq(written, name, len);
        ck_assert(alphabet_read(written, len, &back, &n));
        ck_assert_uint_eq(n, 1);
        ck_assert_int_eq(back, byte);
    }
}
END_TEST

START_TEST(alphabet_refuses)
{
    static const char *const names[] = {" ",        "a b",          "\x7f", "\xc2\x80", "\xc2\xad",
                                        "\xc5\x84", "\xe2\x96\x81", "\xc4", "\xc4z",    "\xff"};
    char bytes[8];
    size_t n;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        ck_assert_msg(!alphabet_read(names[i], strlen(names[i]), bytes, &n), "%zu", i);
    ck_assert(alphabet_read("\xc4\xa0hi\xc4\x8a", 6, bytes, &n));
    ck_assert_uint_eq(n, 4);
    ck_assert_mem_eq(bytes, " hi\n", 4);
}
END_TEST

RUN_SUITE("utf8", every_character, maximal_subparts, spans, alphabet, alphabet_refuses)
