/* The record as JSON, whatever is in it, and the gate. */
#include "config/quality.h"

#include <float.h>
#include <jansson.h>
#include <string.h>

#include "unit/suite.h"

static struct quality record(void)
{
    return (struct quality){.ppl = 20,
                            .ppl_ratio = 1.002,
                            .kld_mean = 0.003,
                            .same_top = 0.96,
                            .precision = "int8",
                            .kv = "int8",
                            .scheme = "q8_0"};
}

START_TEST(json_has_every_member)
{
    struct quality q = record();
    char text[QUALITY_JSON_MAX];
    json_t *doc;

    q.tokens = UINT64_C(1) << 40;
    quality_json(&q, text);
    doc = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(doc);
    ck_assert_uint_eq(json_object_size(doc), 3 + QUALITY_NUMBERS + QUALITY_TEXTS);
    ck_assert_int_eq(json_integer_value(json_object_get(doc, "tokens")), INT64_C(1) << 40);
    ck_assert_double_eq(json_real_value(json_object_get(doc, "kld_mean")), 0.003);
    ck_assert_str_eq(json_string_value(json_object_get(doc, "scheme")), "q8_0");
    json_decref(doc);
}
END_TEST

/* Control characters take six bytes each: the longest there is still fits. */
START_TEST(json_of_the_worst_record)
{
    struct quality q;
    char text[QUALITY_JSON_MAX];
    json_t *doc;

    memset(&q, 1, sizeof(q));
    q.tokens = q.chunks = UINT64_MAX;
    for (size_t i = 0; i < QUALITY_NUMBERS; i++)
        memcpy((char *)&q + QUALITY_NUMBER[i].offset, &(double){-DBL_MIN}, sizeof(double));
    for (size_t i = 0; i < QUALITY_TEXTS; i++)
        ((char *)&q)[QUALITY_TEXT[i].offset + QUALITY_TEXT[i].size - 1] = '\0';
    quality_json(&q, text);
    q.tokens = q.chunks = 1; /* jansson knows no larger integers than int64's */
    quality_json(&q, text);
    doc = json_loads(text, 0, NULL);
    ck_assert_ptr_nonnull(doc);
    ck_assert_uint_eq(json_string_length(json_object_get(doc, "text_sha256")), 64);
    json_decref(doc);
}
END_TEST

static struct error why;

static int gate(struct quality_bounds bounds, const struct quality *q, bool changed)
{
    struct quality_run run = {.path = "m.gguf",
                              .scheme = "q8_0",
                              .precision = "int8",
                              .kv = "int8",
                              .quality = q,
                              .changed = changed};

    why.text[0] = '\0';
    return quality_require(&bounds, &run, &why);
}

static void says(const char *a, const char *b, const char *c)
{
    ck_assert_msg(strstr(why.text, a) && strstr(why.text, b) && strstr(why.text, c), "%s",
                  why.text);
    ck_assert_ptr_nonnull(strstr(why.text, "m.gguf: "));
    ck_assert_ptr_nonnull(strstr(why.text, "octet eval --model FILE --reference SOURCE"));
    ck_assert_ptr_nonnull(strstr(why.text, "--record"));
}

START_TEST(nothing_asked_nothing_refused)
{
    struct quality q = record();

    ck_assert_int_eq(gate((struct quality_bounds){-1, -1, -1}, NULL, false), ST_OK);
    ck_assert_int_eq(gate((struct quality_bounds){-1, -1, -1}, &q, true), ST_OK);
}
END_TEST

START_TEST(bounds_hold_and_are_inclusive)
{
    struct quality q = record();

    ck_assert_int_eq(gate((struct quality_bounds){0.003, 0.96, 1.002}, &q, false), ST_OK);
    ck_assert_int_eq(gate((struct quality_bounds){0.0029, -1, -1}, &q, false), ST_INVALID);
    says("--require-kld 0.0029", "KL divergence", "0.003");
    ck_assert_int_eq(gate((struct quality_bounds){1, 0.97, -1}, &q, false), ST_INVALID);
    says("--require-same-top 0.97", "same top", "0.96");
    ck_assert_int_eq(gate((struct quality_bounds){1, 0, 1.001}, &q, false), ST_INVALID);
    says("--require-ppl-ratio 1.001", "perplexity ratio", "1.002");
    ck_assert_int_eq(gate((struct quality_bounds){0, -1, -1}, &q, false), ST_INVALID);
}
END_TEST

START_TEST(no_record_or_of_something_else)
{
    struct quality q = record();

    ck_assert_int_eq(gate((struct quality_bounds){-1, 0.9, -1}, NULL, false), ST_INVALID);
    says("--require-same-top 0.9", "no record", "");
    ck_assert_int_eq(gate((struct quality_bounds){1, -1, -1}, &q, true), ST_INVALID);
    says("changed after", "", "");
    memcpy(q.kv, "f16", 4);
    ck_assert_int_eq(gate((struct quality_bounds){1, -1, -1}, &q, false), ST_INVALID);
    says("kv f16", "int8 would run", "");
    q = record();
    memcpy(q.scheme, "other", 6);
    ck_assert_int_eq(gate((struct quality_bounds){1, -1, -1}, &q, false), ST_INVALID);
    says("scheme other", "q8_0 would run", "");
}
END_TEST

/* The command named is one that measures what would run. */
START_TEST(the_command_has_the_runs_flags)
{
    struct quality_bounds bounds = {1, -1, -1};
    struct quality_run run = {.path = "m", .scheme = "fp32", .precision = "fp32", .kv = "f16"};

    ck_assert_int_eq(quality_require(&bounds, &run, &why), ST_INVALID);
    ck_assert_ptr_nonnull(strstr(why.text, "--text TEXT --precision fp32 --kv f16 --record"));
    run.kv = "f32";
    ck_assert_int_eq(quality_require(&bounds, &run, &why), ST_INVALID);
    ck_assert_ptr_nonnull(strstr(why.text, "--text TEXT --precision fp32 --record"));
}
END_TEST

RUN_SUITE("quality", json_has_every_member, json_of_the_worst_record, nothing_asked_nothing_refused,
          bounds_hold_and_are_inclusive, no_record_or_of_something_else,
          the_command_has_the_runs_flags)
