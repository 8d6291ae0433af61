/* spm: SentencePiece vocabularies, their space prefix, byte fallback and unknown token. */
#include "unit/suite.h"
#include "unit/text/show.h"

#define WM "\xe2\x96\x81" /* a space in a piece's name */
#define EMOJI "\xf0\x9f\x98\x80"

static const struct token spm_tokens[] = {
    {WM, NORMAL, -1},         {"a", NORMAL, -2},    {"b", NORMAL, -3},  {"c", NORMAL, -4},
    {WM "a", NORMAL, -5},     {"ab", NORMAL, -6},   {"bc", NORMAL, -6}, {"abc", NORMAL, -9},
    {WM WM, NORMAL, -7},      {"[u]", USER, 0},     {"</", NORMAL, -1}, {"s", NORMAL, -1},
    {"</s", NORMAL, -1},      {">", NORMAL, -1},    {"<", NORMAL, -1},  {"/", NORMAL, -1},
    {"\xc3\xa9", NORMAL, -1}, {"0", NORMAL, -1},    {"<0", NORMAL, -1}, {"x", NORMAL, -1},
    {"<0x", NORMAL, -1},      {"<0x0", NORMAL, -1}, {"A", NORMAL, -1},  {"<0x0A", NORMAL, -1},
};

static struct tokenizer *open_pieces(bool space_first)
{
    struct vocab_file f = {0};

    pieces(&f, spm_tokens, sizeof(spm_tokens) / sizeof(*spm_tokens));
    if (!space_first)
        key_bool(&f, "tokenizer.ggml.add_space_prefix", false);
    return open_good(&f);
}

START_TEST(pieces_merge)
{
    struct tokenizer *t = open_pieces(false);

    ck_assert(!tokenizer_strips_first_space(t));
    check_text(t, "", 0, "");
    check_text(t, "abc", 0, "abc"); /* ab and bc are equal: the left one first, then abc */
    check_text(t, "bca", 0, "bc|a");
    check_text(t, " a", 0, WM "a");
    check_text(t, "  a", 0, WM "|" WM "a"); /* -5 before -7 */
    check_text(t, "   b", 0, WM WM "|" WM "|b");
    check_text(t, "\xc3\xa9\n" EMOJI, 0, "\xc3\xa9|<0x0A>|<0xF0>|<0x9F>|<0x98>|<0x80>");
    check_text(t, "a\xff\xc3", 0, "a|<0xFF>|<0xC3>");
    check_text(t, "a[u]b", 0, "a|[u]|b");
    check_text(t, "<0x0A>", 0, "<0x0A|>");
    tokenizer_free(t);
}
END_TEST

START_TEST(pieces_space_first)
{
    struct tokenizer *t = open_pieces(true);

    ck_assert(tokenizer_strips_first_space(t));
    check_text(t, "", 0, "");
    check_text(t, "a", 0, WM "a");
    check_text(t, " a", 0, WM "|" WM "a");
    check_text(t, "[u]a[u]", 0, "[u]|" WM "a|[u]"); /* after each special token anew */
    check_text(t, "a<s>a", MODEL_TEXT_SPECIAL, WM "a|<s>|" WM "a");
    check_text(t, "a", MODEL_TEXT_BOS_AUTO, "<s>|" WM "a");
    check_text(t, "<s>a", MODEL_TEXT_BOS_AUTO | MODEL_TEXT_SPECIAL, "<s>|" WM "a");
    tokenizer_free(t);
}
END_TEST

/* The pieces </ s > lead to </s>, the end: not from plain text. */
START_TEST(pieces_control_is_plain)
{
    struct tokenizer *t = open_pieces(false);

    check_text(t, "</s>", 0, "</s|>");
    check_text(t, "</s>", MODEL_TEXT_SPECIAL, "</s>");
    check_text(t, "<unk>", MODEL_TEXT_SPECIAL, "<unk>");
    tokenizer_free(t);
}
END_TEST

START_TEST(pieces_unknown)
{
    static const char *const names[] = {"<unk>", "a", "<0xF0>"};
    static const uint32_t kinds[] = {UNKNOWN, NORMAL, BYTE};
    struct vocab_file f = {0};

    key_str(&f, "tokenizer.ggml.model", "llama");
    key_array(&f, "tokenizer.ggml.tokens", GGUF_V_STRING, 3);
    for (int i = 0; i < 3; i++)
        put_str(&f, names[i]);
    key_array(&f, "tokenizer.ggml.token_type", GGUF_V_I32, 3);
    for (int i = 0; i < 3; i++)
        put_u32(&f, kinds[i]);
    key_array(&f, "tokenizer.ggml.scores", GGUF_V_F32, 3);
    for (int i = 0; i < 3; i++)
        put_f32(&f, 0);
    key_bool(&f, "tokenizer.ggml.add_space_prefix", false);
    struct tokenizer *t = open_good(&f);
    check_text(t, "a" EMOJI "a", 0,
               "a|<unk>|a"); /* one for the character: not all bytes are there */
    check_text(t, "\xf0", 0, "<0xF0>");
    tokenizer_free(t);
}
END_TEST

/* Zero is zero: equal scores, so the left pair first. */
START_TEST(pieces_signed_zero)
{
    static const struct token tied[] = {{"a", NORMAL, -1},
                                        {"b", NORMAL, -1},
                                        {"c", NORMAL, -1},
                                        {"ab", NORMAL, -0.0f},
                                        {"bc", NORMAL, 0}};
    struct vocab_file f = {0};

    pieces(&f, tied, 5);
    key_bool(&f, "tokenizer.ggml.add_space_prefix", false);
    struct tokenizer *t = open_good(&f);
    check_text(t, "abc", 0, "ab|c");
    tokenizer_free(t);
}
END_TEST

START_TEST(pieces_bytes)
{
    struct tokenizer *t = open_pieces(true);
    const char *bytes;
    size_t len;

    for (int32_t i = 0; i < 256; i++) {
        ck_assert_int_eq(tokenizer_bytes(t, 3 + i, &bytes, &len), ST_OK);
        ck_assert_uint_eq(len, 1);
        ck_assert_uint_eq((uint8_t)*bytes, (unsigned)i);
    }
    ck_assert_int_eq(tokenizer_bytes(t, FIRST_PIECE + 8, &bytes, &len), ST_OK);
    ck_assert_uint_eq(len, 2);
    ck_assert_mem_eq(bytes, "  ", 2);
    tokenizer_free(t);
}
END_TEST

RUN_SUITE("spm", pieces_merge, pieces_space_first, pieces_control_is_plain, pieces_unknown,
          pieces_signed_zero, pieces_bytes)
