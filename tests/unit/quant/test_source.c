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

enum { HUGE_KIND = 8, KINDS };

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
    case 5:
        return i % 64 == 3 ? r * 100.0f : r; /* an outlier a group */
    case 6:
        return 3.0f + r * 0.1f; /* far from 0 all along */
    case 7:
        return r * 1e-41f; /* denormal */
    default:
        return r * 1e30f;
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

static const struct quant_spec specs[] = {
    {.bits = 8, .group = 32},
    {.bits = 8, .group = 64},
    {.bits = 8, .group = 64, .block_in = 64},
    {.bits = 8, .group = 64, .block_in = 64, .block_out = 64},
    {.bits = 8, .group = 64, .block_in = 16, .block_out = 16},
    {.bits = 8, .group = 96, .block_in = 32},
    {.bits = 8, .group = K, .block_in = 64, .block_out = 64},
    {.bits = 8, .group = 32, .block_in = 64},
    {.bits = 8, .group = K, .act_group = 64, .scale_f32 = 1},
    {.bits = 8, .group = 64, .zero = 1},
    {.bits = 8, .group = 64, .scale_f32 = 1, .zero = 1, .act_zero = 1},
    {.bits = 8, .group = 128, .block_in = 64, .act_group = K},
    {.bits = 4, .group = 32},
    {.bits = 4, .group = 64, .block_in = 64, .scale_f32 = 1},
    {.bits = 4, .group = 32, .zero = 1},
    {.bits = 4, .group = 128, .scale_f32 = 1, .zero = 1}};
enum { SPECS = sizeof(specs) / sizeof(specs[0]), GROUPS = K / 32 + 2, ROOM = 256 };

/* Room for a row of any of them. */
static int8_t q[ROOM], zeros[GROUPS];
static float scales[GROUPS];
static const struct quant_row row = {q, scales, zeros};

/* |x - x'| <= s/2 in the space where the rounding happens, of one number. An f16 scale is rounded, so
 * the largest value may be clipped by half of its last bit; below the smallest f16 the group is
 * zeros. */
static bool is_near(const struct quant_spec *s, double x, size_t c)
{
    const int top = s->bits == 4 ? 7 : 127, least = s->zero || s->bits == 4 ? -top - 1 : -top;
    double step = (double)scales[c / s->group];
    int zero = zeros[c / s->group];
    double off = fabs(x - step * (q[c] - zero));

    if (q[c] < least || q[c] > top || (!s->zero && zero) || zero < least || zero > top)
        return false;
    if (step == 0.0)
        return fabs(x) < (s->scale_f32 ? 1e-42 : (2 * top + 1) * 6e-8);
    double clip = s->scale_f32 ? 1e-5 : (2 * top + 1) / 2048.0;
    /* Searched: the range may be smaller, and what is outside of it held to its ends. */
    const int end = x / step > 0.0 ? top : least;
    const double part = s->bits == 4 ? 1.0 - 19.0 / 32.0 : 1.0 - 15.0 / 480.0;
    if (s->block_in && x / step * (end > 0 ? 1 : -1) > abs(end - zero))
        return q[c] == end && fabs(x / step) <= abs(end - zero) / part + 1.0;
    if (s->bits == 4 && !s->zero && x / step > 7.5) /* outside of the range: held to its end */
        return q[c] == 7 && x / step < 8.1;
    return off <= fabs(step) * (0.5 + clip) + 1e-12;
}

/* Row by row; returns how many numbers are not. */
static size_t far_off(struct source *src, const struct quant_spec *s, const float *rotated)
{
    size_t wrong = 0;

    for (size_t i = 0; i < ROWS; i++) {
        struct error err = {""};
        memset(zeros, 0x55, sizeof(zeros));
        ck_assert_msg(source_row_ints(src, i, &row, &err) == ST_OK, "%s", err.text);
        for (size_t c = 0; c < K; c++)
            wrong += !is_near(s, (double)rotated[i * K + c], c);
        for (size_t c = K; c < quant_padded(s, K); c++)
            wrong += q[c] != zeros[c / s->group];
    }
    return wrong;
}

START_TEST(rounding_is_within_half_a_step)
{
    for (int which = 0; which < KINDS; which++) {
        struct gguf *g = file_of(which);
        for (size_t s = 0; s < SPECS; s++) {
            struct source *src;
            struct error err = {""};
            static float rotated[ROWS * K];
            if (which == HUGE_KIND && !specs[s].scale_f32)
                continue;
            memcpy(rotated, weights, sizeof(rotated));
            source_turn(rotated, ROWS, K, specs[s].block_out);
            for (size_t i = 0; i < ROWS; i++)
                kernels_at(0)->hadamard(rotated + i * K, K, specs[s].block_in);
            ck_assert_int_eq(source_open(g, "blk.0.attn_v.weight", ROWS, K, &specs[s], &src, &err),
                             ST_OK);
            size_t wrong = far_off(src, &specs[s], rotated);
            ck_assert_msg(wrong == 0, "%zu off, kind %d, spec %zu", wrong, which, s);
            source_free(src);
        }
        done(g);
    }
}
END_TEST

/* Above f16 in one scale: named; f32 scales hold it. */
START_TEST(a_scale_beyond_f16_is_told)
{
    struct gguf *g = file_of(HUGE_KIND);
    struct source *src;
    struct error err = {""};
    ck_assert_int_eq(source_open(g, "blk.0.attn_v.weight", ROWS, K, &specs[1], &src, &err), ST_OK);
    ck_assert_int_eq(source_row_ints(src, 0, &row, &err), ST_FORMAT);
    ck_assert(source_noise(src)->beyond_f16);
    ck_assert_msg(strstr(err.text, "blk.0.attn_v.weight, row 0"), "%s", err.text);
    source_free(src);
    done(g);
}
END_TEST

/* One scale for all rows is that of the largest weight of all. */
START_TEST(one_scale_for_a_whole_matrix)
{
    const struct quant_spec spec = {.bits = 8, .group = K, .scale_f32 = 1};
    struct gguf *g = file_of(0);
    struct source *src;
    float max = 0;
    for (size_t i = 0; i < ROWS * K; i++)
        max = fabsf(weights[i]) > max ? fabsf(weights[i]) : max;
    ck_assert_int_eq(source_open(g, "blk.0.attn_v.weight", ROWS, K, &spec, &src, NULL), ST_OK);
    ck_assert_int_eq(source_one_scale(src, NULL), ST_OK);
    for (size_t i = 0; i < ROWS; i++) {
        size_t wrong = 0;
        ck_assert_int_eq(source_row_ints(src, i, &row, NULL), ST_OK);
        ck_assert(scales[0] == max / 127.0f);
        for (size_t c = 0; c < K; c++)
            wrong += !is_near(&spec, (double)weights[i * K + c], c);
        ck_assert_uint_eq(wrong, 0);
    }
    source_free(src);
    done(g);
}
END_TEST

START_TEST(nibbles_lie_as_said)
{
    const int8_t four[6] = {-8, 7, 0, -1, 1, -7};
    uint8_t bytes[3];
    quant_put_nibbles(four, 6, bytes);
    ck_assert_uint_eq(bytes[0], 0xF0);
    ck_assert_uint_eq(bytes[1], 0x78);
    ck_assert_uint_eq(bytes[2], 0x19);
}
END_TEST

START_TEST(a_zero_group_has_scale_zero)
{
    struct gguf *g = file_of(4);
    struct source *src;
    scales[0] = scales[1] = scales[2] = 1;
    ck_assert_int_eq(source_open(g, "blk.0.attn_v.weight", ROWS, K, &specs[3], &src, NULL), ST_OK);
    ck_assert_int_eq(source_row_ints(src, 5, &row, NULL), ST_OK);
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
        ck_assert_int_eq(source_row_ints(src, 6, &row, &err), ST_OK);
        ck_assert_int_eq(source_row_ints(src, 7, &row, &err), ST_FORMAT);
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
    uint32_t v[SOURCE_LINEAR_KEYS];
    struct quant_spec read;
    struct gguf_writer *w;
    struct gguf *g;

    snprintf(path, sizeof(path), "/tmp/octet_test_source_%d.gguf", (int)getpid());
    ck_assert_int_eq(gguf_write_open(path, &w, NULL), ST_OK);
    gguf_write_strs(w, "octet.linear.names", &name, 1);
    memcpy(v, spec, sizeof(v));
    for (size_t i = 0; i < SOURCE_LINEAR_KEYS; i++)
        if (i < 4 || v[i])
            gguf_write_u32s(w, source_linear_keys[i], &v[i], 1);
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
    static const struct quant_spec bad[] = {{.bits = 4, .group = 512},
                                            {.bits = 0, .group = 64},
                                            {.bits = 16, .group = 64},
                                            {.bits = 8, .group = 0},
                                            {.bits = 8, .group = 40},
                                            {.bits = 8, .group = 131072},
                                            {.bits = 8, .group = 65536, .zero = 1, .act_zero = 1},
                                            {.bits = 8, .group = 64, .block_in = 48},
                                            {.bits = 8, .group = 64, .block_out = 48},
                                            {.bits = 8, .group = 128, .block_in = 128},
                                            {.bits = 8, .group = 64, .block_out = 128},
                                            {.bits = 8, .group = 64, .block_in = 1u << 31},
                                            {.bits = 8, .group = 64, .act_group = 40},
                                            {.bits = 8, .group = 64, .act_group = 1u << 30},
                                            {.bits = 8, .group = 64, .scale_f32 = 2},
                                            {.bits = 8, .group = 64, .zero = 2},
                                            {.bits = 8, .group = 64, .act_zero = 9}};
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
    struct source_names n;
    char longest[300];
    ck_assert_int_eq(source_octet_names("blk.0.attn_q.weight", &n), ST_OK);
    ck_assert_str_eq(n.q, "blk.0.attn_q.octet_q");
    ck_assert_str_eq(n.scale, "blk.0.attn_q.octet_scale");
    ck_assert_str_eq(n.zero, "blk.0.attn_q.octet_zero");
    ck_assert_int_eq(source_octet_names("blk.0.attn_q.bias", &n), ST_INVALID);
    memset(longest, 'x', 290);
    memcpy(longest + 290, ".weight", 8);
    ck_assert_int_eq(source_octet_names(longest, &n), ST_INVALID);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        rounding_is_within_half_a_step, a_scale_beyond_f16_is_told,
        one_scale_for_a_whole_matrix,   nibbles_lie_as_said,
        a_zero_group_has_scale_zero,    broken_weights_are_refused_by_name,
        a_wrong_shape_is_named,         octet_names_replace_the_suffix,
        a_stored_spec_is_one_that_runs, NULL};
    return suite_run("source", tests, 60);
}
