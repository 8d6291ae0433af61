/* The ids that llama.cpp gives for the texts in golden/, under a tiny vocabulary of each kind that
 * octet reads. Made by tests/oracle/tokenizer/make_golden.py. */
#include "unit/suite.h"
#include "unit/text/show.h"

#define GOLDEN "tests/unit/text/golden/"

static FILE *open_file(const char *name, const char *ending)
{
    char path[256];

    snprintf(path, sizeof(path), GOLDEN "%s%s", name, ending);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f, "%s", path);
    return f;
}

static struct tokenizer *open_golden(const char *name)
{
    char path[256];
    struct gguf *g = NULL;
    struct tokenizer *t = NULL;
    struct error err = {""};

    snprintf(path, sizeof(path), GOLDEN "%s.gguf", name);
    ck_assert_msg(gguf_open(path, &(struct gguf_opts){.vocab_only = true}, &g, &err) == ST_OK, "%s",
                  err.text);
    ck_assert_msg(tokenizer_open(g, &t, &err) == ST_OK, "%s", err.text);
    gguf_close(g); /* the tokenizer has copied what it needs */
    return t;
}

/* The next line of ids against text's. False: they differ. */
static bool same_ids(const struct tokenizer *t, FILE *lines, const char *text, size_t len,
                     unsigned flags)
{
    int32_t *ids = NULL;
    size_t n;
    bool same = true;
    char after = ' ';

    ck_assert_int_eq(tokenizer_encode(t, text, len, flags, &ids, &n, NULL), ST_OK);
    for (size_t i = 0; i < n && same; i++) {
        int want;

        same = after == ' ' && fscanf(lines, "%d%c", &want, &after) == 2 && want == ids[i];
    }
    free(ids);
    return same && after == '\n';
}

static void check_golden(const char *name)
{
    struct tokenizer *t = open_golden(name);
    FILE *texts = open_file("texts", ".bin"), *lines = open_file(name, ".ids");
    uint32_t len;
    size_t n = 0;

    for (; fread(&len, sizeof(len), 1, texts) == 1; n++) {
        char *text = malloc(len);

        ck_assert(text && fread(text, 1, len, texts) == len);
        ck_assert_msg(same_ids(t, lines, text, len, n % 2 ? MODEL_TEXT_SPECIAL : 0),
                      "%s: text %zu: '%.*s'", name, n, (int)len, text);
        free(text);
    }
    ck_assert_uint_eq(n, 160);
    ck_assert_int_eq(fgetc(lines), EOF);
    fclose(texts);
    fclose(lines);
    tokenizer_free(t);
}

START_TEST(byte_level_files)
{
    check_golden("gpt-2");
    check_golden("smollm");
    check_golden("llama-bpe");
    check_golden("qwen2");
    check_golden("default");
}
END_TEST

START_TEST(piece_files)
{
    check_golden("pieces");
    check_golden("pieces-no-prefix");
}
END_TEST

RUN_SUITE("text_golden", byte_level_files, piece_files)
