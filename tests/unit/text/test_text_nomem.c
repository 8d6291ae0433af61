/* The n-th allocation fails, for every n: ST_NOMEM with a sentence, nothing lost (the sanitizer
 * watches). The linker sends this program's allocations here (CMakeLists.txt: --wrap). PCRE2's own
 * are not among them; they are made through the same checks. */
#include "model/text/detok.h"
#include "unit/suite.h"
#include "unit/text/show.h"
#include "unit/nomem.h"

static void put_sample(struct vocab_file *f, bool bytes)
{
    static const struct token more[] = {{"<s>", CONTROL, 0}, {"ab", NORMAL, 0}, {"[u]", USER, 0}};
    static const char *const merges[] = {"a b"};

    if (bytes)
        byte_level(f, "default", more, 3, merges, 1);
    else
        pieces(f, more + 1, 2);
    memcpy(f->data + 16, &f->n_keys, sizeof(f->n_keys));
}

START_TEST(opening)
{
    for (int bytes = 0; bytes < 2; bytes++) {
        struct vocab_file f = {0};
        struct gguf *g = NULL;
        int n = 0;

        put_sample(&f, bytes);
        ck_assert_int_eq(gguf_open_memory("test.gguf", f.data, f.n, NULL, &g, NULL), ST_OK);
        for (;; n++) {
            struct tokenizer *t = NULL;
            struct error err = {""};

            countdown = n + 1;
            int r = tokenizer_open(g, &t, &err);
            bool ran_out = countdown == 0;
            countdown = 0;
            tokenizer_free(t);
            if (!ran_out)
                break;
            ck_assert_int_eq(r, ST_NOMEM);
            ck_assert_ptr_null(t);
            ck_assert_ptr_nonnull(strstr(err.text, "memory"));
        }
        ck_assert_int_gt(n, 8);
        gguf_close(g);
        free(f.data);
    }
}
END_TEST

START_TEST(encoding)
{
    for (int bytes = 0; bytes < 2; bytes++) {
        struct vocab_file f = {0};
        int n = 0;

        put_sample(&f, bytes);
        struct tokenizer *t = open_good(&f);
        for (;; n++) {
            int32_t *ids = NULL;
            size_t n_ids = 77;
            char text[300];
            struct error err = {""};

            memset(text, 'x', sizeof(text));
            countdown = n + 1;
            int r = tokenizer_encode(t, text, sizeof(text), 0, &ids, &n_ids, &err);
            bool ran_out = countdown == 0;
            countdown = 0;
            if (!ran_out) {
                free(ids);
                break;
            }
            ck_assert_int_eq(r, ST_NOMEM);
            ck_assert(!ids && n_ids == 77);
            ck_assert_ptr_nonnull(strstr(err.text, "memory"));
        }
        ck_assert_int_gt(n, 4);
        tokenizer_free(t);
    }
}
END_TEST

START_TEST(detokenizing)
{
    static const char *const stops[] = {"one", "two"};
    struct vocab_file f = {0};
    int n = 0;

    put_sample(&f, true);
    struct tokenizer *t = open_good(&f);
    for (;; n++) {
        struct detok *d = NULL;

        countdown = n + 1;
        int r = detok_new(t, stops, 2, &d);
        bool ran_out = countdown == 0;
        countdown = 0;
        detok_free(d);
        if (!ran_out)
            break;
        ck_assert_int_eq(r, ST_NOMEM);
        ck_assert_ptr_null(d);
    }
    ck_assert_int_eq(n, 6);
    tokenizer_free(t);
}
END_TEST

RUN_SUITE("text_nomem", opening, encoding, detokenizing)
