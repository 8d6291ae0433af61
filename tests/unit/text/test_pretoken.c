/* pretoken: where each pre-tokenizer cuts. The rows were reasoned out from the published patterns.
 */
#include <check.h>
#include <string.h>

#include "model/text/pretoken.h"
#include "unit/suite.h"

struct cut {
    char text[512];
    size_t n;
};

static int add_piece(void *arg, const char *text, size_t len)
{
    struct cut *cut = arg;

    ck_assert_uint_gt(len, 0);
    if (cut->n)
        cut->text[cut->n++] = '|';
    memcpy(cut->text + cut->n, text, len);
    cut->n += len;
    return ST_OK;
}

static struct pretoken *open_pre(const char *name)
{
    struct pretoken *p = NULL;
    struct error err;

    ck_assert_int_eq(pretoken_open("x.gguf", (struct gguf_str){name, strlen(name)}, &p, &err),
                     ST_OK);
    return p;
}

/* pieces: what must come out, with | between the pieces; without the bars it is the text. */
static void check_cut(const struct pretoken *p, const char *pieces)
{
    struct cut cut = {.n = 0};
    struct pretoken_scratch *s = NULL;
    char text[512];
    size_t n = 0;

    for (const char *c = pieces; *c; c++) {
        if (*c != '|')
            text[n++] = *c;
    }
    ck_assert_int_eq(pretoken_scratch_new(&s), ST_OK);
    ck_assert_int_eq(pretoken_split(p, s, text, n, add_piece, &cut), ST_OK);
    pretoken_scratch_free(s);
    cut.text[cut.n] = '\0';
    ck_assert_str_eq(cut.text, pieces);
}

static void check_all(const char *pre, const char *const *rows, size_t n)
{
    struct pretoken *p = open_pre(pre);

    for (size_t i = 0; i < n; i++)
        check_cut(p, rows[i]);
    pretoken_free(p);
}
#define CHECK_ALL(pre, rows) check_all(pre, rows, sizeof(rows) / sizeof(*(rows)))

#define NBSP "\xc2\xa0"
#define IDEO "\xe3\x80\x80" /* U+3000, a space */
#define MVS "\xe1\xa0\x8e"  /* U+180E: a space before Unicode 6.3, and to PCRE2's \s */
#define NEL "\xc2\x85"      /* U+0085, a space */
#define ACUTE "\xcc\x81"    /* a combining mark: neither letter nor number */
#define ARABIC_3 "\xd9\xa3" /* a digit */
#define HALF "\xc2\xbd"     /* a number */
#define LONG_S "\xc5\xbf"   /* folds to s */
#define EMOJI "\xf0\x9f\x98\x80"
#define CJK "\xe4\xb8\xad"

START_TEST(gpt2)
{
    static const char *const rows[] = {
        "",
        "Hello| world",
        "it|'s| they|'re| I|'ll| we|'ve| I|'m| you|'d| can|'t",
        "IT|'|S| WE|'|LL", /* only small letters */
        "a|12345| 678|b",
        "x|  | y",
        "x|   ",
        "x|\n\n|\n|y",
        "x| \t| y",
        "x|\t|y",
        " |" NBSP "|x",
        "a|" IDEO "|b",
        "a|" MVS "|b",
        "a| " MVS "|b",
        "a|" NEL "|b",
        "e|" ACUTE "|x",
        "a|" ARABIC_3 "1" HALF "|b",
        "foo|(|bar|)!?",
        " (|a| " EMOJI EMOJI "|" CJK CJK,
        "a|_|b|_|1",
    };
    CHECK_ALL("gpt-2", rows);
}
END_TEST

START_TEST(smollm)
{
    static const char *const rows[] = {
        "a|1|2|3|b",   "x| |1|2", /* the space is left behind: digits are cut off first */
        "x|  |1",      ARABIC_3 "|" HALF "|x",
        "it|'s| fine",
    };
    CHECK_ALL("smollm", rows);
}
END_TEST

START_TEST(llama)
{
    static const char *const rows[] = {
        "Hello| world",     "it|'s| IT|'S| WE|'Ll",
        "x|'S|ay",          "x|'" LONG_S "|y",
        "(foo|)(|bar|)",    "$foo|\tbar",
        "123|456|7| |89",   "a|.\n\n|b",
        "a|  \n \n| | b",   "a|\r\n|b",
        "x|   | y",         "x|   ",
        NBSP "x| |1",       "e|" ACUTE "x",
        "a| " EMOJI "\n|b",
    };
    CHECK_ALL("llama-bpe", rows);
    CHECK_ALL("llama3", rows);
    CHECK_ALL("llama-v3", rows);
}
END_TEST

START_TEST(qwen2)
{
    static const char *const rows[] = {
        "Hello| world", "1|2|3|a", "it|'S", "a|!!\n|b", "a|" ARABIC_3 "|" HALF "|.",
    };
    CHECK_ALL("qwen2", rows);
}
END_TEST

START_TEST(default_list)
{
    static const char *const rows[] = {
        "Hello| world",
        "foo|(|bar|)!?|x",
        "it|'|s", /* the mark is cut off before the contraction is looked for */
        "a| |+|b",
        "123|456|7",
        " |1", /* numbers leave the space before them */
        "a| |" ARABIC_3 ARABIC_3 ARABIC_3 ARABIC_3 "|b",
        "x|  | y",
        "a| " EMOJI "|b",
    };
    CHECK_ALL("default", rows);
}
END_TEST

START_TEST(names)
{
    static const char *const unknown[] = {"", "gpt2", "gpt-2 ", "Qwen2", "tekken", "deepseek-llm"};
    struct pretoken *p = NULL;
    struct error err;

    for (size_t i = 0; i < sizeof(unknown) / sizeof(*unknown); i++) {
        struct gguf_str name = {unknown[i], strlen(unknown[i])};

        ck_assert_int_eq(pretoken_open("x.gguf", name, &p, &err), ST_UNSUPPORTED);
        ck_assert_ptr_null(p);
        ck_assert_ptr_nonnull(strstr(err.text, "x.gguf"));
        ck_assert_ptr_nonnull(strstr(err.text, unknown[i]));
    }
}
END_TEST

static int count_piece(void *arg, const char *text, size_t len)
{
    (void)text;
    (void)len;
    ++*(size_t *)arg;
    return ST_OK;
}

/* Ten million bytes of what makes a pattern back out the most: an answer comes, however long. */
START_TEST(hostile)
{
    static const char *const pres[] = {"gpt-2", "smollm", "llama-bpe", "qwen2", "default"};
    static const char *const units[] = {" ", "\n", " \n", "a", "1", "!", "'", NBSP, "\t "};
    size_t len = 10000000;
    char *text = malloc(len);

    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < sizeof(pres) / sizeof(*pres); i++) {
        struct pretoken *p = open_pre(pres[i]);
        struct pretoken_scratch *s = NULL;

        ck_assert_int_eq(pretoken_scratch_new(&s), ST_OK);
        for (size_t j = 0; j < sizeof(units) / sizeof(*units); j++) {
            size_t n_unit = strlen(units[j]), n_pieces = 0;
            size_t n = pres[i][0] == 's' || pres[i][0] == 'q' ? len / 10 : len;

            for (size_t at = 0; at + n_unit <= n; at += n_unit)
                memcpy(text + at, units[j], n_unit);
            ck_assert_int_eq(pretoken_split(p, s, text, n - n % n_unit, count_piece, &n_pieces),
                             ST_OK);
            ck_assert_uint_gt(n_pieces, 0);
        }
        pretoken_scratch_free(s);
        pretoken_free(p);
    }
    free(text);
}
END_TEST

static int stop_at_once(void *arg, const char *text, size_t len)
{
    (void)arg;
    (void)text;
    (void)len;
    return ST_NOMEM;
}

START_TEST(piece_says_stop)
{
    struct pretoken *p = open_pre("default");
    struct pretoken_scratch *s = NULL;

    ck_assert_int_eq(pretoken_scratch_new(&s), ST_OK);
    ck_assert_int_eq(pretoken_split(p, s, "a b", 3, stop_at_once, NULL), ST_NOMEM);
    pretoken_scratch_free(s);
    pretoken_free(p);
}
END_TEST

RUN_SUITE("pretoken", gpt2, smollm, llama, qwen2, default_list, names, hostile, piece_says_stop)
