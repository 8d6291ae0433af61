/* Plans of mixed precision: which words count, what matrices that read the same agree on. */
#include "model/quant/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/suite.h"

static struct quant_plan *parsed(const char *json)
{
    struct quant_plan *plan = NULL;
    struct error err = {""};

    ck_assert_msg(quant_plan_parse("plan.json", json, strlen(json), &plan, &err) == ST_OK, "%s",
                  err.text);
    return plan;
}

static const char *said(const struct quant_plan *plan, const char *name, bool tied)
{
    static char label[64];

    return quant_choice_label(quant_plan_choice(plan, name, tied), label, sizeof(label));
}

START_TEST(the_last_that_fits_counts)
{
    struct quant_plan *p =
        parsed("{\"version\": 1, \"default\": \"int8-g32+head:int4\", \"modules\": {"
               "\"blk.*\": \"f16\", \"blk.1.*\": \"f32\", \"*.attn_v\": \"q8_0\","
               "\"blk.1.attn_v\": \"int4-g64\", \"blk.2*.attn_v\": \"fast\"}}");

    ck_assert_str_eq(said(p, "blk.0.ffn_up.weight", false), "f16");
    ck_assert_str_eq(said(p, "blk.1.ffn_up.weight", false), "f32");
    ck_assert_str_eq(said(p, "blk.10.ffn_up.weight", false), "f16");
    ck_assert_str_eq(said(p, "blk.0.attn_v.weight", false), "int8-h0-g32");
    ck_assert_str_eq(said(p, "blk.1.attn_v.weight", false), "int4-h64-g64");
    ck_assert_str_eq(said(p, "blk.21.attn_v.weight", false), "int8-h64-row");
    ck_assert_str_eq(said(p, "blk.2.attn_v.weight", false), "int8-h64-row");
    ck_assert_str_eq(said(p, "output.weight", false), "int4-h64-g32");
    ck_assert_str_eq(said(p, "token_embd.weight", true), "int4-h64-g32");
    quant_plan_free(p);
}
END_TEST

START_TEST(patterns)
{
    static const struct {
        const char *pattern, *module;
        bool fits;
    } all[] = {{"blk.3.ffn_down", "blk.3.ffn_down", true},
               {"blk.3.ffn_down", "blk.33.ffn_down", false},
               {"blk.*.ffn_down", "blk.33.ffn_down", true},
               {"blk.*.ffn_down", "blk.3.ffn_up", false},
               {"*", "output", true},
               {"*_v", "blk.0.attn_v", true},
               {"*attn*", "blk.0.attn_v", true},
               {"*attn*x", "blk.0.attn_v", false},
               {"*a*a*", "blk.0.attn_v", false},
               {"output*", "output", true},
               {"output", "output_norm", false},
               {"utput", "output", false},
               {"**t", "output", true},
               {"blk.*.*.v", "blk.0.attn_v", false}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        ck_assert_msg(quant_plan_fits(all[i].pattern, all[i].module) == all[i].fits, "%s, %s",
                      all[i].pattern, all[i].module);
}
END_TEST

/* What is written is read as the same, in the same order. */
START_TEST(normal_form)
{
    struct quant_plan *p =
        parsed("{\"modules\":{\"b\":\"int4\",\"a*\":\"f16\",\"c\":\"f32\"},\"version\":1}");
    char label[64], *once = quant_plan_json(p), *twice;

    ck_assert_str_eq(once, "{\"version\": 1, \"default\": \"int8-h64-g64\", \"modules\": {\n"
                           "  \"b\": \"int4-h64-g32\",\n  \"a*\": \"f16\",\n  \"c\": \"f32\"\n}}");
    ck_assert_str_eq(quant_plan_label(p, label, sizeof(label)), "mixed:int8-h64-g64");
    quant_plan_free(p);
    p = parsed(once);
    twice = quant_plan_json(p);
    ck_assert_str_eq(once, twice);
    ck_assert_str_eq(quant_plan_pattern(p, 1), "a*");
    ck_assert_ptr_null(quant_plan_pattern(p, 3));
    quant_plan_free(p);
    free(once);
    free(twice);
    p = parsed("{\"version\": 1, \"default\": \"q8_0\"}");
    ck_assert(quant_plan_is_q8_0(p));
    ck_assert_str_eq(quant_plan_label(p, label, sizeof(label)), "q8_0");
    quant_plan_free(p);
}
END_TEST

START_TEST(what_is_wrong_is_named)
{
    static const struct {
        const char *json, *says;
    } all[] = {
        {"", "plan.json"},
        {"{", "line 1"},
        {"[]", "object"},
        {"{}", "version must be 1"},
        {"{\"version\": 2}", "version must be 1"},
        {"{\"version\": 1.0}", "version must be 1"},
        {"{\"version\": 1, \"default\": 8}", "default must be a scheme"},
        {"{\"version\": 1, \"default\": \"int5\"}", "plan.json: scheme: \"int5\" is not known"},
        {"{\"version\": 1, \"modules\": []}", "modules must be an object"},
        {"{\"version\": 1, \"module\": {}}", "\"module\" is no field"},
        {"{\"version\": 1, \"modules\": {\"a\": 8}}", "a must be a choice"},
        {"{\"version\": 1, \"modules\": {\"a\": \"int3\"}}", "\"a\": scheme: \"int3\""},
        {"{\"version\": 1, \"modules\": {\"a\": \"f16-g32\"}}", "\"g32\" is not known"},
        {"{\"version\": 1, \"modules\": {\"a\": \"int8+head:int4\"}}", "+head:int4"},
        {"{\"version\": 1, \"modules\": {\"a\": \"int4-row\"}}", "4 bits"},
        {"{\"version\": 1, \"modules\": {\"a\": \"\"}}", "is not known"},
        {"{\"version\": 1, \"modules\": {\"\": \"f16\"}}", "names no module"},
        {"{\"version\": 1, \"modules\": {\"blk 0\": \"f16\"}}", "\"blk\" names no module"},
        {"{\"version\": 1, \"modules\": {\"a\\nb\": \"f16\"}}", "\"a\" names no module"},
        {"{\"version\": 1, \"modules\": {\"a\": \"f16\", \"a\": \"f32\"}}", "duplicate"},
        {"{\"version\": 1, \"modules\": "
         "{\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaaaaaaa\": \"f16\"}}",
         "up to 63"},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct quant_plan *plan = NULL;
        struct error err = {""};
        int r = quant_plan_parse("plan.json", all[i].json, strlen(all[i].json), &plan, &err);
        ck_assert_int_ne(r, ST_OK);
        ck_assert_ptr_null(plan);
        ck_assert_msg(strstr(err.text, all[i].says) != NULL, "%s: %s", all[i].json, err.text);
    }
}
END_TEST

static struct quant_spec spec(const struct quant_plan *p, const char *module, enum quant_role role,
                              size_t k)
{
    char name[64];

    snprintf(name, sizeof(name), "blk.0.%s.weight", module);
    return quant_plan_spec(p, name, role, k, 64, false);
}

START_TEST(those_that_read_the_same_agree)
{
    struct quant_plan *p =
        parsed("{\"version\": 1, \"modules\": {\"*_q\": \"int4-g32\", \"*_v\": \"int8-g128-h32\","
               "\"*.ffn_gate\": \"f16\", \"*.ffn_up\": \"int8-g256-actaffine\"}}");
    struct quant_spec q = spec(p, "attn_q", QUANT_PLAIN, 1024),
                      k = spec(p, "attn_k", QUANT_PLAIN, 1024),
                      v = spec(p, "attn_v", QUANT_V, 1024),
                      up = spec(p, "ffn_up", QUANT_PLAIN, 1024),
                      gate = spec(p, "ffn_gate", QUANT_PLAIN, 1024),
                      down = spec(p, "ffn_down", QUANT_PLAIN, 1024);

    ck_assert(q.bits == 4 && q.group == 32 && q.block_in == 32 && q.act_group == 0);
    ck_assert(k.bits == 8 && k.group == 64 && k.block_in == 32 && k.act_group == 32);
    ck_assert(v.bits == 8 && v.group == 128 && v.block_in == 32 && v.act_group == 32);
    ck_assert_uint_eq(v.block_out, 64); /* o's, which is not changed */
    ck_assert(gate.bits == 16 && gate.group == 0 && gate.block_in == 0 && gate.act_group == 0);
    ck_assert(up.group == 256 && up.block_in == 64 && up.act_group == 0 && up.act_zero == 1);
    ck_assert(down.group == 64 && down.act_zero == 0);
    quant_plan_free(p);
}
END_TEST

/* v's outputs are turned where o's inputs are, and only there. */
START_TEST(v_is_turned_as_o_is)
{
    static const struct {
        const char *v, *o;
        uint32_t out, in;
    } all[] = {{"int8", "int8", 64, 64},     {"int8", "f16", 0, 0},
               {"f16", "int8", 0, 64},       {"int8", "int8-h32", 32, 32},
               {"int8-h32", "int8", 64, 64}, {"int8-h0", "int8", 0, 64},
               {"int8", "q8_0", 0, 0}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct quant_plan *p;
        ck_assert_int_eq(quant_plan_new(NULL, &p, NULL), ST_OK);
        ck_assert_int_eq(quant_plan_set(p, "*.attn_v", all[i].v, NULL), ST_OK);
        ck_assert_int_eq(quant_plan_set(p, "*.attn_output", all[i].o, NULL), ST_OK);
        ck_assert_uint_eq(spec(p, "attn_v", QUANT_V, 128).block_out, all[i].out);
        ck_assert_uint_eq(spec(p, "attn_output", QUANT_O, 128).block_in, all[i].in);
        quant_plan_free(p);
    }
}
END_TEST

/* Can the input of n matrices be quantized once for all? */
static void check_input(const struct quant_spec *s, size_t n, size_t k)
{
    const struct quant_spec *first = NULL;
    size_t most = 0;

    for (size_t m = 0; m < n; m++)
        most = quant_padded(&s[m], k) > most ? quant_padded(&s[m], k) : most;
    for (size_t m = 0; m < n; m++) {
        if (!quant_is_ints(&s[m]))
            continue;
        first = first ? first : &s[m];
        ck_assert(quant_spec_is_built(&s[m]));
        ck_assert_uint_eq(s[m].block_in, first->block_in);
        ck_assert_uint_eq(s[m].act_zero, first->act_zero);
        ck_assert_uint_eq(quant_act_group(&s[m]), quant_act_group(first));
        ck_assert_uint_eq(most % s[m].group, 0);
        ck_assert_uint_eq(most % quant_act_group(&s[m]), 0);
        ck_assert_uint_eq(quant_padded(&s[m], k) % quant_act_group(&s[m]), 0);
    }
}

START_TEST(one_input_for_any_choices)
{
    static const char *const choices[] = {"int8",
                                          "int4",
                                          "fast",
                                          "int8-g128",
                                          "f16",
                                          "int8-g256-affine",
                                          "int4-g256-h0",
                                          "int8-row-a64",
                                          "int8-g32-token-h32",
                                          "int8-tensor-actaffine"};
    enum { N = sizeof(choices) / sizeof(choices[0]) };

    for (size_t k = 2; k < 2300; k += k < 100 ? 1 : 32 + k % 7)
        for (size_t i = 0; i < N * N * N; i += 1 + k % 5) {
            struct quant_plan *p;
            ck_assert_int_eq(quant_plan_new(NULL, &p, NULL), ST_OK);
            ck_assert_int_eq(quant_plan_set(p, "*.attn_q", choices[i % N], NULL), ST_OK);
            ck_assert_int_eq(quant_plan_set(p, "*.attn_k", choices[i / N % N], NULL), ST_OK);
            ck_assert_int_eq(quant_plan_set(p, "*.attn_v", choices[i / N / N], NULL), ST_OK);
            const struct quant_spec s[3] = {spec(p, "attn_q", QUANT_PLAIN, k),
                                            spec(p, "attn_k", QUANT_PLAIN, k),
                                            spec(p, "attn_v", QUANT_V, k)};
            check_input(s, 3, k);
            quant_plan_free(p);
        }
}
END_TEST

/* A plan of one scheme is that scheme. */
START_TEST(alone_nothing_changes)
{
    static const char *const schemes[] = {
        "int8", "int4-g256-f32", "fast-affine-actaffine", "int8-g128-a32-h32", "f16", "q8_0"};

    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
        for (size_t k = 1; k < 1000; k += 3)
            for (enum quant_role role = QUANT_PLAIN; role <= QUANT_O; role++) {
                static const char *const names[] = {"attn_q", "attn_v", "attn_output"};
                struct quant_scheme scheme;
                struct quant_plan *p;
                ck_assert_int_eq(quant_scheme_parse(schemes[i], &scheme, NULL), ST_OK);
                ck_assert_int_eq(quant_plan_new(schemes[i], &p, NULL), ST_OK);
                struct quant_spec want = quant_spec_for(&scheme.body, role, k, 64),
                                  got = spec(p, names[role], role, k);
                ck_assert_msg(memcmp(&want, &got, sizeof(got)) == 0, "%s, %zu", schemes[i], k);
                quant_plan_free(p);
            }
}
END_TEST

START_TEST(bytes_by_hand)
{
    const struct quant_spec int8 = {.bits = 8, .group = 64},
                            int4 = {.bits = 4, .group = 32, .zero = 1},
                            wide = {.bits = 8, .group = 96, .scale_f32 = 1}, f16 = {.bits = 16};

    ck_assert_uint_eq(quant_stored_bytes(&int8, 10, 576), 10 * (576 + 9 * 2));
    ck_assert_uint_eq(quant_stored_bytes(&int4, 10, 576), 10 * (288 + 18 * 3));
    ck_assert_uint_eq(quant_stored_bytes(&wide, 3, 100), 3 * (192 + 2 * 4)); /* padded */
    ck_assert_uint_eq(quant_stored_bytes(&f16, 7, 100), 1400);
}
END_TEST

RUN_SUITE("quant_plan", the_last_that_fits_counts, patterns, normal_form, what_is_wrong_is_named,
          those_that_read_the_same_agree, v_is_turned_as_o_is, one_input_for_any_choices,
          alone_nothing_changes, bytes_by_hand)
