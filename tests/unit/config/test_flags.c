#include "config/flags.h"

#include <string.h>

#include "unit/suite.h"

struct values {
    const char *file;
    bool json, rare;
    uint32_t n;
    uint64_t seed;
    double rate;
    int scheme;
    uint64_t bytes;
};

static const char *const SCHEMES[] = {"int8", "q8_0", NULL};

#define AT(field) offsetof(struct values, field)

static const struct flag FLAGS[] = {
    {.name = "file",
     .type = FLAG_STRING,
     .offset = AT(file),
     .arg = "FILE",
     .help = "file to read",
     .required = true},
    {.name = "json", .type = FLAG_BOOL, .offset = AT(json), .help = "one JSON document"},
    {.name = "n-items",
     .type = FLAG_U32,
     .offset = AT(n),
     .min = 1,
     .max = 100,
     .fallback = "8",
     .arg = "N",
     .help = "how many"},
    {.name = "seed",
     .type = FLAG_U64,
     .offset = AT(seed),
     .arg = "N",
     .help = "where the dice begin"},
    {.name = "rate",
     .type = FLAG_DOUBLE,
     .offset = AT(rate),
     .fmin = 0,
     .fmax = 2,
     .fallback = "0.5",
     .arg = "X",
     .help = "a long sentence that goes on and on so that it has to be broken somewhere before the "
             "end of the line"},
    {.name = "scheme",
     .type = FLAG_CHOICE,
     .offset = AT(scheme),
     .choices = SCHEMES,
     .fallback = "int8",
     .arg = "S",
     .help = "int8 or q8_0"},
    {.name = "bytes", .type = FLAG_BYTES, .offset = AT(bytes), .arg = "BYTES", .help = "room"},
    {.name = "rare", .type = FLAG_BOOL, .offset = AT(rare)},
    {.name = "later", .type = FLAG_RESERVED, .arg = "X"},
};

static const struct flag_table TABLE = {
    .usage = "octet thing --file FILE IN [OUT]",
    .about = "Does a thing.",
    .tail = "More about it, and --rare, in the manual.",
    .flags = FLAGS,
    .n_flags = sizeof(FLAGS) / sizeof(FLAGS[0]),
    .min_args = 1,
    .max_args = 2,
};

static struct values values;
static struct flags_result result;
static struct error why;

/* Words split at spaces. */
static int parse(const char *line)
{
    static char text[512], program[] = "thing";
    char *argv[16] = {program};
    int argc = 1;
    size_t len = strlen(line);

    memcpy(text, line, len + 1);
    for (char *at = text; *at;) {
        argv[argc++] = at;
        at += strcspn(at, " ");
        if (*at)
            *at++ = '\0';
    }
    memset(&values, 0, sizeof(values));
    why.text[0] = '\0';
    flags_defaults(&TABLE, &values);
    return flags_parse(&TABLE, argc, argv, &values, &result, &why);
}

static void refused(const char *line, int status, const char *says)
{
    ck_assert_int_eq(parse(line), status);
    ck_assert_msg(strstr(why.text, says) != NULL, "\"%s\" gave \"%s\", wanted \"%s\"", line,
                  why.text, says);
}

START_TEST(values_of_every_type)
{
    ck_assert_int_eq(
        parse("--file a.gguf --json --n-items=100 --seed 18446744073709551615 --rate 1e-3 in "
              "--scheme q8_0 --bytes 3M out"),
        ST_OK);
    ck_assert_str_eq(values.file, "a.gguf");
    ck_assert(values.json);
    ck_assert_uint_eq(values.n, 100);
    ck_assert_uint_eq(values.seed, UINT64_MAX);
    ck_assert_double_eq(values.rate, 1e-3);
    ck_assert_int_eq(values.scheme, 1);
    ck_assert_uint_eq(values.bytes, 3u << 20);
    ck_assert_uint_eq(result.n_args, 2);
    ck_assert_str_eq(result.args[0], "in");
    ck_assert_str_eq(result.args[1], "out");
    ck_assert(flags_seen(&TABLE, &result, "seed"));
    ck_assert_int_eq(result.action, FLAGS_RUN);
}
END_TEST

START_TEST(defaults_and_absent)
{
    ck_assert_int_eq(parse("--file a in"), ST_OK);
    ck_assert_uint_eq(values.n, 8);
    ck_assert_double_eq(values.rate, 0.5);
    ck_assert(!values.json && values.seed == 0 && values.bytes == 0);
    ck_assert(!flags_seen(&TABLE, &result, "n-items"));
}
END_TEST

START_TEST(the_last_one_counts_and_dashes_end_flags)
{
    ck_assert_int_eq(parse("--file a --n-items 3 --n-items 4 --json --json=false -- --file"),
                     ST_OK);
    ck_assert_uint_eq(values.n, 4);
    ck_assert(!values.json);
    ck_assert_str_eq(result.args[0], "--file");
    ck_assert_int_eq(parse("--file --help in"), ST_OK); /* a value, not a question */
    ck_assert_str_eq(values.file, "--help");
    ck_assert_int_eq(parse("--file a -"), ST_OK); /* by custom: standard input */
    ck_assert_str_eq(result.args[0], "-");
}
END_TEST

START_TEST(byte_units)
{
    static const struct {
        const char *line;
        uint64_t bytes;
    } good[] = {{"--file a in --bytes 0", 0},
                {"--file a in --bytes 1000", 1000},
                {"--file a in --bytes 2k", 2048},
                {"--file a in --bytes 1G", 1u << 30},
                {"--file a in --bytes 17179869183G", UINT64_MAX - (1u << 30) + 1}};

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_int_eq(parse(good[i].line), ST_OK);
        ck_assert_uint_eq(values.bytes, good[i].bytes);
    }
    refused("--file a in --bytes 17179869184G", ST_INVALID, "--bytes");
    refused("--file a in --bytes 2T", ST_INVALID, "512M or 2G");
    refused("--file a in --bytes 2GB", ST_INVALID, "--bytes");
    refused("--file a in --bytes G", ST_INVALID, "--bytes");
    refused("--file a in --bytes 1.5G", ST_INVALID, "--bytes");
}
END_TEST

START_TEST(wrong_values_are_named)
{
    refused("--file a in --n-items 0", ST_INVALID,
            "--n-items: \"0\" is not a whole number, 1 to 100");
    refused("--file a in --n-items 101", ST_INVALID, "1 to 100");
    refused("--file a in --n-items -1", ST_INVALID, "--n-items: \"-1\"");
    refused("--file a in --n-items 4x", ST_INVALID, "\"4x\"");
    refused("--file a in --n-items=", ST_INVALID, "--n-items");
    refused("--file a in --seed 18446744073709551616", ST_INVALID, "--seed");
    refused("--file a in --rate 2.5", ST_INVALID, "--rate: \"2.5\" is not a number, 0 to 2");
    refused("--file a in --rate nan", ST_INVALID, "--rate");
    refused("--file a in --rate 1x", ST_INVALID, "--rate");
    refused("--file a in --scheme q4", ST_INVALID, "--scheme: \"q4\" is not one of int8 or q8_0");
    refused("--file a in --json=maybe", ST_INVALID, "true or false");
    refused("--file= in", ST_INVALID, "--file is empty: give it a FILE");
    refused("in --file", ST_INVALID, "--file has no value: give it a FILE");
}
END_TEST

START_TEST(wrong_names_are_named)
{
    refused("--file a in --n-item 3", ST_INVALID, "unknown flag --n-item: did you mean --n-items?");
    refused("--file a in --elephant", ST_INVALID, "unknown flag --elephant: --help lists all");
    refused("--file a in -json", ST_INVALID, "did you mean --json?");
    refused("--file a in --Json", ST_INVALID, "did you mean --json?");
    refused("--file a in --n_items 3", ST_INVALID, "did you mean --n-items?");
    refused("--file a in "
            "--aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            ST_INVALID, "unknown flag --aaaa");
    refused("--file a in --later 3", ST_UNSUPPORTED, "--later is not built yet");
    refused("--file a in --later", ST_UNSUPPORTED, "--later is not built yet");
    refused("in", ST_INVALID, "--file is missing: give it a FILE");
    refused("--file a", ST_INVALID, "0 arguments given, 1 needed: octet thing");
    refused("--file a b c d", ST_INVALID, "\"d\" is one argument too many");
}
END_TEST

START_TEST(help_and_version_come_first)
{
    ck_assert_int_eq(parse("--help --nonsense"), ST_OK);
    ck_assert_int_eq(result.action, FLAGS_HELP);
    ck_assert_int_eq(parse("--version"), ST_OK);
    ck_assert_int_eq(result.action, FLAGS_VERSION);
    ck_assert_int_eq(parse("-h"), ST_OK);
    ck_assert_int_eq(result.action, FLAGS_HELP);
}
END_TEST

START_TEST(help_is_complete_and_narrow)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    flags_help(&TABLE, out);
    fclose(out);
    for (size_t i = 0; i + 1 < TABLE.n_flags; i++)
        ck_assert_ptr_nonnull(strstr(text, FLAGS[i].name));
    ck_assert_ptr_null(strstr(text, "later"));    /* not built: not offered */
    ck_assert_ptr_null(strstr(text, "  --rare")); /* without a line of its own */
    ck_assert_ptr_nonnull(strstr(text, "how many (8)"));
    ck_assert_ptr_nonnull(strstr(text, "manual."));
    for (char *line = text; *line;) {
        size_t width = strcspn(line, "\n");
        ck_assert_uint_le(width, 80);
        ck_assert_int_ne(line[width ? width - 1 : 0], ' ');
        line += width + (line[width] == '\n');
    }
    free(text);
}
END_TEST

RUN_SUITE("flags", values_of_every_type, defaults_and_absent,
          the_last_one_counts_and_dashes_end_flags, byte_units, wrong_values_are_named,
          wrong_names_are_named, help_and_version_come_first, help_is_complete_and_narrow)
