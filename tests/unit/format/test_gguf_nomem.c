/* The n-th allocation fails, for every n: a status, a sentence, no leak (the sanitizer watches).
 * The linker sends the allocations of this program here (CMakeLists.txt: --wrap). */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gguf_build.h"
#include "model/format/gguf_write.h"
#include "unit/suite.h"
#include "unit/nomem.h"

START_TEST(opening)
{
    static struct build b;
    int n_failed = 0, r;

    build_sample(&b);
    do {
        struct gguf *g = NULL;
        struct error err = {""};

        countdown = n_failed + 1;
        r = gguf_open_memory("x.gguf", b.data, b.n, NULL, &g, &err);
        bool ran_out = countdown == 0;
        countdown = 0;
        ck_assert_int_eq(r, ran_out ? ST_NOMEM : ST_OK);
        ck_assert_int_eq(ran_out, g == NULL);
        ck_assert(!ran_out || strstr(err.text, "no memory"));
        gguf_close(g);
        n_failed += ran_out;
    } while (r);
    /* struct, path, keys, strings, index, offsets, tensors, index, order */
    ck_assert_int_eq(n_failed, 9);
}
END_TEST

static int write_file(const char *path, struct error *err)
{
    const struct gguf_str str = {"s", 1};
    const uint64_t dim = 4;
    struct gguf_writer *w = NULL;
    int r = gguf_write_open(path, &w, err);

    if (r)
        return r;
    if ((r = gguf_write_u32(w, "u", 1)) || (r = gguf_write_strs(w, "s", &str, 1)) ||
        (r = gguf_write_tensor(w, "t", GGUF_I8, &dim, 1)) ||
        (r = gguf_write_data(w, "abcd", 4, err))) {
        gguf_write_abort(w);
        return r;
    }
    return gguf_write_commit(w, err);
}

START_TEST(writing)
{
    char dir[] = "/tmp/octet-nomem-XXXXXX", path[64];
    int n_failed = 0, r;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/out.gguf", dir);
    do {
        struct error err;

        countdown = n_failed + 1;
        r = write_file(path, &err);
        bool ran_out = countdown == 0;
        countdown = 0;
        ck_assert_int_eq(r, ran_out ? ST_NOMEM : ST_OK);
        n_failed += ran_out;
    } while (r);
    ck_assert_int_ge(n_failed, 6);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(dir), 0); /* no temporary file is left */
}
END_TEST

RUN_SUITE("gguf_nomem", opening, writing)
