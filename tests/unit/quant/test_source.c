/* Weights through the one way from a file: rounding within half a step, rotations that cancel, what
 * is refused. */
#include "model/quant/source.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/format/dequant.h"
#include "model/format/gguf_write.h"
#include "model/kernels/kernels.h"
#include "unit/suite.h"

enum { ROWS = 128, K = 192 };

static float weights[ROWS * K];
static char path[64];

static float kind(int which, size_t i)
{
    float r = sinf((float)(i * i % 1009) + (float)i);
    switch (which) {
    case 0:
        return r;
    case 1:
        return 0.25f; /* constant */
    case 2:
        return r * 1e-9f; /* scale below f16: stored as zeros */
    case 3:
        return r * 1e5f;
    case 4:
        return 0.0f;
    default:
        return i % 64 == 3 ? r * 100.0f : r; /* an outlier a group */
    }
}

/* A file with one f32 matrix "blk.0.attn_v.weight". */
static struct gguf *file_of(int which)
{
    struct gguf_writer *w;
    struct gguf *g;
    struct gguf_opts opts = {0};
    struct error err = {""};

    for (size_t i = 0; i < ROWS * K; i++)
        weights[i] = kind(which, i);
    snprintf(path, sizeof(path), "/tmp/octet_test_source_%d.gguf", (int)getpid());
    ck_assert_int_eq(gguf_write_open(path, &w, &err), ST_OK);
    ck_assert_int_eq(
        gguf_write_tensor(w, "blk.0.attn_v.weight", GGUF_F32, (uint64_t[2]){K, ROWS}, 2), ST_OK);
    ck_assert_int_eq(gguf_write_data(w, weights, sizeof(weights), &err), ST_OK);
    ck_assert_int_eq(gguf_write_commit(w, &err), ST_OK);
    ck_assert_msg(gguf_open(path, &opts, &g, &err) == ST_OK, "%s", err.text);
    return g;
}

static void done(struct gguf *g)
{
    gguf_close(g);
    unlink(path);
}

static const struct quant_spec specs[] = {{8, 32, 0, 0},   {8, 64, 0, 0},   {8, 64, 64, 0},
                                          {8, 64, 64, 64}, {8, 64, 16, 16}, {8, 96, 32, 0},
                                          {8, K, 64, 64}};

/* |x - x'| <= s/2 in the space where the rounding happens. */
START_TEST(rounding_is_within_half_a_step)
{
    for (int which = 0; which < 6; which++) {
        struct gguf *g = file_of(which);
        for (size_t s = 0; s < sizeof(specs) / sizeof(specs[0]); s++) {
            struct source *src;
            struct error err = {""};
            static float rotated[ROWS * K];
            int8_t q[K];
            uint16_t scales[K / 32];
            memcpy(rotated, weights, sizeof(rotated));
            source_turn(rotated, ROWS, K, specs[s].block_out);
            for (size_t i = 0; i < ROWS; i++)
                kernels_at(0)->hadamard(rotated + i * K, K, specs[s].block_in);
            ck_assert_int_eq(source_open(g, "blk.0.attn_v.weight", ROWS, K, &specs[s], &src, &err),
                             ST_OK);
            for (size_t i = 0; i < ROWS; i++) {
                ck_assert_msg(source_row_i8(src, i, q, scales, &err) == ST_OK, "%s", err.text);
                for (size_t c = 0; c < K; c++) {
                    double step = (double)f16_to_f32(scales[c / specs[s].group]),
                           x = rotated[i * K + c];
                    double off = fabs(x - step * q[c]);
                    /* f16 rounds the scale, so the largest value may be clipped by half of its last
                     * bit; below the smallest f16 the group is zeros. */
                    ck_assert(step == 0.0 ? fabs(x) < 127 * 6e-8
                                          : off <= step * (0.5 + 127.0 / 2048.0) + 1e-12);
                    ck_assert_int_ge(q[c], -127);
                }
            }
            source_free(src);
        }
        done(g);
    }
}
END_TEST

START_TEST(a_zero_group_has_scale_zero)
{
    struct gguf *g = file_of(4);
    struct source *src;
    int8_t q[K];
    uint16_t scales[3] = {1, 1, 1};
    ck_assert_int_eq(source_open(g, "blk.0.attn_v.weight", ROWS, K, &specs[3], &src, NULL), ST_OK);
    ck_assert_int_eq(source_row_i8(src, 5, q, scales, NULL), ST_OK);
    for (size_t c = 0; c < K; c++)
        ck_assert_int_eq(q[c], 0);
    ck_assert(scales[0] == 0 && scales[1] == 0 && scales[2] == 0);
    source_free(src);
    done(g);
}
END_TEST

START_TEST(broken_weights_are_refused_by_name)
{
    const float broken[] = {NAN, INFINITY, 3e38f};
    for (size_t b = 0; b < 3; b++) {
        struct gguf *g = file_of(0);
        struct source *src;
        struct error err = {""};
        int8_t q[K];
        uint16_t scales[K / 32];
        const struct gguf_tensor *t = gguf_find(g, "blk.0.attn_v.weight");
        /* The map is read-only: a copy of the file's bytes carries the fault. */
        size_t len = (size_t)gguf_file_bytes(g), at = 0;
        FILE *f = fopen(path, "rb");
        uint8_t *bytes = malloc(len);
        ck_assert_uint_eq(fread(bytes, 1, len, f), len);
        fclose(f);
        while (memcmp(bytes + at, t->data, 64) != 0)
            at++;
        memcpy(bytes + at + 4 * (7 * K + 9), &broken[b], 4);
        struct gguf *h;
        ck_assert_int_eq(gguf_open_memory("spoilt", bytes, len, &(struct gguf_opts){0}, &h, &err),
                         ST_OK);
        ck_assert_int_eq(source_open(h, "blk.0.attn_v.weight", ROWS, K, &specs[1], &src, &err),
                         ST_OK);
        ck_assert_int_eq(source_row_i8(src, 6, q, scales, &err), ST_OK);
        ck_assert_int_eq(source_row_i8(src, 7, q, scales, &err), ST_FORMAT);
        ck_assert_msg(strstr(err.text, "spoilt") && strstr(err.text, "blk.0.attn_v.weight") &&
                          strstr(err.text, "row 7"),
                      "%s", err.text);
        source_free(src);
        gguf_close(h);
        free(bytes);
        done(g);
    }
}
END_TEST

START_TEST(a_wrong_shape_is_named)
{
    struct gguf *g = file_of(0);
    struct source *src;
    struct error err = {""};
    ck_assert_int_eq(source_open(g, "blk.0.attn_v.weight", ROWS + 1, K, &specs[1], &src, &err),
                     ST_FORMAT);
    ck_assert_msg(strstr(err.text, "192 x 128") && strstr(err.text, "192 x 129"), "%s", err.text);
    ck_assert_int_eq(source_open(g, "blk.1.attn_v.weight", ROWS, K, &specs[1], &src, &err),
                     ST_NOTFOUND);
    ck_assert_msg(strstr(err.text, "blk.1.attn_v.weight is missing"), "%s", err.text);
    ck_assert(!source_exists(g, "blk.1.attn_v.weight") && source_exists(g, "blk.0.attn_v.weight"));
    done(g);
}
END_TEST

/* What octet's own file says of a matrix's spec: answered, or refused. */
static int stored(const struct quant_spec *spec, struct error *err)
{
    const struct gguf_str name = {"blk.0.attn_v", 12};
    struct quant_spec read;
    struct gguf_writer *w;
    struct gguf *g;

    snprintf(path, sizeof(path), "/tmp/octet_test_source_%d.gguf", (int)getpid());
    ck_assert_int_eq(gguf_write_open(path, &w, NULL), ST_OK);
    gguf_write_strs(w, "octet.linear.names", &name, 1);
    gguf_write_u32s(w, "octet.linear.bits", &spec->bits, 1);
    gguf_write_u32s(w, "octet.linear.group", &spec->group, 1);
    gguf_write_u32s(w, "octet.linear.block_in", &spec->block_in, 1);
    gguf_write_u32s(w, "octet.linear.block_out", &spec->block_out, 1);
    gguf_write_tensor(w, "blk.0.attn_v.octet_q", GGUF_I8, (uint64_t[2]){K, 1}, 2);
    ck_assert_int_eq(gguf_write_data(w, weights, K, NULL), ST_OK);
    ck_assert_int_eq(gguf_write_commit(w, NULL), ST_OK);
    ck_assert_int_eq(gguf_open(path, &(struct gguf_opts){0}, &g, NULL), ST_OK);
    int r = source_stored_spec(g, "blk.0.attn_v.weight", &read, err);
    if (r == ST_OK)
        ck_assert_mem_eq(&read, spec, sizeof(read));
    done(g);
    return r;
}

START_TEST(a_stored_spec_is_one_that_runs)
{
    static const struct quant_spec bad[] = {
        {4, 64, 0, 0},       {0, 64, 0, 0},  {8, 0, 0, 0},   {8, 40, 0, 0},
        {8, 131072, 0, 0},   {8, 64, 48, 0}, {8, 64, 0, 48}, {8, 128, 128, 0},
        {8, 64, 0, 128},     {8, 32, 64, 0}, {8, 96, 64, 0}, /* over the end of a row */
        {8, 64, 1u << 31, 0}};
    struct error err;

    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
        ck_assert_int_eq(stored(&specs[i], NULL), ST_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_eq(stored(&bad[i], &err), ST_UNSUPPORTED);
        ck_assert_msg(strstr(err.text, "blk.0.attn_v has"), "%s", err.text);
    }
}
END_TEST

START_TEST(octet_names_replace_the_suffix)
{
    char q[256], s[256], longest[300];
    ck_assert_int_eq(source_octet_names("blk.0.attn_q.weight", q, s), ST_OK);
    ck_assert_str_eq(q, "blk.0.attn_q.octet_q");
    ck_assert_str_eq(s, "blk.0.attn_q.octet_scale");
    ck_assert_int_eq(source_octet_names("blk.0.attn_q.bias", q, s), ST_INVALID);
    memset(longest, 'x', 290);
    memcpy(longest + 290, ".weight", 8);
    ck_assert_int_eq(source_octet_names(longest, q, s), ST_INVALID);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {rounding_is_within_half_a_step,
                                  a_zero_group_has_scale_zero,
                                  broken_weights_are_refused_by_name,
                                  a_wrong_shape_is_named,
                                  octet_names_replace_the_suffix,
                                  a_stored_spec_is_one_that_runs,
                                  NULL};
    return suite_run("source", tests, 60);
}
