#include "api/sse.h"

#include <string.h>

#include "unit/suite.h"

/* Byte for byte: clients split at "\n\n" and some choke on anything else. */
START_TEST(frames)
{
    struct buf buf;

    buf_init(&buf, 1000);
    ck_assert_int_eq(sse_ping(&buf), ST_OK);
    ck_assert_int_eq(sse_data(&buf, "{\"text\":\"a\"}", 12), ST_OK);
    ck_assert_int_eq(sse_done(&buf), ST_OK);
    ck_assert_str_eq(buf.data, ": ping\n\ndata: {\"text\":\"a\"}\n\ndata: [DONE]\n\n");
    buf_done(&buf);
}
END_TEST

RUN_SUITE("sse", frames)
