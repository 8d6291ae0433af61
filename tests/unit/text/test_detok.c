/* detok: whole characters, U+FFFD, stop strings, however the text is cut into tokens. */
#include "model/text/detok.h"
#include "model/text/utf8.h"
#include "unit/suite.h"
#include "unit/text/show.h"

#define EMOJI "\xf0\x9f\x98\x80"
#define FFFD "\xef\xbf\xbd"

static const struct token more[] = {
    {"<s>", CONTROL, 0},
    {"hello", NORMAL, 0},
    {"<|im_end|>", CONTROL, 0},
    {"abcab", NORMAL, 0},
    {"\xc3\xb0\xc5\x81", NORMAL, 0}, /* the bytes f0 9f */
};
enum { BOS_ID = 256, HELLO, END, ABCAB, HALF_EMOJI };

static struct tokenizer *open_words(void)
{
    struct vocab_file f = {0};

    byte_level(&f, "gpt-2", more, 5, NULL, 0);
    return open_good(&f);
}

struct result {
    char text[1024];
    size_t n;
    int stop;
};

static void take(struct result *r, const char *text, size_t len)
{
    ck_assert_uint_le(r->n + len, sizeof(r->text) - 1);
    memcpy(r->text + r->n, text, len);
    r->n += len;
    r->text[r->n] = '\0';
}

static void push(struct detok *d, struct result *r, int32_t id)
{
    const char *text;
    size_t len;

    ck_assert_int_eq(detok_push(d, id, &text, &len, &r->stop), ST_OK);
    take(r, text, len);
}

static struct detok *open_stops(const struct tokenizer *t, const char *const *stops, size_t n)
{
    struct detok *d = NULL;

    ck_assert_int_eq(detok_new(t, stops, n, &d), ST_OK);
    return d;
}

/* Bytes one token each. */
static struct result run(const struct tokenizer *t, const char *bytes, size_t len,
                         const char *const *stops, size_t n_stops)
{
    struct result r = {.stop = -1};
    struct detok *d = open_stops(t, stops, n_stops);
    const char *text;
    size_t n;

    for (size_t i = 0; i < len; i++)
        push(d, &r, (uint8_t)bytes[i]);
    ck_assert_int_eq(detok_finish(d, &text, &n), ST_OK);
    take(&r, text, n);
    ck_assert_int_eq(detok_finish(d, &text, &n), ST_OK);
    ck_assert_uint_eq(n, 0);
    detok_free(d);
    return r;
}

START_TEST(characters)
{
    /* What each byte lets out. */
    static const struct {
        const char *bytes, *out[12];
    } rows[] = {
        {"a\xc3\xa9", {"a", "", "\xc3\xa9"}},
        {EMOJI "b", {"", "", "", EMOJI, "b"}},
        {"\xe2\x82\xac", {"", "", "\xe2\x82\xac"}},
        {"e\xcc\x81", {"e", "", "\xcc\x81"}},
        {"\xff"
         "a",
         {FFFD, "a"}},
        {"\xc3"
         "a",
         {"", FFFD "a"}},
        {"\xe2\x82"
         "a",
         {"", "", FFFD "a"}},
        {"\xe2\x82\xe2\x82\xac", {"", "", FFFD, "", "\xe2\x82\xac"}},
        {"\xf0\x9f\x98\xc3\xa9", {"", "", "", FFFD, "\xc3\xa9"}},
        {"\xed\xa0\x80", {"", FFFD FFFD, FFFD}},
        {"\xc0\x80", {FFFD, FFFD}},
        {"\xf0\x9f\xff", {"", "", FFFD FFFD}},
        {"\xf4\x90", {"", FFFD FFFD}},
    };
    struct tokenizer *t = open_words();

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct detok *d = open_stops(t, NULL, 0);

        for (size_t j = 0; rows[i].bytes[j]; j++) {
            struct result r = {.stop = 0};

            push(d, &r, (uint8_t)rows[i].bytes[j]);
            ck_assert_int_eq(r.stop, -1);
            ck_assert_msg(strcmp(r.text, rows[i].out[j]) == 0, "row %zu byte %zu: '%s'", i, j,
                          r.text);
        }
        detok_free(d);
    }
    tokenizer_free(t);
}
END_TEST

START_TEST(finish_half_a_character)
{
    struct tokenizer *t = open_words();

    ck_assert_str_eq(run(t, "a\xf0\x9f\x98", 4, NULL, 0).text, "a" FFFD);
    ck_assert_str_eq(run(t, "", 0, NULL, 0).text, "");
    ck_assert_uint_eq(run(t, "\0b", 2, NULL, 0).n, 2);
    tokenizer_free(t);
}
END_TEST

START_TEST(tokens)
{
    struct tokenizer *t = open_words();
    struct detok *d = open_stops(t, NULL, 0);
    struct result r = {.stop = -1};
    const char *text = "x";
    size_t len = 1;
    int stop = 7;

    push(d, &r, BOS_ID); /* control tokens show nothing */
    push(d, &r, HELLO);
    push(d, &r, END);
    push(d, &r, HALF_EMOJI);
    ck_assert_str_eq(r.text, "hello");
    push(d, &r, 0x98);
    push(d, &r, 0x80);
    ck_assert_str_eq(r.text, "hello" EMOJI);
    ck_assert_int_eq(detok_push(d, -1, &text, &len, &stop), ST_INVALID);
    ck_assert_int_eq(detok_push(d, 256 + 5, &text, &len, &stop), ST_INVALID);
    ck_assert(*text == 'x' && len == 1 && stop == 7);
    detok_free(d);
    tokenizer_free(t);
}
END_TEST

/* An end is never shown, whatever its type. */
START_TEST(end_of_normal_type)
{
    static const struct token normal[] = {{"END", NORMAL, 0}};
    struct vocab_file f = {0};
    struct result r = {.stop = -1};

    byte_level(&f, "gpt-2", normal, 1, NULL, 0);
    key_u32(&f, "tokenizer.ggml.eos_token_id", 256);
    struct tokenizer *t = open_good(&f);
    struct detok *d = open_stops(t, NULL, 0);
    push(d, &r, 'a');
    push(d, &r, 256);
    ck_assert_str_eq(r.text, "a");
    detok_free(d);
    tokenizer_free(t);
}
END_TEST

START_TEST(stop_strings)
{
    static const struct {
        const char *text, *stops[3], *want;
        int stop;
    } rows[] = {
        {"one two", {"two"}, "one ", 0},
        {"one twos", {"two"}, "one ", 0},
        {"one twx", {"two"}, "one twx", -1},
        {"one tw", {"two"}, "one tw", -1}, /* held back, given at the end */
        {"aaab", {"aab"}, "a", 0},
        {"ababac", {"abac"}, "ab", 0},
        {"aabaaab", {"aaab"}, "aab", 0},
        {"x\ny", {"###", "\n"}, "x", 1},
        {"two one", {"one", "two"}, "", 1},
        {"a" EMOJI "b", {EMOJI}, "a", 0},
        {"a\xf0\x9f\x98\x81"
         "b",
         {EMOJI},
         "a\xf0\x9f\x98\x81"
         "b",
         -1},
        {"a\xff"
         "b",
         {FFFD "b"},
         "a",
         0},
        {"a\xf0", {FFFD}, "a", -1}, /* appears with the end: cut off all the same */
        {"end", {"end"}, "", 0},
        {"aXY", {"XYZ", "Y"}, "aX", 1}, /* the first that is whole, as nothing waits for another */
        {"aXYZ", {"XYZ", "Y"}, "aX", 1},
        {"abab", {"ab", "ab"}, "", 0},
    };
    struct tokenizer *t = open_words();

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        size_t n = rows[i].stops[1] ? 2 : 1;
        struct result r = run(t, rows[i].text, strlen(rows[i].text), rows[i].stops, n);

        ck_assert_msg(strcmp(r.text, rows[i].want) == 0, "row %zu: '%s'", i, r.text);
        ck_assert_msg(r.stop == rows[i].stop, "row %zu: %d", i, r.stop);
    }
    tokenizer_free(t);
}
END_TEST

/* Inside one token: of several that appear, the one that begins first; of those the first whole. */
START_TEST(stops_in_one_token)
{
    static const struct {
        int32_t before, token;
        const char *stops[2], *want;
        int stop;
    } rows[] = {
        {-1, HELLO, {"ll"}, "he", 0},          {-1, HELLO, {"lo", "el"}, "h", 1},
        {-1, HELLO, {"l", "ello"}, "h", 1},    {-1, HELLO, {"ello", "el"}, "h", 1},
        {'x', HELLO, {"xhe", "hello"}, "", 0}, {'x', HELLO, {"o"}, "xhell", 0},
        {-1, ABCAB, {"abcd"}, "abcab", -1},    {'c', ABCAB, {"cabd", "abcabc"}, "cabcab", -1},
    };
    struct tokenizer *t = open_words();

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct detok *d = open_stops(t, rows[i].stops, rows[i].stops[1] ? 2 : 1);
        struct result r = {.stop = -1};
        const char *text;
        size_t n;

        if (rows[i].before >= 0)
            push(d, &r, rows[i].before);
        push(d, &r, rows[i].token);
        ck_assert_int_eq(r.stop, rows[i].stop);
        if (r.stop >= 0) { /* nothing more comes */
            push(d, &r, 'z');
            ck_assert_int_eq(r.stop, rows[i].stop);
        }
        ck_assert_int_eq(detok_finish(d, &text, &n), ST_OK);
        take(&r, text, n);
        ck_assert_msg(strcmp(r.text, rows[i].want) == 0, "row %zu: '%s'", i, r.text);
        detok_free(d);
    }
    tokenizer_free(t);
}
END_TEST

/* What is shown never is the beginning of a stop string, and all that can't be is shown. */
START_TEST(held_back_no_longer_than_needed)
{
    static const char *const stops[] = {"\n\nUser:", "aab"};
    static const struct {
        char byte;
        const char *out;
    } steps[] = {
        {'x', "x"},       {'\n', ""}, {'\n', ""}, {'\n', "\n"}, {'U', ""},    {'s', ""},
        {'!', "\n\nUs!"}, {'a', ""},  {'a', ""},  {'a', "a"},   {'c', "aac"},
    };
    struct tokenizer *t = open_words();
    struct detok *d = open_stops(t, stops, 2);

    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
        struct result r = {.stop = 0};

        push(d, &r, (uint8_t)steps[i].byte);
        ck_assert_msg(strcmp(r.text, steps[i].out) == 0, "step %zu: '%s'", i, r.text);
    }
    detok_free(d);
    tokenizer_free(t);
}
END_TEST

/* Marks, joiners, emoji, broken bytes, and a stop string in the middle. */
#define CUT_TEXT                                                                                   \
    "e\xcc\x81 \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7\xff\xc3 \xe0\xa4\x95\xe0\xa5\x8d "     \
    "stop" EMOJI "p" EMOJI "\xf0\x9f!"
#define CUT_LEN (sizeof(CUT_TEXT) - 1)
#define CUT_STOP "stop" EMOJI
/* As it must be shown: each broken byte replaced, up to the stop string. */
#define CUT_SHOWN                                                                                  \
    "e\xcc\x81 \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7" FFFD FFFD " \xe0\xa4\x95\xe0\xa5\x8d" \
    " "

/* A vocabulary in which every substring of CUT_TEXT is a token: ret_ids[start][end]. */
static struct tokenizer *open_substrings(int32_t ret_ids[CUT_LEN][CUT_LEN + 1])
{
    static char names[CUT_LEN * CUT_LEN][2 * CUT_LEN + 1];
    static struct token all[CUT_LEN * CUT_LEN];
    struct vocab_file f = {0};
    size_t n = 0;

    for (size_t start = 0; start < CUT_LEN; start++) {
        ret_ids[start][start + 1] = (uint8_t)CUT_TEXT[start];
        for (size_t end = start + 2; end <= CUT_LEN; end++) {
            char *name = names[n];
            size_t same = 0;

            for (size_t j = start; j < end; j++)
                name += strlen(byte_name((uint8_t)CUT_TEXT[j], name));
            while (same < n && strcmp(names[same], names[n]) != 0)
                same++;
            ret_ids[start][end] = 256 + (int32_t)same;
            if (same == n) {
                all[n] = (struct token){names[n], NORMAL, 0};
                n++;
            }
        }
    }
    byte_level(&f, "gpt-2", all, n, NULL, 0);
    return open_good(&f);
}

/* Cut into three tokens at any two places: the same text, and never half a character. */
START_TEST(any_cut)
{
    static const char *const stops[] = {"\xe2\x80\x8d\xf0\x9f\x91\xa6", "??", CUT_STOP};
    static int32_t ids[CUT_LEN][CUT_LEN + 1];
    struct tokenizer *t = open_substrings(ids);

    for (size_t a = 0; a <= CUT_LEN; a++) {
        for (size_t b = a; b <= CUT_LEN; b++) {
            const size_t at[] = {0, a, b, CUT_LEN};
            struct result r = {.stop = -1};
            struct detok *d = open_stops(t, stops, 3);

            for (int i = 0; i < 3; i++) {
                if (at[i] < at[i + 1])
                    push(d, &r, ids[at[i]][at[i + 1]]);
                ck_assert(strncmp(r.text, CUT_SHOWN, r.n) == 0);
                ck_assert_uint_eq(utf8_span(r.text, r.n), r.n);
            }
            ck_assert_int_eq(r.stop, 2);
            ck_assert_str_eq(r.text, CUT_SHOWN);
            detok_free(d);
        }
    }
    tokenizer_free(t);
}
END_TEST

START_TEST(bad_stops)
{
    static const char *const many[17] = {"a", "a", "a", "a", "a", "a", "a", "a", "a",
                                         "a", "a", "a", "a", "a", "a", "a", "a"};
    static const char *const bad[] = {"", "\xff", "a\xc3", "\x80!"};
    struct tokenizer *t = open_words();
    struct detok *d = NULL;
    char longest[1026];
    const char *const stop = longest;

    ck_assert_int_eq(detok_new(t, many, 17, &d), ST_INVALID);
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(detok_new(t, &bad[i], 1, &d), ST_INVALID);
    memset(longest, 'x', 1025);
    longest[1025] = '\0';
    ck_assert_int_eq(detok_new(t, &stop, 1, &d), ST_INVALID);
    ck_assert_ptr_null(d);
    longest[1024] = '\0';
    d = open_stops(t, &stop, 1);
    detok_free(d);
    d = open_stops(t, many, 16);
    detok_free(d);
    detok_free(NULL);
    tokenizer_free(t);
}
END_TEST

/* The longest stop strings held back, then a token of nothing but broken bytes: all fits. */
START_TEST(fullest)
{
    static const struct token broken[] = {{"\xc3\xbf\xc3\xbf\xc3\xbf\xc3\xbf\xc3\xbf", NORMAL, 0}};
    struct vocab_file f = {0};
    char longest[1025];
    const char *const stop = longest;

    byte_level(&f, "gpt-2", broken, 1, NULL, 0);
    struct tokenizer *t = open_good(&f);
    memset(longest, 'x', 1024);
    longest[1024] = '\0';
    struct detok *d = open_stops(t, &stop, 1);
    struct result r = {.stop = -1};
    for (int i = 0; i < 1023; i++)
        push(d, &r, 'x');
    ck_assert_uint_eq(r.n, 0);
    push(d, &r, 0xf0);
    ck_assert_uint_eq(r.n, 0);
    const char *text;
    size_t len;
    int stopped;
    ck_assert_int_eq(detok_push(d, 256, &text, &len, &stopped), ST_OK);
    ck_assert_uint_eq(len, 1023 + 3 * 6);
    detok_free(d);
    tokenizer_free(t);
}
END_TEST

/* A continuation keeps the space its first piece begins with; the tokenizer's caller may strip it.
 */
START_TEST(pieces_keep_the_first_space)
{
    static const struct token more_pieces[] = {{"\xe2\x96\x81hi", NORMAL, -1}};
    struct vocab_file f = {0};
    struct result r = {.stop = -1};

    pieces(&f, more_pieces, 1);
    struct tokenizer *t = open_good(&f);
    struct detok *d = open_stops(t, NULL, 0);
    push(d, &r, 1);
    push(d, &r, FIRST_PIECE);
    push(d, &r, FIRST_PIECE);
    push(d, &r, 3 + 0xe2); /* byte tokens add up to a character */
    push(d, &r, 3 + 0x82);
    ck_assert_str_eq(r.text, " hi hi");
    push(d, &r, 3 + 0xac);
    ck_assert_str_eq(r.text, " hi hi\xe2\x82\xac");
    detok_free(d);
    tokenizer_free(t);
}
END_TEST

RUN_SUITE("detok", characters, finish_half_a_character, tokens, end_of_normal_type, stop_strings,
          stops_in_one_token, held_back_no_longer_than_needed, any_cut, bad_stops, fullest,
          pieces_keep_the_first_space)
