/* Good files: what another writer (the Python package gguf, golden.gguf) and the builder put in
 * comes out. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_build.h"
#include "unit/suite.h"

static struct error err;

static struct gguf *golden(void)
{
    struct gguf *g = NULL;

    ck_assert_msg(gguf_open("tests/unit/format/golden.gguf", NULL, &g, &err) == ST_OK, "%s",
                  err.text);
    return g;
}

static struct gguf *opened(const struct build *b, bool vocab_only)
{
    struct gguf *g = NULL;
    struct gguf_opts opts = {.vocab_only = vocab_only};

    ck_assert_msg(gguf_open_memory("mem", b->data, b->n, &opts, &g, &err) == ST_OK, "%s", err.text);
    return g;
}

static bool str_is(struct gguf_str str, const char *text)
{
    return str.len == strlen(text) && !memcmp(str.data, text, str.len);
}

START_TEST(facts_of_a_file)
{
    struct gguf *g = golden();

    ck_assert_str_eq(gguf_path(g), "tests/unit/format/golden.gguf");
    ck_assert_uint_eq(gguf_n_keys(g), 17);
    ck_assert_uint_eq(gguf_n_tensors(g), 24);
    ck_assert(str_is(gguf_kv_name(gguf_kv_at(g, 0)), "general.architecture"));
    ck_assert_ptr_eq(gguf_key(g, "general.architecture"), gguf_kv_at(g, 0));
    ck_assert_int_eq(gguf_kv_type(gguf_key(g, "t.strs")), GGUF_V_ARRAY);
    ck_assert_ptr_null(gguf_key(g, "general.arch"));
    ck_assert_ptr_null(gguf_key(g, ""));
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        char name[64] = "";

        memcpy(name, t->name.data, t->name.len);
        ck_assert_ptr_eq(gguf_find(g, name), t);
    }
    const struct gguf_tensor *t = gguf_find(g, "Q4_K");
    ck_assert(t && t->type == GGUF_Q4_K && t->n_dims == 2 && t->dims[0] == 1536 &&
              t->dims[1] == 2 && t->dims[2] == 1);
    ck_assert(t->n_elems == 3072 && t->n_bytes == 3072 / 256 * 144);
    ck_assert_ptr_null(gguf_find(g, "q4_k"));
    gguf_close(g);
}
END_TEST

START_TEST(integers_convert_if_they_fit)
{
    struct gguf *g = golden();
    uint32_t u32 = 7;
    uint64_t u64 = 7;
    int64_t i64 = 7;

    ck_assert(!gguf_get_u32(g, "t.u8", &u32, &err) && u32 == 255);
    ck_assert(!gguf_get_u32(g, "t.u16", &u32, &err) && u32 == 65535);
    ck_assert(!gguf_get_u32(g, "t.u32", &u32, &err) && u32 == UINT32_MAX);
    ck_assert(!gguf_get_u64(g, "t.u64", &u64, &err) && u64 == UINT64_MAX);
    ck_assert(!gguf_get_i64(g, "t.i8", &i64, &err) && i64 == -128);
    ck_assert(!gguf_get_i64(g, "t.i16", &i64, &err) && i64 == INT16_MIN);
    ck_assert(!gguf_get_i64(g, "t.i32", &i64, &err) && i64 == INT32_MIN);
    ck_assert(!gguf_get_i64(g, "t.i64", &i64, &err) && i64 == INT64_MIN);
    ck_assert(!gguf_get_i64(g, "t.u32", &i64, &err) && i64 == UINT32_MAX);

    u32 = 7;
    ck_assert_int_eq(gguf_get_u32(g, "t.u64", &u32, &err), ST_FORMAT);
    ck_assert_str_eq(err.text,
                     "tests/unit/format/golden.gguf: key 't.u64' is 18446744073709551615; "
                     "an integer from 0 to 4294967295 is expected");
    ck_assert_int_eq(gguf_get_u32(g, "t.i8", &u32, &err), ST_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "'t.i8' is -128;"));
    ck_assert_int_eq(gguf_get_u64(g, "t.i64", &u64, &err), ST_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "is -9223372036854775808;"));
    ck_assert_int_eq(gguf_get_i64(g, "t.u64", &i64, &err), ST_FORMAT);
    ck_assert_int_eq(gguf_get_u32(g, "t.yes", &u32, &err), ST_FORMAT);
    ck_assert_int_eq(gguf_get_u32(g, "t.f32", &u32, &err), ST_FORMAT);
    ck_assert_int_eq(gguf_get_u32(g, "t.ints", &u32, &err), ST_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "'t.ints' is an array of i32;"));
    ck_assert_int_eq(gguf_get_u32(g, "t.nothing", &u32, &err), ST_NOTFOUND);
    ck_assert_str_eq(err.text, "tests/unit/format/golden.gguf: key 't.nothing' is missing");
    ck_assert_uint_eq(u32, 7);
    gguf_close(g);
}
END_TEST

START_TEST(floats_bools_and_strings)
{
    struct gguf *g = golden();
    float f = 7;
    bool yes = false, no = true;
    struct gguf_str str;

    ck_assert(!gguf_get_f32(g, "t.f32", &f, &err) && f == 0.1f);
    f = 7;
    ck_assert(!gguf_get_f32(g, "t.f64", &f, &err) && f == 0.1f);
    ck_assert_int_eq(gguf_get_f32(g, "t.u8", &f, &err), ST_FORMAT);
    ck_assert(!gguf_get_bool(g, "t.yes", &yes, &err) && yes);
    ck_assert(!gguf_get_bool(g, "t.no", &no, &err) && !no);
    ck_assert_int_eq(gguf_get_bool(g, "t.u8", &yes, &err), ST_FORMAT);
    ck_assert(!gguf_get_str(g, "general.name", &str, &err) && str_is(str, "two words, é"));
    ck_assert_int_eq(gguf_get_str(g, "t.u8", &str, &err), ST_FORMAT);
    ck_assert_int_eq(gguf_get_str(g, "t.nothing", &str, NULL), ST_NOTFOUND);
    gguf_close(g);
}
END_TEST

START_TEST(arrays_of_each_kind)
{
    struct gguf *g = golden();
    struct gguf_array a;
    char x300[301];

    memset(x300, 'x', 300);
    x300[300] = '\0';
    ck_assert(!gguf_get_strs(g, "t.strs", &a, &err) && a.n == 4 && a.elem == GGUF_V_STRING);
    ck_assert(str_is(a.strs[0], "") && str_is(a.strs[1], "a") && str_is(a.strs[2], "ünï") &&
              str_is(a.strs[3], x300));
    ck_assert(!gguf_get_ints(g, "t.ints", &a, &err) && a.n == 3);
    ck_assert(gguf_array_i32(&a, 0) == -1 && gguf_array_i32(&a, 1) == 0 &&
              gguf_array_i32(&a, 2) == INT32_MAX);
    ck_assert(!gguf_get_floats(g, "t.floats", &a, &err) && a.n == 2);
    ck_assert(gguf_array_f32(&a, 0) == 0.5f && gguf_array_f32(&a, 1) == -1e30f);

    a.n = 99;
    ck_assert_int_eq(gguf_get_ints(g, "t.strs", &a, &err), ST_FORMAT);
    ck_assert_ptr_nonnull(
        strstr(err.text, "key 't.strs' is an array of string; an array of integers is expected"));
    ck_assert_int_eq(gguf_get_floats(g, "t.ints", &a, &err), ST_FORMAT);
    ck_assert_int_eq(gguf_get_strs(g, "t.ints", &a, &err), ST_FORMAT);
    ck_assert_int_eq(gguf_get_array(g, "t.u8", &a, &err), ST_FORMAT);
    ck_assert_int_eq(gguf_get_strs(g, "t.nothing", &a, &err), ST_NOTFOUND);
    ck_assert_uint_eq(a.n, 99);
    gguf_close(g);
}
END_TEST

START_TEST(wide_integers_in_arrays_saturate)
{
    struct build b;
    struct gguf_array a;

    build_head(&b, 3, 0, 3);
    build_array(&b, "u32", GGUF_V_U32, 1);
    build_u32(&b, UINT32_MAX);
    build_array(&b, "i64", GGUF_V_I64, 2);
    build_u64(&b, 1ull << 63);
    build_u64(&b, 1ull << 40);
    build_array(&b, "i8", GGUF_V_I8, 1);
    build_u8(&b, 0x80);
    struct gguf *g = opened(&b, false);
    ck_assert(!gguf_get_ints(g, "u32", &a, &err) && gguf_array_i32(&a, 0) == INT32_MAX);
    ck_assert(!gguf_get_ints(g, "i64", &a, &err) && gguf_array_i32(&a, 0) == INT32_MIN);
    ck_assert(gguf_array_i32(&a, 1) == INT32_MAX);
    ck_assert(!gguf_get_ints(g, "i8", &a, &err) && gguf_array_i32(&a, 0) == -128);
    gguf_close(g);
}
END_TEST

START_TEST(an_empty_array_fits_any_kind)
{
    struct build b;
    struct gguf_array a;

    build_head(&b, 3, 0, 1);
    build_array(&b, "none", GGUF_V_F32, 0);
    struct gguf *g = opened(&b, false);
    ck_assert(!gguf_get_strs(g, "none", &a, &err) && a.n == 0);
    ck_assert(!gguf_get_ints(g, "none", &a, &err) && a.n == 0);
    gguf_close(g);
}
END_TEST

START_TEST(floats_beyond_f32_are_refused)
{
    static const double values[] = {1e39, -1e39, (double)INFINITY, (double)NAN};
    struct build b;
    float f = 7;

    for (size_t i = 0; i < 4; i++) {
        build_head(&b, 3, 0, 1);
        build_key(&b, "f", GGUF_V_F64);
        build_bytes(&b, &values[i], sizeof(values[i]));
        struct gguf *g = opened(&b, false);
        ck_assert_int_eq(gguf_get_f32(g, "f", &f, &err), ST_FORMAT);
        ck_assert_ptr_nonnull(strstr(err.text, "a finite float is expected"));
        ck_assert(f == 7);
        gguf_close(g);
    }
}
END_TEST

START_TEST(version_2_and_3_and_no_options)
{
    struct build b;
    struct gguf *g;

    for (uint32_t version = 2; version <= 3; version++) {
        build_sample(&b);
        memcpy(b.data + 4, &version, sizeof(version));
        ck_assert_int_eq(gguf_open_memory("mem", b.data, b.n, NULL, &g, NULL), ST_OK);
        const struct gguf_tensor *t = gguf_find(g, "two");
        ck_assert(t && *(const uint8_t *)t->data == 32 && t->n_bytes == 34);
        ck_assert_uint_eq(gguf_file_bytes(g), b.n);
        gguf_close(g);
    }
}
END_TEST

START_TEST(alignment_moves_the_data)
{
    static const uint32_t alignments[] = {1, 8, 64, 4096};
    struct build b;

    for (size_t i = 0; i < 4; i++) {
        build_head(&b, 3, 1, 1);
        build_key_u32(&b, "general.alignment", alignments[i]);
        build_tensor(&b, "t", GGUF_I8, 3, 1, alignments[i]);
        build_data(&b, alignments[i], alignments[i] + 3);
        struct gguf *g = opened(&b, false);
        ck_assert_ptr_eq(gguf_find(g, "t")->data, b.data + b.n - 3);
        gguf_close(g);
    }
}
END_TEST

START_TEST(vocab_only_asks_nothing_of_the_data)
{
    struct build b;

    build_head(&b, 3, 2, 1);
    build_key_u32(&b, "split.count", 1);
    build_tensor(&b, "odd", 77, 3, 1, 5);
    build_tensor(&b, "far", GGUF_F32, 1u << 30, 1u << 30, 1ull << 60);
    struct gguf *g = opened(&b, true);
    const struct gguf_tensor *t = gguf_find(g, "odd");
    ck_assert(t && t->type == 77 && t->n_bytes == 0 && t->n_elems == 3 && !t->data);
    t = gguf_find(g, "far");
    ck_assert(t && t->n_elems == 1ull << 60 && t->n_bytes == 4ull << 60 && !t->data);
    gguf_close(g);
}
END_TEST

START_TEST(types_know_their_size)
{
    ck_assert_uint_eq(gguf_type_bytes(GGUF_Q8_0, 64), 68);
    ck_assert_uint_eq(gguf_type_bytes(GGUF_Q8_0, 63), 0);
    ck_assert_uint_eq(gguf_type_bytes(GGUF_F32, UINT64_MAX / 2), 0);
    ck_assert_uint_eq(gguf_type_bytes(10, 256), 0);
    ck_assert_uint_eq(gguf_type_bytes(UINT32_MAX, 1), 0);
    ck_assert_uint_eq(gguf_type_block(GGUF_Q6_K), 256);
    ck_assert_uint_eq(gguf_type_block(4), 0);
    ck_assert_str_eq(gguf_type_name(16), "IQ2_XXS");
    ck_assert_ptr_null(gguf_type_name(4));
    ck_assert_ptr_null(gguf_type_name(UINT32_MAX));
    ck_assert_str_eq(gguf_value_name(GGUF_V_F64), "f64");
    ck_assert_ptr_null(gguf_value_name((enum gguf_value)99));
}
END_TEST

START_TEST(shown_strings_are_printable_and_short)
{
    char longer[200];

    memset(longer, 'y', sizeof(longer));
    ck_assert_str_eq(gguf_show((struct gguf_str){"a\n\x1b\xc3\xa9 z", 7}).text, "a???? z");
    ck_assert_str_eq(gguf_show((struct gguf_str){NULL, 0}).text, "");
    struct gguf_shown shown = gguf_show((struct gguf_str){longer, sizeof(longer)});
    ck_assert_uint_eq(strlen(shown.text), sizeof(shown.text) - 1);
    ck_assert_str_eq(shown.text + sizeof(shown.text) - 5, "y...");
    ck_assert_str_eq(gguf_show((struct gguf_str){longer, sizeof(shown.text) - 1}).text +
                         sizeof(shown.text) - 3,
                     "yy");
}
END_TEST

RUN_SUITE("gguf", facts_of_a_file, integers_convert_if_they_fit, floats_bools_and_strings,
          arrays_of_each_kind, wide_integers_in_arrays_saturate, an_empty_array_fits_any_kind,
          floats_beyond_f32_are_refused, version_2_and_3_and_no_options, alignment_moves_the_data,
          vocab_only_asks_nothing_of_the_data, types_know_their_size,
          shown_strings_are_printable_and_short)
