/* Bad files: each is refused with the right status and one sentence that names what and where. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/limits.h"
#include "gguf_build.h"
#include "unit/suite.h"

static struct build b;

/* Opens b from a copy of its exact size (the sanitizer sees a byte too far) and expects status and
 * a sentence that begins with the name and holds part. */
static void refuse_with(const struct gguf_opts *opts, int status, const char *part)
{
    struct gguf *g = (struct gguf *)0x1;
    struct error err = {""};
    uint8_t *data = malloc(b.n ? b.n : 1);

    ck_assert_ptr_nonnull(data);
    memcpy(data, b.data, b.n);
    int r = gguf_open_memory("x.gguf", data, b.n, opts, &g, &err);
    ck_assert_msg(r == status, "status %d, not %d: %s", r, status, err.text);
    ck_assert_ptr_eq(g, (struct gguf *)0x1);
    ck_assert_msg(!strncmp(err.text, "x.gguf", 6) && strstr(err.text, part), "no '%s' in: %s", part,
                  err.text);
    free(data);
}

static void refuse(int status, const char *part)
{
    refuse_with(NULL, status, part);
}

START_TEST(empty_file)
{
    b.n = 0;
    refuse(ST_FORMAT, "is empty; a GGUF file is expected");
}
END_TEST

START_TEST(wrong_magic)
{
    b.n = 0;
    build_bytes(&b, "GG", 2);
    refuse(ST_FORMAT, "has only 2 bytes");
    b.n = 0;
    build_bytes(&b, "<!DOCTYPE html>", 15);
    refuse(ST_FORMAT, "is not a GGUF file: it begins with '<!DO' (3c 21 44 4f), not 'GGUF'");
    b.n = 0;
    build_bytes(&b, "tjgg\1\0\0\0", 8);
    refuse(ST_UNSUPPORTED, "GGML file from before GGUF");
}
END_TEST

START_TEST(big_endian)
{
    build_sample(&b);
    memcpy(b.data, "FUGG", 4);
    refuse(ST_UNSUPPORTED, "big-endian GGUF file");
    build_head(&b, 0x03000000, 1, 1);
    refuse(ST_UNSUPPORTED, "big-endian GGUF file (version 3)");
}
END_TEST

START_TEST(unknown_version)
{
    static const uint32_t versions[] = {0, 1, 4, UINT32_MAX};

    for (size_t i = 0; i < 4; i++) {
        build_head(&b, versions[i], 0, 0);
        refuse(ST_UNSUPPORTED, "; versions 2 and 3 are read");
    }
}
END_TEST

START_TEST(counts_near_2_64)
{
    build_head(&b, 3, UINT64_MAX, 0);
    refuse(ST_FORMAT, "claims 18446744073709551615 tensors; at most 65536 are read");
    build_head(&b, 3, 0, UINT64_MAX - 1);
    refuse(ST_FORMAT, "claims 18446744073709551614 keys; at most 65536 are read");
    build_head(&b, 3, LIMIT_GGUF_TENSORS, 0);
    refuse(ST_FORMAT, "claims 65536 tensors, more than 24 bytes can hold");
    build_head(&b, 3, 0, LIMIT_GGUF_KEYS);
    refuse(ST_FORMAT, "claims 65536 keys, more than 24 bytes can hold");
}
END_TEST

START_TEST(string_lengths_near_2_64)
{
    build_head(&b, 3, 0, 1);
    build_u64(&b, UINT64_MAX);
    build_data(&b, 32, 32);
    refuse(ST_FORMAT, "the name of key 0 claims 18446744073709551615 bytes; 1 to 256 are possible");
    build_head(&b, 3, 0, 1);
    build_key(&b, "s", GGUF_V_STRING);
    build_u64(&b, UINT64_MAX);
    refuse(ST_FORMAT,
           "a string of key 's' claims 18446744073709551615 bytes, but the file has only 0 more");
    build_head(&b, 3, 1, 0);
    build_u64(&b, 1ull << 63);
    build_data(&b, 32, 64);
    refuse(ST_FORMAT, "the name of tensor 0 claims 9223372036854775808 bytes");
}
END_TEST

START_TEST(array_lengths_near_2_64)
{
    static const enum gguf_value elems[] = {GGUF_V_U8, GGUF_V_F32, GGUF_V_U64, GGUF_V_STRING,
                                            GGUF_V_BOOL};
    static const uint64_t lengths[] = {UINT64_MAX, UINT64_MAX / 4 + 1, UINT64_MAX / 8 + 1,
                                       UINT64_MAX / 16 + 1, 100};

    for (size_t i = 0; i < 25; i++) {
        build_head(&b, 3, 0, 1);
        build_array(&b, "a", elems[i % 5], lengths[i / 5]);
        build_data(&b, 1, 9);
        refuse(ST_FORMAT, "the array of key 'a' claims ");
    }
}
END_TEST

START_TEST(names_that_are_none)
{
    build_head(&b, 3, 0, 1);
    build_key_u32(&b, "", 1);
    build_data(&b, 32, 32);
    refuse(ST_FORMAT, "the name of key 0 claims 0 bytes");
    build_head(&b, 3, 0, 1);
    build_u64(&b, 3);
    build_bytes(&b, "a\0b", 3);
    build_data(&b, 32, 32);
    refuse(ST_FORMAT, "the name of key 0 holds a NUL byte");
}
END_TEST

START_TEST(value_types)
{
    build_head(&b, 3, 0, 1);
    build_key(&b, "k", 13);
    build_u64(&b, 0);
    refuse(ST_FORMAT, "key 'k' has value type 13; 0 to 12 are possible");
    build_head(&b, 3, 0, 1);
    build_array(&b, "k", (enum gguf_value)UINT32_MAX, 1);
    refuse(ST_FORMAT, "key 'k' has value type 4294967295");
    build_head(&b, 3, 0, 1);
    build_array(&b, "k", GGUF_V_ARRAY, 1);
    refuse(ST_UNSUPPORTED, "key 'k' is an array of arrays");
    build_head(&b, 3, 0, 1);
    build_key(&b, "k", GGUF_V_BOOL);
    build_u8(&b, 2);
    refuse(ST_FORMAT, "key 'k' holds the byte 2 as a bool");
    build_head(&b, 3, 0, 1);
    build_array(&b, "k", GGUF_V_BOOL, 2);
    build_u8(&b, 1);
    build_u8(&b, 255);
    refuse(ST_FORMAT, "key 'k' holds the byte 255 as a bool");
}
END_TEST

START_TEST(duplicates)
{
    build_head(&b, 3, 0, 3);
    build_key_u32(&b, "twice", 1);
    build_key_u32(&b, "once", 1);
    build_key_u32(&b, "twice", 1);
    refuse(ST_FORMAT, "there are two keys named 'twice'");
    build_head(&b, 3, 3, 0);
    build_tensor(&b, "twice", GGUF_F32, 8, 1, 0);
    build_tensor(&b, "twicetwice", GGUF_F32, 8, 1, 64);
    build_tensor(&b, "twice", GGUF_F32, 8, 1, 32);
    build_data(&b, 32, 96);
    refuse(ST_FORMAT, "there are two tensors named 'twice'");
}
END_TEST

START_TEST(alignments_that_are_none)
{
    static const uint32_t alignments[] = {0, 3, 48, 2 * GGUF_MAX_ALIGNMENT, 1u << 31, UINT32_MAX};

    for (size_t i = 0; i < 6; i++) {
        build_head(&b, 3, 0, 1);
        build_key_u32(&b, "general.alignment", alignments[i]);
        refuse(ST_FORMAT, "key 'general.alignment' is ");
    }
    build_head(&b, 3, 0, 1);
    build_key(&b, "general.alignment", GGUF_V_STRING);
    build_str(&b, "32");
    refuse(ST_FORMAT,
           "key 'general.alignment' is a string; an integer from 0 to 4294967295 is expected");
}
END_TEST

START_TEST(several_parts)
{
    build_head(&b, 3, 0, 1);
    build_key(&b, "split.count", GGUF_V_U16);
    build_bytes(&b, "\2\0", 2);
    refuse(ST_UNSUPPORTED, "is one of 2 parts");
    refuse_with(&(struct gguf_opts){.vocab_only = true}, ST_UNSUPPORTED, "is one of 2 parts");
}
END_TEST

/* A file of one tensor whose description is ours. */
static void one_tensor(uint32_t type, uint64_t dim0, uint64_t dim1, uint64_t offset)
{
    build_head(&b, 3, 1, 0);
    build_tensor(&b, "t", type, dim0, dim1, offset);
    build_data(&b, 32, 256);
}

START_TEST(zero_and_huge_dims)
{
    one_tensor(GGUF_F32, 0, 4, 0);
    refuse(ST_FORMAT, "dimension 0 of tensor 't' is 0");
    one_tensor(GGUF_F32, 4, 0, 0);
    refuse(ST_FORMAT, "dimension 1 of tensor 't' is 0");
    one_tensor(GGUF_F32, 1ull << 32, 1ull << 32, 0);
    refuse(ST_FORMAT, "the dimensions of tensor 't' multiply beyond 64 bits");
    one_tensor(GGUF_F32, UINT64_MAX, 2, 0);
    refuse(ST_FORMAT, "the dimensions of tensor 't' multiply beyond 64 bits");
    one_tensor(GGUF_F32, 1ull << 31, 1ull << 31, 0);
    refuse(ST_FORMAT, "the size of tensor 't' is beyond 64 bits");
    one_tensor(GGUF_F32, 1ull << 31, 1ull << 30, 0);
    refuse(ST_FORMAT, "tensor 't' reaches to byte 9223372036854775904, but the file has only 352");
}
END_TEST

START_TEST(too_few_or_many_dims)
{
    static const uint32_t ranks[] = {0, 5, UINT32_MAX};

    for (size_t i = 0; i < 3; i++) {
        build_head(&b, 3, 1, 0);
        build_str(&b, "t");
        build_u32(&b, ranks[i]);
        build_data(&b, 32, 128);
        refuse(ST_FORMAT, " dimensions; 1 to 4 are possible");
    }
}
END_TEST

START_TEST(tensor_types)
{
    one_tensor(16, 256, 1, 0);
    refuse(ST_UNSUPPORTED, "tensor 't' has type IQ2_XXS (number 16), which is not read; F32, ");
    one_tensor(4, 256, 1, 0);
    refuse(ST_UNSUPPORTED, "tensor 't' has type unknown (number 4)");
    one_tensor(UINT32_MAX, 256, 1, 0);
    refuse(ST_UNSUPPORTED, "tensor 't' has type unknown (number 4294967295)");
    one_tensor(GGUF_Q8_0, 33, 32, 0);
    refuse(ST_FORMAT, "rows of tensor 't' have 33 elements; Q8_0 needs a multiple of 32");
}
END_TEST

START_TEST(tensor_beyond_the_end)
{
    one_tensor(GGUF_F32, 64, 1, 0);
    b.n--;
    refuse(ST_FORMAT,
           "tensor 't' reaches to byte 352, but the file has only 351 (was it cut short?)");
    one_tensor(GGUF_F32, 64, 1, 32);
    refuse(ST_FORMAT, "tensor 't' reaches to byte 384");
    one_tensor(GGUF_F32, 8, 1, UINT64_MAX - 31);
    refuse(ST_FORMAT, "tensor 't' lies at offset 18446744073709551584, beyond 64 bits");
    one_tensor(GGUF_F32, 8, 1, 8);
    refuse(ST_FORMAT, "tensor 't' lies at offset 8, which is not a multiple of the alignment 32");
}
END_TEST

START_TEST(overlapping_tensors)
{
    build_head(&b, 3, 3, 0);
    build_tensor(&b, "late", GGUF_F32, 8, 1, 64);
    build_tensor(&b, "early", GGUF_F32, 8, 1, 0);
    build_tensor(&b, "wide", GGUF_F32, 9, 1, 32);
    build_data(&b, 32, 128);
    refuse(ST_FORMAT, "the data of tensors 'wide' and 'late' overlap");
    build_head(&b, 3, 2, 0);
    build_tensor(&b, "a", GGUF_I8, 1, 1, 0);
    build_tensor(&b, "b", GGUF_I8, 1, 1, 0);
    build_data(&b, 32, 32);
    refuse(ST_FORMAT, "overlap");
}
END_TEST

START_TEST(names_from_the_file_are_shown_safely)
{
    build_head(&b, 3, 0, 2);
    build_key_u32(&b, "\x1b[31mred\n", 1);
    build_key_u32(&b, "\x1b[31mred\n", 1);
    refuse(ST_FORMAT, "there are two keys named '?[31mred?'");
}
END_TEST

/* Cut anywhere, a file is refused: every byte counts (the last tensor ends at the end). */
START_TEST(truncated_at_every_byte)
{
    build_sample(&b);
    size_t whole = b.n;

    for (b.n = 0; b.n < whole; b.n++)
        refuse(ST_FORMAT, "");
    struct gguf *g;
    ck_assert_int_eq(gguf_open_memory("x.gguf", b.data, b.n, NULL, &g, NULL), ST_OK);
    gguf_close(g);
}
END_TEST

/* Every byte replaced by every value: a status, and the file closes. */
START_TEST(mutated_at_every_byte)
{
    build_sample(&b);
    uint8_t *data = malloc(b.n);
    ck_assert_ptr_nonnull(data);
    memcpy(data, b.data, b.n);

    for (size_t i = 0; i < b.n; i++) {
        for (unsigned value = 0; value < 256; value++) {
            for (int vocab_only = 0; vocab_only < 2; vocab_only++) {
                struct gguf *g = NULL;
                struct error err = {""};

                data[i] = (uint8_t)value;
                int r = gguf_open_memory("x.gguf", data, b.n, &(struct gguf_opts){vocab_only}, &g,
                                         &err);
                if (r == ST_OK ? !g : g || strncmp(err.text, "x.gguf", 6))
                    ck_abort_msg("byte %zu as %u gives %d: %s", i, value, r, err.text);
                if (r != ST_OK && r != ST_FORMAT && r != ST_UNSUPPORTED)
                    ck_abort_msg("byte %zu as %u gives %d: %s", i, value, r, err.text);
                gguf_close(g);
            }
        }
        data[i] = b.data[i];
    }
    free(data);
}
END_TEST

/* ---- files that can't be opened ---- */

static void refuse_path(const char *path, int status, const char *sentence)
{
    struct gguf *g = NULL;
    struct error err = {""};
    int r = gguf_open(path, NULL, &g, &err);

    ck_assert_int_eq(r, status);
    ck_assert_ptr_null(g);
    ck_assert_str_eq(err.text, sentence);
}

START_TEST(not_a_file)
{
    refuse_path("/nonexistent/m.gguf", ST_IO,
                "cannot open /nonexistent/m.gguf: No such file or directory");
    refuse_path("/", ST_IO,
                "/ holds no config.json; a GGUF file or a Hugging Face directory is expected");
    refuse_path("/dev/zero", ST_IO, "/dev/zero is not a regular file; a GGUF file is expected");
}
END_TEST

START_TEST(a_pipe_does_not_hang)
{
    char dir[] = "/tmp/octet-gguf-XXXXXX", path[64], sentence[128];

    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/pipe", dir);
    snprintf(sentence, sizeof(sentence), "%s is not a regular file; a GGUF file is expected", path);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    refuse_path(path, ST_IO, sentence);
    unlink(path);
    rmdir(dir);
}
END_TEST

START_TEST(an_empty_file_on_disk)
{
    char path[] = "/tmp/octet-gguf-XXXXXX", sentence[128];
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    close(fd);
    snprintf(sentence, sizeof(sentence), "%s is empty; a GGUF file is expected", path);
    refuse_path(path, ST_FORMAT, sentence);
    unlink(path);
}
END_TEST

START_TEST(no_permission)
{
    char path[] = "/tmp/octet-gguf-XXXXXX", sentence[128];
    int fd = mkstemp(path);
    bool root = geteuid() == 0;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fchmod(fd, 0), 0);
    close(fd);
    snprintf(sentence, sizeof(sentence), "cannot open %s: Permission denied", path);
    /* Root may read anything, so be nobody for a moment. */
    ck_assert(!root || seteuid(65534) == 0);
    refuse_path(path, ST_IO, sentence);
    ck_assert(!root || seteuid(0) == 0);
    unlink(path);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {empty_file,
                                  wrong_magic,
                                  big_endian,
                                  unknown_version,
                                  counts_near_2_64,
                                  string_lengths_near_2_64,
                                  array_lengths_near_2_64,
                                  names_that_are_none,
                                  value_types,
                                  duplicates,
                                  alignments_that_are_none,
                                  several_parts,
                                  zero_and_huge_dims,
                                  too_few_or_many_dims,
                                  tensor_types,
                                  tensor_beyond_the_end,
                                  overlapping_tensors,
                                  names_from_the_file_are_shown_safely,
                                  truncated_at_every_byte,
                                  mutated_at_every_byte,
                                  not_a_file,
                                  a_pipe_does_not_hang,
                                  an_empty_file_on_disk,
                                  no_permission,
                                  NULL};
    return suite_run("gguf_bad", tests, 120);
}
