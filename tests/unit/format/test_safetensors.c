/* safetensors files: what a sound one says, and one sentence for each way of being broken. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/format/safetensors.h"
#include "unit/suite.h"

struct file {
    uint8_t *bytes; /* of their exact number: the sanitizer sees one too far */
    size_t n;
};

/* The length, header, and n_data bytes 0, 1, 2, … */
static struct file make(const char *header, size_t n_data)
{
    uint64_t len = strlen(header);
    struct file f = {NULL, 8 + (size_t)len + n_data};

    f.bytes = malloc(f.n);
    ck_assert_ptr_nonnull(f.bytes);
    memcpy(f.bytes, &len, 8);
    memcpy(f.bytes + 8, header, (size_t)len);
    for (size_t i = 0; i < n_data; i++)
        f.bytes[8 + len + i] = (uint8_t)i;
    return f;
}

static void refuse_bytes(const void *bytes, size_t n, int status, const char *part)
{
    struct safetensors *s = (struct safetensors *)0x1;
    struct error err = {""};
    int r = safetensors_open_memory("x.st", bytes, n, &s, &err);

    ck_assert_msg(r == status, "status %d, not %d: %s", r, status, err.text);
    ck_assert_ptr_eq(s, (struct safetensors *)0x1);
    ck_assert_msg(!strncmp(err.text, "x.st", 4) && strstr(err.text, part), "no '%s' in: %s", part,
                  err.text);
}

static void refuse(const char *header, size_t n_data, int status, const char *part)
{
    struct file f = make(header, n_data);

    refuse_bytes(f.bytes, f.n, status, part);
    free(f.bytes);
}

/* One tensor 'w' with these members. */
static void refuse_tensor(const char *members, size_t n_data, int status, const char *part)
{
    char header[512];

    snprintf(header, sizeof(header), "{\"w\":{%s}}", members);
    refuse(header, n_data, status, part);
}

static const char two[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                          "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
                          "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}   ";

static void check_two(const struct safetensors *s)
{
    const struct safetensor *a = safetensors_at(s, 0), *b = safetensors_at(s, 1);

    ck_assert_uint_eq(safetensors_n(s), 2);
    ck_assert_str_eq(a->name, "a");
    ck_assert_str_eq(a->dtype, "F32");
    ck_assert_uint_eq(a->n_dims, 0);
    ck_assert_uint_eq(a->n_elems, 1);
    ck_assert_uint_eq(a->n_bytes, 4);
    ck_assert_str_eq(b->name, "b");
    ck_assert_str_eq(b->dtype, "BF16");
    ck_assert_uint_eq(b->n_dims, 2);
    ck_assert_uint_eq(b->dims[0], 2);
    ck_assert_uint_eq(b->dims[1], 3);
    ck_assert_uint_eq(b->dims[2], 1);
    ck_assert_uint_eq(b->n_elems, 6);
    ck_assert_uint_eq(b->n_bytes, 12);
    for (size_t i = 0; i < 12; i++)
        ck_assert_uint_eq(b->data[i], 4 + i);
}

START_TEST(a_sound_file)
{
    struct file f = make(two, 16);
    struct safetensors *s;
    struct error err = {""};

    ck_assert_msg(!safetensors_open_memory("x.st", f.bytes, f.n, &s, &err), "%s", err.text);
    check_two(s);
    ck_assert_uint_eq(safetensors_file_bytes(s), f.n);
    safetensors_close(s);
    free(f.bytes);
}
END_TEST

START_TEST(a_sound_file_by_path)
{
    char path[] = "/tmp/octet-st-XXXXXX";
    struct file f = make(two, 16);
    struct safetensors *s;
    struct error err = {""};
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, f.bytes, f.n), (ssize_t)f.n);
    close(fd);
    ck_assert_msg(!safetensors_open(path, &s, &err), "%s", err.text);
    check_two(s);
    safetensors_close(s);
    unlink(path);
    free(f.bytes);
    ck_assert_int_eq(safetensors_open(path, &s, &err), ST_IO);
    ck_assert_ptr_nonnull(strstr(err.text, path));
}
END_TEST

START_TEST(no_tensors)
{
    struct file f = make("{}", 0);
    struct safetensors *s;

    ck_assert_int_eq(safetensors_open_memory("x.st", f.bytes, f.n, &s, NULL), ST_OK);
    ck_assert_uint_eq(safetensors_n(s), 0);
    safetensors_close(s);
    free(f.bytes);
}
END_TEST

START_TEST(cut_short)
{
    struct file f = make(two, 16);

    for (size_t n = 0; n < f.n; n++) {
        uint8_t *part = malloc(n + 1);

        memcpy(part, f.bytes, n);
        refuse_bytes(part, n, ST_FORMAT, "");
        free(part);
    }
    refuse_bytes(f.bytes, 7, ST_FORMAT, "has only 7 bytes");
    refuse_bytes(f.bytes, 20, ST_FORMAT, "but the file has only 12 more");
    refuse_bytes(f.bytes, f.n - 1, ST_FORMAT,
                 "tensor 'b' reaches to byte 16 of the data, but the file has only 15");
    free(f.bytes);
}
END_TEST

START_TEST(bad_length)
{
    struct file f = make("{}", 0);
    const uint64_t lens[] = {0, 1, 16777217, UINT64_MAX};

    for (size_t i = 0; i < 4; i++) {
        memcpy(f.bytes, &lens[i], 8);
        refuse_bytes(f.bytes, f.n, ST_FORMAT, "is not a safetensors file: its header would have");
    }
    free(f.bytes);
}
END_TEST

START_TEST(bad_json)
{
    refuse("GGUF", 0, ST_FORMAT, "its header begins with 'G'");
    refuse("[1]", 0, ST_FORMAT, "its header begins with '['");
    refuse("{\"a\":1,}", 0, ST_FORMAT, "line 1, column 8");
    refuse("{} {}", 0, ST_FORMAT, "line 1");
    refuse("{\"a\":{},\"a\":{}}", 0, ST_FORMAT, "duplicate");
    refuse("{\"\\u0000\":{}}", 0, ST_FORMAT, "line 1");
    refuse("{\"w\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 0, ST_FORMAT, "33 deep");
    refuse("{\"w\":3}", 0, ST_FORMAT, "the entry of tensor 'w' must be an object");
    refuse("{\"\":{}}", 0, ST_FORMAT, "the name of tensor ''");
}
END_TEST

START_TEST(bad_dtype)
{
    refuse_tensor("\"shape\":[1],\"data_offsets\":[0,4]", 4, ST_FORMAT, "dtype of tensor 'w'");
    refuse_tensor("\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]", 4, ST_FORMAT, "dtype");
    refuse_tensor("\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]", 4, ST_UNSUPPORTED,
                  "dtype of tensor 'w' is 'F31', which is not known");
}
END_TEST

START_TEST(bad_shape)
{
    static const char *const shapes[] = {"3",
                                         "[1,1,1,1,1]",
                                         "[0]",
                                         "[-1]",
                                         "[1.5]",
                                         "[\"1\"]",
                                         "[4294967296,4294967296]",
                                         "[9223372036854775807]"};
    char members[128];

    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
        snprintf(members, sizeof(members), "\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[0,4]",
                 shapes[i]);
        refuse_tensor(members, 4, ST_FORMAT, "shape of tensor 'w' must be");
    }
    refuse_tensor("\"dtype\":\"F32\",\"data_offsets\":[0,4]", 4, ST_FORMAT, "shape");
}
END_TEST

START_TEST(bad_offsets)
{
    static const char *const offsets[] = {"4",      "[0]",     "[0,4,8]", "[4,0]",
                                          "[-4,0]", "[0.0,4]", "{}"};
    char members[128];

    for (size_t i = 0; i < sizeof(offsets) / sizeof(*offsets); i++) {
        snprintf(members, sizeof(members), "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":%s",
                 offsets[i]);
        refuse_tensor(members, 4, ST_FORMAT, "data_offsets of tensor 'w' must be [begin, end]");
    }
    refuse_tensor("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]", 4, ST_FORMAT,
                  "data_offsets of tensor 'w' hold 4 bytes; its dtype and shape need 8");
}
END_TEST

START_TEST(holes_and_overlaps)
{
#define U8(name, from, to)                                                                         \
    "\"" name "\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[" from "," to "]}"
    refuse("{" U8("w", "1", "3") "}", 3, ST_FORMAT, "tensor 'w' begins at byte 1");
    refuse("{" U8("a", "0", "2") "," U8("b", "1", "3") "}", 3, ST_FORMAT,
           "tensor 'b' begins at byte 1 of the data, where the one before it ends at 2");
    refuse("{" U8("a", "0", "2") "," U8("b", "3", "5") "}", 5, ST_FORMAT, "tensor 'b'");
    refuse("{" U8("a", "0", "2") "," U8("b", "0", "2") "}", 2, ST_FORMAT, "begins at byte 0");
    refuse("{" U8("a", "0", "2") "}", 3, ST_FORMAT, "end at byte 2 of the data, the file at 3");
}
END_TEST

RUN_SUITE("safetensors", a_sound_file, a_sound_file_by_path, no_tensors, cut_short, bad_length,
          bad_json, bad_dtype, bad_shape, bad_offsets, holes_and_overlaps)
