/* refused.h - give a body to the parser and hold its refusal against what was expected. */
#ifndef OCTET_TESTS_REFUSED_H
#define OCTET_TESTS_REFUSED_H

#include <stdio.h>
#include <string.h>

#include "api/parse.h"
#include "config/limits.h"
#include "unit/suite.h"

static struct completion_req req;
static struct api_error err;

static inline int parse_n(const char *body, size_t len)
{
    /* An exact copy, so that ASan sees one byte read too far. */
    char *copy = malloc(len ? len : 1);
    int r;

    memcpy(copy, body, len);
    memset(&err, 0, sizeof(err));
    memset(&req, 0x55, sizeof(req));
    r = parse_generate(copy, len, &req, &err);
    free(copy);
    return r;
}

static inline void ok(const char *body)
{
    int r = parse_n(body, strlen(body));

    ck_assert_msg(r == ST_OK, "%s: %s", body, err.message);
}

struct bad {
    const char *body;
    enum api_code code;
    const char *param, *says;
};

static inline void refused(const struct bad *bad, const char *body, size_t len)
{
    unsigned char was[sizeof(req)];

    ck_assert_msg(parse_n(body, len) == ST_INVALID, "%.200s was taken", body);
    ck_assert_msg(err.code == bad->code, "%.200s: %s: %s", body, api_code_name(err.code),
                  err.message);
    ck_assert_int_eq(err.http_status, 400);
    ck_assert_msg(strcmp(err.param, bad->param) == 0, "%.200s: param %s", body, err.param);
    ck_assert_msg(strstr(err.message, bad->says) != NULL, "%.200s: \"%s\" lacks \"%s\"", body,
                  err.message, bad->says);
    memset(was, 0x55, sizeof(was));
    ck_assert_mem_eq(&req, was, sizeof(req)); /* outputs change only on success */
}

static inline void all_refused(const struct bad *bad, size_t n)
{
    for (size_t i = 0; i < n; i++)
        refused(&bad[i], bad[i].body, strlen(bad[i].body));
}

#define ALL_REFUSED(table) all_refused(table, sizeof(table) / sizeof(table[0]))

/* head, then unit n times, then tail; the caller frees. */
static inline char *repeated(const char *head, const char *unit, size_t n, const char *tail,
                             size_t *ret_len)
{
    size_t head_len = strlen(head), unit_len = strlen(unit), tail_len = strlen(tail);
    char *body = malloc(head_len + n * unit_len + tail_len + 1);

    memcpy(body, head, head_len);
    for (size_t i = 0; i < n; i++)
        memcpy(body + head_len + i * unit_len, unit, unit_len);
    memcpy(body + head_len + n * unit_len, tail, tail_len + 1);
    *ret_len = head_len + n * unit_len + tail_len;
    return body;
}

static inline void bomb(const char *head, const char *unit, size_t n, const char *tail,
                        const struct bad *bad)
{
    size_t len;
    char *body = repeated(head, unit, n, tail, &len);

    refused(bad, body, len);
    free(body);
}

#endif
