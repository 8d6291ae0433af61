/* The Nth allocation fails, for every N: a status, no leak, nothing half given. malloc and its kin
 * are those of nomem.h; jansson is handed the same failing malloc. */
#include <jansson.h>
#include <string.h>

#include "api/error.h"
#include "api/parse.h"
#include "api/render.h"
#include "unit/nomem.h"
#include "unit/suite.h"

/* jansson's growing string ignores a failure of its own inside a token, so a request may still be
 * taken or refused as malformed; what counts is that nothing leaks or breaks. */
static int parse_failing_at(const char *body, int n)
{
    struct completion_req req;
    struct completion_req untouched;
    struct api_error err = {0};
    int r, all_worked;

    memset(&req, 0x55, sizeof(req));
    untouched = req;
    countdown = n + 1;
    r = parse_generate(body, strlen(body), &req, &err);
    all_worked = countdown > 0;
    countdown = 0;
    if (r == ST_OK) {
        completion_req_done(&req);
    } else {
        ck_assert_mem_eq(&req, &untouched, sizeof(req));
        ck_assert(err.message[0] != '\0');
        ck_assert_int_eq(err.http_status, r == ST_NOMEM ? 500 : 400);
    }
    if (all_worked)
        ck_assert_int_eq(r, ST_OK);
    return all_worked ? 1 : r;
}

static void parse_failing_everywhere(const char *body)
{
    int n = 0, n_nomem = 0, r;

    for (; (r = parse_failing_at(body, n)) != 1; n++)
        n_nomem += r == ST_NOMEM;
    ck_assert_int_gt(n, 5);
    ck_assert_int_gt(n_nomem, n / 2);
}

START_TEST(parse_without_memory)
{
    json_set_alloc_funcs(__wrap_malloc, free);
    parse_failing_everywhere(
        "{\"prompt\":\"a\",\"model\":\"m\",\"stop\":[\"b\",\"c\"],\"seed\":5,\"top_p\":0.5}");
    parse_failing_everywhere("{\"prompt\":[1,2,3,4,5,6,7,8,9,10],\"stop\":\"x\"}");
}
END_TEST

START_TEST(render_without_memory)
{
    struct buf buf;

    for (int n = 0;; n++) {
        int r, all_worked;
        buf_init(&buf, 65536);
        countdown = n + 1;
        for (int i = 0; i < 50; i++)
            r = render_piece(&buf, "gen-1", "0123456789012345678901234567890123456789", 40);
        all_worked = countdown > 0;
        countdown = 0;
        ck_assert_int_eq(r, all_worked ? ST_OK : ST_NOMEM);
        ck_assert_int_eq(buf.status, r);
        buf_done(&buf);
        if (all_worked)
            break;
    }
}
END_TEST

RUN_SUITE("api_nomem", parse_without_memory, render_without_memory)
