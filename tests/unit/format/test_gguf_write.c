/* What the writer writes the reader reads; what fails leaves the old file and nothing else. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gguf_build.h"
#include "model/format/gguf_write.h"

static char dir[64], path[96];
static struct error err;

/* The linker sends both here (CMakeLists.txt: --wrap). f: a file is synced, d: a folder, r:
 * renamed. */
int __real_fsync(int fd);
int __real_rename(const char *from, const char *to);
int __wrap_fsync(int fd);
int __wrap_rename(const char *from, const char *to);
static char calls[8];

int __wrap_fsync(int fd)
{
    struct stat st;

    ck_assert(fstat(fd, &st) == 0 && strlen(calls) < sizeof(calls) - 1);
    calls[strlen(calls)] = S_ISDIR(st.st_mode) ? 'd' : 'f';
    return __real_fsync(fd);
}

int __wrap_rename(const char *from, const char *to)
{
    ck_assert(strlen(calls) < sizeof(calls) - 1);
    calls[strlen(calls)] = 'r';
    return __real_rename(from, to);
}

static void setup(void)
{
    snprintf(dir, sizeof(dir), "/tmp/octet-write-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/out.gguf", dir);
}

static size_t n_files(void)
{
    DIR *folder = opendir(dir);
    size_t n = 0;

    ck_assert_ptr_nonnull(folder);
    for (struct dirent *entry; (entry = readdir(folder));)
        n += entry->d_name[0] != '.';
    closedir(folder);
    return n;
}

static void teardown(void)
{
    chmod(dir, 0700);
    unlink(path);
    ck_assert_int_eq(rmdir(dir), 0); /* a leftover would keep it */
}

static void put_old_file(void)
{
    FILE *file = fopen(path, "wb");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fputs("old", file), 1);
    fclose(file);
}

static void check_old_file(void)
{
    char text[8] = "";
    FILE *file = fopen(path, "rb");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(text, 1, sizeof(text) - 1, file), 3);
    ck_assert_str_eq(text, "old");
    fclose(file);
    ck_assert_uint_eq(n_files(), 1);
}

static struct gguf_writer *writer(void)
{
    struct gguf_writer *w = NULL;

    ck_assert_msg(gguf_write_open(path, &w, &err) == ST_OK, "%s", err.text);
    return w;
}

static struct gguf *reader(void)
{
    struct gguf *g = NULL;

    ck_assert_msg(gguf_open(path, NULL, &g, &err) == ST_OK, "%s", err.text);
    return g;
}

static bool str_is(struct gguf_str str, const char *text)
{
    return str.len == strlen(text) && !memcmp(str.data, text, str.len);
}

START_TEST(keys_round_trip)
{
    const uint32_t numbers[] = {0, 1, UINT32_MAX};
    const struct gguf_str strs[] = {{"a\0b", 3}, {"", 0}, {"é", 2}};
    struct gguf_writer *w = writer();
    uint32_t u32;
    float f32;
    bool yes;
    struct gguf_str str;
    struct gguf_array a;

    ck_assert_int_eq(gguf_write_u32(w, "u32", 4000000000u), ST_OK);
    ck_assert_int_eq(gguf_write_f32(w, "f32", -0.1f), ST_OK);
    ck_assert_int_eq(gguf_write_bool(w, "bool", true), ST_OK);
    ck_assert_int_eq(gguf_write_str(w, "str", "text", 4), ST_OK);
    ck_assert_int_eq(gguf_write_str(w, "empty", NULL, 0), ST_OK);
    ck_assert_int_eq(gguf_write_u32s(w, "u32s", numbers, 3), ST_OK);
    ck_assert_int_eq(gguf_write_u32s(w, "none", NULL, 0), ST_OK);
    ck_assert_int_eq(gguf_write_strs(w, "strs", strs, 3), ST_OK);
    ck_assert_int_eq(gguf_write_commit(w, &err), ST_OK);
    ck_assert_uint_eq(n_files(), 1);

    struct gguf *g = reader();
    ck_assert_uint_eq(gguf_n_keys(g), 8);
    ck_assert(!gguf_get_u32(g, "u32", &u32, &err) && u32 == 4000000000u);
    ck_assert(!gguf_get_f32(g, "f32", &f32, &err) && f32 == -0.1f);
    ck_assert(!gguf_get_bool(g, "bool", &yes, &err) && yes);
    ck_assert(!gguf_get_str(g, "str", &str, &err) && str_is(str, "text"));
    ck_assert(!gguf_get_str(g, "empty", &str, &err) && str_is(str, ""));
    ck_assert(!gguf_get_array(g, "u32s", &a, &err) && a.n == 3 &&
              !memcmp(a.data, numbers, sizeof(numbers)));
    ck_assert(!gguf_get_array(g, "none", &a, &err) && a.n == 0 && a.elem == GGUF_V_U32);
    ck_assert(!gguf_get_strs(g, "strs", &a, &err) && a.n == 3);
    ck_assert(a.strs[0].len == 3 && !memcmp(a.strs[0].data, "a\0b", 3) && str_is(a.strs[1], "") &&
              str_is(a.strs[2], "é"));
    gguf_close(g);
}
END_TEST

/* Sizes that need padding, data in pieces, and more tensors than the first allocation holds. */
START_TEST(tensors_round_trip)
{
    enum { N = 150, MOST = 34 * 7 };
    struct gguf_writer *w = writer();
    uint8_t data[MOST];
    char name[32];

    for (size_t i = 0; i < N; i++) {
        const uint64_t dims[] = {32, 1 + i % 7, 1};

        snprintf(name, sizeof(name), "blk.%zu.weight", i);
        ck_assert_int_eq(gguf_write_tensor(w, name, i % 2 ? GGUF_Q8_0 : GGUF_I8, dims, 1 + i % 3),
                         ST_OK);
    }
    for (size_t i = 0; i < N; i++) {
        size_t n = (i % 2 ? 34 : 32) * (i % 3 ? 1 + i % 7 : 1);

        memset(data, (int)i + 1, n);
        ck_assert_int_eq(gguf_write_data(w, data, 1, &err), ST_OK);
        ck_assert_int_eq(gguf_write_data(w, data, 0, &err), ST_OK);
        ck_assert_int_eq(gguf_write_data(w, data, n - 1, &err), ST_OK);
    }
    ck_assert_int_eq(gguf_write_commit(w, &err), ST_OK);

    struct gguf *g = reader();
    ck_assert_uint_eq(gguf_n_tensors(g), N);
    ck_assert_uint_eq(gguf_file_bytes(g) % 32, 0);
    for (size_t i = 0; i < N; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);

        snprintf(name, sizeof(name), "blk.%zu.weight", i);
        ck_assert(str_is(t->name, name) && t->n_dims == 1 + i % 3 && t->dims[0] == 32);
        ck_assert_uint_eq(t->n_bytes, (i % 2 ? 34 : 32) * (i % 3 ? 1 + i % 7 : 1));
        for (size_t k = 0; k < t->n_bytes; k++)
            ck_assert_uint_eq(((const uint8_t *)t->data)[k], i + 1);
    }
    gguf_close(g);
}
END_TEST

/* Each key of the sample and of the other writer's file, as it is; the alignment is the writer's
 * own. */
START_TEST(copied_keys_are_equal_to_the_byte)
{
    struct build b;
    struct gguf *from;

    build_head(&b, 3, 0, 2);
    build_key_u32(&b, "general.alignment", 64);
    build_array(&b, "u16s", GGUF_V_U16, 2);
    build_u32(&b, 0x00020001);
    ck_assert_int_eq(gguf_open_memory("mem", b.data, b.n, NULL, &from, &err), ST_OK);
    struct gguf_writer *w = writer();
    for (size_t i = 0; i < gguf_n_keys(from); i++)
        ck_assert_int_eq(gguf_write_copy(w, gguf_kv_at(from, i)), ST_OK);
    gguf_close(from);
    ck_assert_int_eq(gguf_open("tests/unit/format/golden.gguf", NULL, &from, &err), ST_OK);
    for (size_t i = 0; i < gguf_n_keys(from); i++)
        ck_assert_int_eq(gguf_write_copy(w, gguf_kv_at(from, i)), ST_OK);
    gguf_close(from);
    ck_assert_int_eq(gguf_write_commit(w, &err), ST_OK);

    /* After the heads (24 bytes) the file is u16s, then golden's keys, which stand first in golden.
     */
    uint8_t got[4096], want[4096];
    FILE *file = fopen(path, "rb"), *golden = fopen("tests/unit/format/golden.gguf", "rb");
    ck_assert(file && golden);
    size_t n = fread(got, 1, sizeof(got), file), n_u16s = 8 + 4 + 4 + 4 + 8 + 4;
    ck_assert_uint_gt(n, 500);
    ck_assert_uint_eq(fread(want, 1, sizeof(want), golden), sizeof(want));
    ck_assert_mem_eq(got + 24, b.data + b.n - n_u16s, n_u16s);
    uint64_t n_keys;
    memcpy(&n_keys, got + 16, sizeof(n_keys));
    ck_assert_uint_eq(n_keys, 18);
    /* The tail of at most 31 bytes is padding. */
    ck_assert_mem_eq(got + 24 + n_u16s, want + 24, n - 24 - n_u16s - 31);
    fclose(file);
    fclose(golden);
    struct gguf *g = reader();
    ck_assert_uint_eq(gguf_n_keys(g), 18);
    ck_assert_ptr_null(gguf_key(g, "general.alignment"));
    gguf_close(g);
}
END_TEST

/* Tensors begin where the file is told they do, and the key says so; 32 needs none. */
START_TEST(any_alignment)
{
    static const uint32_t alignments[] = {1, 32, 64, 8192, GGUF_MAX_ALIGNMENT};
    const uint64_t dim = 5;

    for (size_t i = 0; i < sizeof(alignments) / sizeof(alignments[0]); i++) {
        struct gguf_writer *w = writer();
        uint32_t alignment = 32;
        memset(calls, 0, sizeof(calls));
        ck_assert_int_eq(gguf_write_alignment(w, alignments[i]), ST_OK);
        ck_assert_int_eq(gguf_write_tensor(w, "a", GGUF_I8, &dim, 1), ST_OK);
        ck_assert_int_eq(gguf_write_tensor(w, "b", GGUF_I8, &dim, 1), ST_OK);
        ck_assert_int_eq(gguf_write_data(w, "abcde", 5, &err), ST_OK);
        ck_assert_int_eq(gguf_write_data(w, "fghij", 5, &err), ST_OK);
        ck_assert_int_eq(gguf_write_commit(w, &err), ST_OK);
        struct gguf *g = reader();
        const char *a = gguf_find(g, "a")->data, *b = gguf_find(g, "b")->data;
        int r = gguf_get_u32(g, "general.alignment", &alignment, NULL);
        ck_assert_int_eq(r, alignments[i] == 32 ? ST_NOTFOUND : ST_OK);
        ck_assert_uint_eq(alignment, alignments[i]);
        ck_assert_uint_eq(gguf_alignment(g), alignments[i]);
        ck_assert_mem_eq(a, "abcde", 5);
        ck_assert_mem_eq(b, "fghij", 5);
        ck_assert_int_eq(b - a, alignment < 5 ? 5 : alignment);
        gguf_close(g);
    }
}
END_TEST

START_TEST(numbers_of_64_bits)
{
    struct gguf_writer *w = writer();
    uint64_t u = 0;
    double d = 0;

    ck_assert_int_eq(gguf_write_u64(w, "u", UINT64_MAX), ST_OK);
    ck_assert_int_eq(gguf_write_f64(w, "d", 0.1), ST_OK);
    ck_assert_int_eq(gguf_write_f64(w, "nan", NAN), ST_OK);
    ck_assert_int_eq(gguf_write_commit(w, &err), ST_OK);
    struct gguf *g = reader();
    ck_assert_int_eq(gguf_get_u64(g, "u", &u, &err), ST_OK);
    ck_assert_int_eq(gguf_get_f64(g, "d", &d, &err), ST_OK);
    ck_assert(u == UINT64_MAX && d == 0.1);
    ck_assert_int_eq(gguf_get_f64(g, "nan", &d, &err), ST_FORMAT);
    ck_assert_int_eq(gguf_get_f64(g, "none", &d, &err), ST_NOTFOUND);
    ck_assert(d == 0.1);
    gguf_close(g);
}
END_TEST

START_TEST(the_old_file_lends_its_permissions)
{
    struct stat st;

    put_old_file();
    ck_assert_int_eq(chmod(path, 0640), 0);
    ck_assert_int_eq(gguf_write_commit(writer(), &err), ST_OK);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0640);
}
END_TEST

START_TEST(the_old_file_stays_until_commit)
{
    put_old_file();
    struct gguf_writer *w = writer();
    const uint64_t dim = 4;
    ck_assert_int_eq(gguf_write_tensor(w, "t", GGUF_I8, &dim, 1), ST_OK);
    ck_assert_int_eq(gguf_write_data(w, "abcd", 4, &err), ST_OK);
    ck_assert_uint_eq(n_files(), 2);
    gguf_write_abort(w);
    check_old_file();

    w = writer();
    ck_assert_int_eq(gguf_write_commit(w, &err), ST_OK);
    gguf_close(reader());
    ck_assert_uint_eq(n_files(), 1);
    gguf_write_abort(NULL);
}
END_TEST

/* What is renamed is on the disk, and then the rename is too. */
START_TEST(a_power_cut_finds_one_of_the_files)
{
    ck_assert_int_eq(gguf_write_commit(writer(), &err), ST_OK);
    ck_assert_str_eq(calls, "frd");
}
END_TEST

START_TEST(the_file_has_usual_permissions)
{
    struct stat st;

    umask(027);
    ck_assert_int_eq(gguf_write_commit(writer(), &err), ST_OK);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0640);
}
END_TEST

/* A tensor beyond what a file may hold: a limit stands in for a full disk. */
static int write_beyond_the_limit(size_t n_bytes)
{
    struct gguf_writer *w = writer();
    const uint64_t dim = n_bytes;
    uint8_t *data = calloc(1, n_bytes);
    int r;

    ck_assert_ptr_nonnull(data);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){4096, 4096}), 0);
    ck_assert_int_eq(gguf_write_tensor(w, "t", GGUF_I8, &dim, 1), ST_OK);
    r = gguf_write_data(w, data, n_bytes, &err);
    free(data);
    if (r) {
        gguf_write_abort(w);
        return r;
    }
    return gguf_write_commit(w, &err);
}

/* Large data fail when they are written, small ones when the buffer is flushed at the commit. */
START_TEST(a_failed_write_keeps_the_old_file)
{
    static const size_t sizes[] = {1000000, 4096};
    char sentence[160];

    put_old_file();
    ck_assert_int_eq(write_beyond_the_limit(sizes[_i]), ST_IO);
    snprintf(sentence, sizeof(sentence), "cannot write %s: File too large", path);
    ck_assert_str_eq(err.text, sentence);
    check_old_file();
}
END_TEST

static void refuse_path(const char *where, const char *sentence)
{
    struct gguf_writer *w = NULL;

    ck_assert_int_eq(gguf_write_open(where, &w, &err), ST_IO);
    ck_assert_ptr_null(w);
    ck_assert_str_eq(err.text, sentence);
}

START_TEST(places_that_cannot_be_written)
{
    char sentence[200];

    refuse_path("/nonexistent/m.gguf",
                "cannot write /nonexistent/m.gguf: No such file or directory");
    refuse_path("/dev/null", "cannot write /dev/null: it exists and is not a regular file");
    snprintf(sentence, sizeof(sentence), "cannot write %s: it exists and is not a regular file",
             dir);
    refuse_path(dir, sentence);
    ck_assert_int_eq(chmod(dir, 0500), 0);
    bool root = geteuid() == 0;
    snprintf(sentence, sizeof(sentence), "cannot write %s: Permission denied", path);
    ck_assert(!root || seteuid(65534) == 0);
    refuse_path(path, sentence);
    ck_assert(!root || seteuid(0) == 0);
}
END_TEST

/* A crashed run of the same process id left its temporary file. */
START_TEST(a_leftover_is_not_in_the_way)
{
    char leftover[128];

    snprintf(leftover, sizeof(leftover), "%s.%ld-0.tmp", path, (long)getpid());
    FILE *file = fopen(leftover, "wb");
    ck_assert_ptr_nonnull(file);
    fclose(file);
    ck_assert_int_eq(gguf_write_commit(writer(), &err), ST_OK);
    ck_assert_int_eq(unlink(leftover), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gguf_write");
    TCase *tc = tcase_create("gguf_write");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, keys_round_trip);
    tcase_add_test(tc, tensors_round_trip);
    tcase_add_test(tc, copied_keys_are_equal_to_the_byte);
    tcase_add_test(tc, any_alignment);
    tcase_add_test(tc, numbers_of_64_bits);
    tcase_add_test(tc, the_old_file_lends_its_permissions);
    tcase_add_test(tc, the_old_file_stays_until_commit);
    tcase_add_test(tc, a_power_cut_finds_one_of_the_files);
    tcase_add_test(tc, the_file_has_usual_permissions);
    tcase_add_loop_test(tc, a_failed_write_keeps_the_old_file, 0, 2);
    tcase_add_test(tc, places_that_cannot_be_written);
    tcase_add_test(tc, a_leftover_is_not_in_the_way);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
