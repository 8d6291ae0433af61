/* show.h - tokenize a text and hold the tokens' names, joined by |, against what is expected. */
#ifndef OCTET_TESTS_UNIT_TEXT_SHOW_H
#define OCTET_TESTS_UNIT_TEXT_SHOW_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "unit/text/vocab_build.h"

static inline void check_tokens(const struct tokenizer *t, const char *text, size_t text_len,
                                unsigned flags, const char *want)
{
    struct error err = {""};
    int32_t *ids = NULL;
    size_t n = 99, len = 0;
    char got[512];

    ck_assert_msg(tokenizer_encode(t, text, text_len, flags, &ids, &n, &err) == ST_OK, "%s",
                  err.text);
    for (size_t i = 0; i < n; i++) {
        const char *name;
        size_t n_name;

        ck_assert_int_eq(tokenizer_name(t, ids[i], &name, &n_name), ST_OK);
        ck_assert_uint_lt(len + n_name + 2, sizeof(got));
        if (i)
            got[len++] = '|';
        memcpy(got + len, name, n_name);
        len += n_name;
    }
    got[len] = '\0';
    free(ids);
    ck_assert_str_eq(got, want);
}

static inline void check_text(const struct tokenizer *t, const char *text, unsigned flags,
                              const char *want)
{
    check_tokens(t, text, strlen(text), flags, want);
}

static inline struct tokenizer *open_good(struct vocab_file *f)
{
    struct tokenizer *t = NULL;
    struct error err = {""};

    ck_assert_msg(file_open(f, &t, &err) == ST_OK, "%s", err.text);
    return t;
}

#endif
