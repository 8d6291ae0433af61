/* tokenizer: byte-level vocabularies, special tokens, BOS, and the bytes that come back. */
#include "unit/suite.h"
#include "unit/text/show.h"

#define SP "\xc4\xa0"     /* a space in a byte-level name */
#define WM "\xe2\x96\x81" /* a space in a piece's name */
#define EMOJI "\xf0\x9f\x98\x80"

/* ---- byte-level ---- */

static const struct token words[] = {
    {"he", NORMAL, 0},          {"ll", NORMAL, 0},   {"hell", NORMAL, 0},
    {"hello", NORMAL, 0},       {SP "w", NORMAL, 0}, {SP "whole", NORMAL, 0},
    {"aa", NORMAL, 0},          {"aaaa", NORMAL, 0}, {"<|im_start|>", CONTROL, 0},
    {"<|im_end|>", CONTROL, 0}, {"!!", CONTROL, 0},
};
static const char *const merges[] = {
    "l l",     "h e",  "he ll", "hell o",
    SP " w",   "a a",  "aa aa", "! !", /* leads to a control token: not for plain text */
    "x y",                             /* leads nowhere */
    "nospace", "qq r", "a a",
};

static struct tokenizer *open_words(const char *pre)
{
    struct vocab_file f = {0};

    byte_level(&f, pre, words, sizeof(words) / sizeof(*words), merges,
               sizeof(merges) / sizeof(*merges));
    return open_good(&f);
}

START_TEST(merging)
{
    struct tokenizer *t = open_words("gpt-2");

    check_text(t, "", 0, "");
    check_text(t, "hello", 0, "hello");
    check_text(t, "hell", 0, "hell");
    check_text(t, "helo", 0, "he|l|o");
    check_text(t, "ello", 0, "e|ll|o");
    check_text(t, "hello world", 0, "hello|" SP "w|o|r|l|d");
    check_text(t, "aaaaaaa", 0, "aaaa|aa|a"); /* the leftmost of equals first */
    check_text(t, "xy", 0, "x|y");
    check_text(t, " whole", 0, SP "w|h|o|l|e");
    check_text(t, "\xff\x80", 0, "\xc3\xbf|\xc4\xa2");
    check_tokens(t, "a\0b", 3, 0, "a|\xc4\x80|b");
    tokenizer_free(t);
}
END_TEST

/* Of a merge that is listed twice the first counts. */
START_TEST(merge_twice)
{
    static const struct token more[] = {{"ab", NORMAL, 0}, {"bc", NORMAL, 0}};
    static const char *const twice[] = {"b c", "a b", "b c"};
    struct vocab_file f = {0};

    byte_level(&f, "gpt-2", more, 2, twice, 3);
    struct tokenizer *t = open_good(&f);
    check_text(t, "abc", 0, "a|bc");
    tokenizer_free(t);
}
END_TEST

START_TEST(whole_piece_first)
{
    struct tokenizer *t = open_words("llama-bpe");

    check_text(t, " whole", 0, SP "whole");
    check_text(t, " whole!", 0, SP "whole|!");
    check_text(t, " wholes", 0, SP "w|h|o|l|e|s");
    check_text(t, "!!", 0, "!|!"); /* a control token's name is still plain text */
    tokenizer_free(t);
}
END_TEST

/* A broken byte cuts the text as the end of a piece does. */
START_TEST(broken_bytes)
{
    struct tokenizer *t = open_words("gpt-2");

    check_text(t, "he\xc3", 0, "he|\xc3\x83");
    check_text(t,
               "h\x80"
               "e",
               0, "h|\xc4\xa2|e");
    check_text(t,
               "\xe4\xb8"
               "aa",
               0, "\xc3\xa4|\xc2\xb8|aa");
    check_text(t, "\xed\xa0\x80", 0, "\xc3\xad|\xc5\x82|\xc4\xa2");
    tokenizer_free(t);
}
END_TEST

/* After a broken byte the pre-tokenizer goes on: smollm cuts digits apart. */
START_TEST(after_a_broken_byte)
{
    static const struct token more[] = {{"11", NORMAL, 0}};
    static const char *const merge[] = {"1 1"};
    struct vocab_file f = {0};

    byte_level(&f, "smollm", more, 1, merge, 1);
    struct tokenizer *t = open_good(&f);
    check_text(t,
               "11\xff\xff"
               "11",
               0, "1|1|\xc3\xbf|\xc3\xbf|1|1");
    tokenizer_free(t);
}
END_TEST

START_TEST(control_tokens)
{
    struct tokenizer *t = open_words("gpt-2");
    const char *bytes;
    size_t len;

    check_text(t, "<|im_end|>", MODEL_TEXT_SPECIAL, "<|im_end|>");
    check_text(t, "a<|im_start|>aa<|im_end|><|im_end", MODEL_TEXT_SPECIAL,
               "a|<|im_start|>|aa|<|im_end|>|<|||i|m|_|e|n|d");
    check_text(t, "<|im_end|>", 0, "<|||i|m|_|e|n|d|||>");
    check_text(t, "a!!!", MODEL_TEXT_SPECIAL, "a|!!|!");
    check_text(t, "a!!!", 0, "a|!|!|!");
    ck_assert(!tokenizer_is_end(t, 256 + 8));
    ck_assert(tokenizer_is_end(t, 256 + 9));
    ck_assert_int_eq(tokenizer_bytes(t, 256 + 9, &bytes, &len), ST_OK);
    ck_assert_uint_eq(len, 0);
    ck_assert_uint_eq(tokenizer_longest(t), 12); /* <|im_start|> */
    tokenizer_free(t);
}
END_TEST

/* Which of several names: the leftmost, then the longest; user-defined ones in any text. */
START_TEST(special_choice)
{
    static const struct token more[] = {
        {"<s>", CONTROL, 0},   {"<sx", CONTROL, 0}, {"<s>>>", CONTROL, 0}, {"<u>", USER, 0},
        {"aa", USER, 0},       {"aab", USER, 0},    {"<unk>", UNKNOWN, 0}, {"b<s", CONTROL, 0},
        {"\xe4\xb8", USER, 0}, {"zz", UNUSED, 0},   {"", USER, 0},         {"", NORMAL, 0},
    };
    struct vocab_file f = {0};

    byte_level(&f, "gpt-2", more, sizeof(more) / sizeof(*more), NULL, 0);
    struct tokenizer *t = open_good(&f);
    check_text(t, "<s>", MODEL_TEXT_SPECIAL, "<s>");
    check_text(t, "<s>>", MODEL_TEXT_SPECIAL, "<s>|>");
    check_text(t, "<s>>>>", MODEL_TEXT_SPECIAL, "<s>>>|>");
    check_text(t, "<s", MODEL_TEXT_SPECIAL, "<|s");
    check_text(t, "b<s>", MODEL_TEXT_SPECIAL, "b<s|>");
    check_text(t, "<unk><sx", MODEL_TEXT_SPECIAL, "<unk>|<sx");
    check_text(t, "<unk><sx<u>", 0, "<|u|n|k|>|<|s|x|<u>");
    check_text(t, "aaabaaxa", 0, "aa|a|b|aa|x|a");
    check_text(t, "aabaab", 0, "aab|aab");
    check_text(t, "zz", MODEL_TEXT_SPECIAL, "z|z");
    check_text(t, "\xe4\xb8\xad", 0, "\xe4\xb8|\xc5\x83"); /* a name may cut a character */
    tokenizer_free(t);
}
END_TEST

START_TEST(bytes_of_tokens)
{
    static const struct token more[] = {
        {SP "x\xc4\x8a", NORMAL, 0}, /* space, x, newline */
        {"a b", NORMAL, 0},          /* not in the alphabet: stands for itself */
        {SP, USER, 0},               /* itself; the byte's own token is another id */
        {"<0x41>", BYTE, 0},
    };
    static const char *const want[] = {" x\n", "a b", NULL, "A"};
    struct vocab_file f = {0};
    struct tokenizer *t = NULL;
    struct error err;
    const char *bytes;
    size_t len;

    byte_level(&f, "gpt-2", more, 4, NULL, 0);
    ck_assert_int_eq(file_open(&f, &t, &err), ST_FORMAT); /* SP is there twice */
    byte_level(&f, "gpt-2", more, 2, NULL, 0);
    t = open_good(&f);
    for (int32_t i = 0; i < 256; i++) {
        ck_assert_int_eq(tokenizer_bytes(t, i, &bytes, &len), ST_OK);
        ck_assert_uint_eq(len, 1);
        ck_assert_uint_eq((uint8_t)*bytes, (unsigned)i);
    }
    for (int32_t i = 0; i < 2; i++) {
        ck_assert_int_eq(tokenizer_bytes(t, 256 + i, &bytes, &len), ST_OK);
        ck_assert_uint_eq(len, strlen(want[i]));
        ck_assert_mem_eq(bytes, want[i], len);
    }
    ck_assert_int_eq(tokenizer_bytes(t, -1, &bytes, &len), ST_INVALID);
    ck_assert_int_eq(tokenizer_bytes(t, 258, &bytes, &len), ST_INVALID);
    ck_assert_int_eq(tokenizer_name(t, 258, &bytes, &len), ST_INVALID);
    ck_assert(!tokenizer_is_end(t, -1));
    ck_assert(!tokenizer_is_end(t, 258));
    ck_assert_uint_eq(tokenizer_n_vocab(t), 258);
    tokenizer_free(t);
}
END_TEST

/* A byte that is no token is left out, and its neighbours stand side by side. */
START_TEST(missing_byte)
{
    static const char *const names[] = {"a", "b", "ab", "z"};
    struct vocab_file f = {0};

    key_str(&f, "tokenizer.ggml.model", "gpt2");
    key_array(&f, "tokenizer.ggml.tokens", GGUF_V_STRING, 4);
    for (int i = 0; i < 4; i++)
        put_str(&f, names[i]);
    key_array(&f, "tokenizer.ggml.merges", GGUF_V_STRING, 1);
    put_str(&f, "a b");
    struct tokenizer *t = open_good(&f); /* no pre: default; no types: all normal */
    check_text(t, "axb", 0, "ab");
    check_text(t, "xyx", 0, "");
    check_text(t, "z\xff", 0, "z");
    tokenizer_free(t);
}
END_TEST

/* ---- BOS ---- */

static struct tokenizer *open_bos(bool add_bos_key, bool add_bos)
{
    static const struct token more[] = {{"<s>", CONTROL, 0}};
    struct vocab_file f = {0};

    byte_level(&f, "gpt-2", more, 1, NULL, 0);
    key_u32(&f, "tokenizer.ggml.bos_token_id", 256);
    if (add_bos_key)
        key_bool(&f, "tokenizer.ggml.add_bos_token", add_bos);
    return open_good(&f);
}

START_TEST(bos)
{
    struct tokenizer *t = open_bos(true, true);

    ck_assert_int_eq(tokenizer_bos(t), 256);
    ck_assert(tokenizer_add_bos(t));
    check_text(t, "a", 0, "a");
    check_text(t, "a", MODEL_TEXT_BOS, "<s>|a");
    check_text(t, "", MODEL_TEXT_BOS, "<s>");
    check_text(t, "", MODEL_TEXT_BOS_AUTO, "<s>");
    check_text(t, "a", MODEL_TEXT_BOS_AUTO, "<s>|a");
    check_text(t, "<s>a", MODEL_TEXT_BOS_AUTO, "<s>|<|s|>|a");
    check_text(t, "<s>a", MODEL_TEXT_BOS_AUTO | MODEL_TEXT_SPECIAL, "<s>|a");
    check_text(t, "<s>a", MODEL_TEXT_BOS | MODEL_TEXT_SPECIAL, "<s>|<s>|a");
    tokenizer_free(t);
}
END_TEST

START_TEST(bos_not_asked_for)
{
    struct tokenizer *t = open_bos(true, false);

    check_text(t, "a", MODEL_TEXT_BOS_AUTO, "a");
    check_text(t, "a", MODEL_TEXT_BOS, "<s>|a");
    tokenizer_free(t);
    t = open_bos(false, false); /* byte-level files that do not say: none */
    check_text(t, "a", MODEL_TEXT_BOS_AUTO, "a");
    tokenizer_free(t);
    t = open_words("llama-bpe"); /* would, but has no BOS token */
    struct error err;
    int32_t *ids = NULL;
    size_t n;
    ck_assert(!tokenizer_add_bos(t));
    ck_assert_int_eq(tokenizer_bos(t), -1);
    check_text(t, "a", MODEL_TEXT_BOS_AUTO, "a");
    ck_assert_int_eq(tokenizer_encode(t, "a", 1, MODEL_TEXT_BOS, &ids, &n, &err), ST_INVALID);
    ck_assert_ptr_null(ids);
    tokenizer_free(t);
}
END_TEST

START_TEST(bos_by_family)
{
    static const struct token more[] = {{"<|begin|>", CONTROL, 0}};
    struct vocab_file f = {0};

    byte_level(&f, "llama-bpe", more, 1, NULL, 0);
    key_u32(&f, "tokenizer.ggml.bos_token_id", 256);
    struct tokenizer *t = open_good(&f);
    check_text(t, "a", MODEL_TEXT_BOS_AUTO, "<|begin|>|a");
    tokenizer_free(t);
    pieces(&f, NULL, 0);
    t = open_good(&f); /* SentencePiece's own numbers */
    ck_assert_int_eq(tokenizer_bos(t), 1);
    ck_assert(tokenizer_add_bos(t));
    ck_assert(tokenizer_is_end(t, 2));
    tokenizer_free(t);
}
END_TEST

/* ---- ends ---- */

START_TEST(ends)
{
    static const struct token more[] = {
        {"<|eot_id|>", CONTROL, 0}, {"<|end|>", USER, 0}, {"</s>", NORMAL, 0},
        {"<end>", CONTROL, 0},      {"A1", NORMAL, 0},    {"A2", CONTROL, 0},
        {"A3", CONTROL, 0},
    };
    static const bool want[] = {true, true, false, false, true, true, true};
    struct vocab_file f = {0};

    byte_level(&f, "gpt-2", more, 7, NULL, 0);
    key_u32(&f, "tokenizer.ggml.eos_token_id", 260);
    key_u32(&f, "tokenizer.ggml.eot_token_id", 261);
    key_u32(&f, "tokenizer.ggml.eom_token_id", 262);
    struct tokenizer *t = open_good(&f);
    for (int32_t i = 0; i < 7; i++)
        ck_assert_msg(tokenizer_is_end(t, 256 + i) == want[i], "%d", i);
    /* Called user-defined, but an end: it needs the flag like a control token. */
    check_text(t, "<|end|>", 0, "<|||e|n|d|||>");
    check_text(t, "<|end|>", MODEL_TEXT_SPECIAL, "<|end|>");
    tokenizer_free(t);
}
END_TEST

/* Without types the names alone tell. */
START_TEST(ends_without_types)
{
    static const char *const names[] = {"a", "<|im_end|>", "</s>", "<other>"};
    struct vocab_file f = {0};
    const char *bytes;
    size_t len;

    key_str(&f, "tokenizer.ggml.model", "gpt2");
    key_str(&f, "tokenizer.ggml.pre", "qwen2");
    key_array(&f, "tokenizer.ggml.tokens", GGUF_V_STRING, 4);
    for (int i = 0; i < 4; i++)
        put_str(&f, names[i]);
    key_array(&f, "tokenizer.ggml.merges", GGUF_V_STRING, 0);
    struct tokenizer *t = open_good(&f);
    ck_assert(!tokenizer_is_end(t, 0));
    ck_assert(tokenizer_is_end(t, 1));
    ck_assert(tokenizer_is_end(t, 2));
    ck_assert(!tokenizer_is_end(t, 3));
    ck_assert_int_eq(tokenizer_bytes(t, 1, &bytes, &len), ST_OK);
    ck_assert_uint_eq(len, 0);
    tokenizer_free(t);
}
END_TEST

/* ---- size ---- */

static struct tokenizer *open_one_piece(void)
{
    static const struct token more[] = {
        {WM, NORMAL, -1}, {"a", NORMAL, -2}, {"aa", NORMAL, -3}, {WM WM, NORMAL, -4}};
    struct vocab_file f = {0};

    pieces(&f, more, 4);
    return open_good(&f);
}

START_TEST(megabyte)
{
    static const char *const units[] = {"a", " ", "1", EMOJI, "\xff", "ab", "\n", "he"};
    struct tokenizer *all[] = {open_words("gpt-2"), open_words("llama-bpe"), open_words("smollm"),
                               open_one_piece()};
    size_t len = 1 << 20;
    char *text = malloc(len), *back = malloc(len + 1);

    ck_assert(text && back);
    for (size_t i = 0; i < 4 * (sizeof(units) / sizeof(*units)); i++) {
        const struct tokenizer *t = all[i % 4];
        const char *unit = units[i / 4], *bytes;
        size_t n, n_bytes, end = 0, skip = tokenizer_strips_first_space(t);
        int32_t *ids = NULL;

        for (size_t at = 0; at < len; at++)
            text[at] = unit[at % strlen(unit)];
        ck_assert_int_eq(tokenizer_encode(t, text, len, 0, &ids, &n, NULL), ST_OK);
        for (size_t j = 0; j < n; j++) {
            tokenizer_bytes(t, ids[j], &bytes, &n_bytes);
            if (end + n_bytes > len + skip)
                break;
            memcpy(back + end, bytes, n_bytes);
            end += n_bytes;
        }
        ck_assert_uint_eq(end, len + skip);
        ck_assert(memcmp(back + skip, text, len) == 0);
        free(ids);
    }
    for (int i = 0; i < 4; i++)
        tokenizer_free(all[i]);
    free(text);
    free(back);
}
END_TEST

START_TEST(too_long)
{
    struct tokenizer *t = open_words("gpt-2");
    struct error err = {""};
    int32_t *ids = NULL;
    size_t n;

    ck_assert_int_eq(tokenizer_encode(t, "", (size_t)INT32_MAX, 0, &ids, &n, &err), ST_TOOLONG);
    ck_assert_ptr_null(ids);
    ck_assert_ptr_nonnull(strstr(err.text, "2147483647"));
    tokenizer_free(t);
}
END_TEST

RUN_SUITE("tokenizer", merging, merge_twice, whole_piece_first, broken_bytes, after_a_broken_byte,
          control_tokens, special_choice, bytes_of_tokens, missing_byte, bos, bos_not_asked_for,
          bos_by_family, ends, ends_without_types, megabyte, too_long)
