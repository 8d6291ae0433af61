/* tokenizer_open on files that are wrong: the right status, and a sentence that names file and key.
 */
#include "unit/suite.h"
#include "unit/text/show.h"

static void check_bad(struct vocab_file *f, int status, const char *named)
{
    struct tokenizer *t = NULL;
    struct error err = {""};

    ck_assert_int_eq(file_open(f, &t, &err), status);
    ck_assert_ptr_null(t);
    ck_assert_msg(strstr(err.text, "test.gguf"), "%s", err.text);
    ck_assert_msg(strstr(err.text, named), "'%s' is not in: %s", named, err.text);
}

static const struct token one[] = {{"<s>", CONTROL, 0}};

START_TEST(models)
{
    static const char *const names[] = {"bert", "t5", "rwkv", "plamo2", "gpt-2", ""};
    struct vocab_file f = {0};

    key_u32(&f, "other", 1);
    check_bad(&f, ST_UNSUPPORTED, "tokenizer.ggml.model");
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        key_str(&f, "tokenizer.ggml.model", names[i]);
        check_bad(&f, ST_UNSUPPORTED, names[i]);
    }
    key_str(&f, "tokenizer.ggml.model", "no_vocab");
    check_bad(&f, ST_UNSUPPORTED, "no vocabulary");
    key_str(&f, "tokenizer.ggml.model", "none");
    check_bad(&f, ST_UNSUPPORTED, "no vocabulary");
    key_u32(&f, "tokenizer.ggml.model", 1);
    check_bad(&f, ST_FORMAT, "tokenizer.ggml.model");
}
END_TEST

START_TEST(pre_tokenizers)
{
    struct vocab_file f = {0};

    byte_level(&f, "tekken", NULL, 0, NULL, 0);
    check_bad(&f, ST_UNSUPPORTED, "tekken");
}
END_TEST

START_TEST(missing_keys)
{
    struct vocab_file f = {0};

    key_str(&f, "tokenizer.ggml.model", "gpt2");
    check_bad(&f, ST_FORMAT, "tokenizer.ggml.tokens");
    key_str(&f, "tokenizer.ggml.model", "gpt2");
    key_array(&f, "tokenizer.ggml.tokens", GGUF_V_STRING, 1);
    put_str(&f, "a");
    check_bad(&f, ST_FORMAT, "tokenizer.ggml.merges");
    key_str(&f, "tokenizer.ggml.model", "llama");
    key_array(&f, "tokenizer.ggml.tokens", GGUF_V_STRING, 1);
    put_str(&f, "a");
    check_bad(&f, ST_FORMAT, "tokenizer.ggml.scores");
}
END_TEST

START_TEST(wrong_types)
{
    struct vocab_file f = {0};

    key_str(&f, "tokenizer.ggml.model", "gpt2");
    key_u32(&f, "tokenizer.ggml.tokens", 1);
    check_bad(&f, ST_FORMAT, "tokenizer.ggml.tokens");
    key_str(&f, "tokenizer.ggml.model", "gpt2");
    key_array(&f, "tokenizer.ggml.tokens", GGUF_V_U32, 1);
    put_u32(&f, 1);
    check_bad(&f, ST_FORMAT, "tokenizer.ggml.tokens");
    byte_level(&f, "gpt-2", NULL, 0, NULL, 0);
    key_str(&f, "tokenizer.ggml.add_bos_token", "yes");
    key_u32(&f, "tokenizer.ggml.bos_token_id", 0);
    check_bad(&f, ST_FORMAT, "tokenizer.ggml.add_bos_token");
    pieces(&f, one, 0);
    key_u32(&f, "tokenizer.ggml.add_space_prefix", 1);
    check_bad(&f, ST_FORMAT, "tokenizer.ggml.add_space_prefix");
    byte_level(&f, "gpt-2", NULL, 0, NULL, 0);
    key_str(&f, "tokenizer.ggml.eos_token_id", "2");
    check_bad(&f, ST_FORMAT, "tokenizer.ggml.eos_token_id");
}
END_TEST

START_TEST(empty)
{
    struct vocab_file f = {0};

    key_str(&f, "tokenizer.ggml.model", "gpt2");
    key_array(&f, "tokenizer.ggml.tokens", GGUF_V_STRING, 0);
    check_bad(&f, ST_FORMAT, "0 tokens");
}
END_TEST

START_TEST(too_many)
{
    struct vocab_file f = {0};

    key_str(&f, "tokenizer.ggml.model", "gpt2");
    key_array(&f, "tokenizer.ggml.tokens", GGUF_V_STRING, 1048577);
    for (int i = 0; i < 1048577; i++)
        put_str(&f, "");
    check_bad(&f, ST_FORMAT, "1048577");
}
END_TEST

START_TEST(long_name)
{
    struct vocab_file f = {0};
    char *name = calloc(1, 65537);

    ck_assert_ptr_nonnull(name);
    memset(name, 'x', 65536);
    for (int good = 0; good < 2; good++) {
        name[65536 - good] = '\0';
        key_str(&f, "tokenizer.ggml.model", "gpt2");
        key_array(&f, "tokenizer.ggml.tokens", GGUF_V_STRING, 2);
        put_str(&f, "a");
        put_str(&f, name);
        key_array(&f, "tokenizer.ggml.merges", GGUF_V_STRING, 1);
        name[1] = ' '; /* a merge whose parts together are longer than any name */
        put_str(&f, name);
        name[1] = 'x';
        if (good)
            tokenizer_free(open_good(&f));
        else
            check_bad(&f, ST_FORMAT, "token 1 ");
    }
    free(name);
}
END_TEST

START_TEST(lengths)
{
    static const char *const arrays[] = {"tokenizer.ggml.token_type", "tokenizer.ggml.scores"};

    for (int i = 0; i < 2; i++) {
        for (size_t n = 0; n < 4; n++) {
            struct vocab_file f = {0};

            if (n == 2)
                continue;
            key_str(&f, "tokenizer.ggml.model", "llama");
            key_array(&f, "tokenizer.ggml.tokens", GGUF_V_STRING, 2);
            put_str(&f, "a");
            put_str(&f, "b");
            key_array(&f, arrays[1 - i], i ? GGUF_V_I32 : GGUF_V_F32, 2);
            put_u32(&f, 1);
            put_u32(&f, 1);
            key_array(&f, arrays[i], i ? GGUF_V_F32 : GGUF_V_I32, n);
            for (size_t j = 0; j < n; j++)
                put_u32(&f, 1);
            check_bad(&f, ST_FORMAT, arrays[i]);
        }
    }
}
END_TEST

START_TEST(duplicates)
{
    static const struct token more[] = {{"xx", NORMAL, 0}, {"yy", NORMAL, 0}, {"xx", USER, 0}};
    struct vocab_file f = {0};

    byte_level(&f, "gpt-2", more, 3, NULL, 0);
    check_bad(&f, ST_FORMAT, "256 and 258");
}
END_TEST

START_TEST(kinds)
{
    static const struct token beyond[] = {{"xx", 7, 0}}, below[] = {{"xx", -1, 0}},
                              no_byte[] = {{"<0xZZ>", BYTE, 0}};
    struct vocab_file f = {0};

    byte_level(&f, "gpt-2", beyond, 1, NULL, 0);
    check_bad(&f, ST_FORMAT, "token 256 is 7");
    byte_level(&f, "gpt-2", below, 1, NULL, 0);
    check_bad(&f, ST_FORMAT, "token 256 is -1");
    byte_level(&f, "gpt-2", no_byte, 1, NULL, 0);
    check_bad(&f, ST_FORMAT, "<0xZZ>");
}
END_TEST

START_TEST(scores)
{
    static const uint32_t bits[] = {0x7f800000, 0xff800000, 0x7fc00000};

    for (int i = 0; i < 3; i++) {
        struct vocab_file f = {0};
        struct token bad[] = {{"xx", NORMAL, 0}};

        memcpy(&bad[0].score, &bits[i], 4);
        pieces(&f, bad, 1);
        check_bad(&f, ST_FORMAT, "tokenizer.ggml.scores of token 259");
    }
}
END_TEST

START_TEST(ids)
{
    static const char *const keys[] = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                                       "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id",
                                       "tokenizer.ggml.unknown_token_id"};

    for (int i = 0; i < 5; i++) {
        struct vocab_file f = {0};

        byte_level(&f, "gpt-2", one, 1, NULL, 0);
        key_u32(&f, keys[i], 257);
        check_bad(&f, ST_FORMAT, keys[i]);
        byte_level(&f, "gpt-2", one, 1, NULL, 0);
        key_u32(&f, keys[i], UINT32_MAX); /* some files write "none" so */
        struct tokenizer *t = open_good(&f);
        ck_assert_int_eq(tokenizer_bos(t), -1);
        tokenizer_free(t);
    }
}
END_TEST

/* A vocabulary cut off before SentencePiece's own numbers: none of them, no id out of range. */
START_TEST(ids_beyond)
{
    struct vocab_file f = {0};

    key_str(&f, "tokenizer.ggml.model", "llama");
    key_array(&f, "tokenizer.ggml.tokens", GGUF_V_STRING, 1);
    put_str(&f, "a");
    key_array(&f, "tokenizer.ggml.scores", GGUF_V_F32, 1);
    put_f32(&f, 0);
    struct tokenizer *t = open_good(&f);
    ck_assert_int_eq(tokenizer_bos(t), -1);
    ck_assert(!tokenizer_add_bos(t));
    check_text(t, "a", MODEL_TEXT_BOS_AUTO,
               "a|a"); /* the space before it is the unknown token, 0 */
    tokenizer_free(t);
}
END_TEST

RUN_SUITE("vocab_bad", models, pre_tokenizers, missing_keys, wrong_types, empty, too_many,
          long_name, lengths, duplicates, kinds, scores, ids, ids_beyond)
