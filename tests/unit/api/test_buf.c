#include "api/buf.h"

#include <stdio.h>
#include <string.h>

#include "unit/suite.h"

START_TEST(grows_to_its_maximum_and_not_beyond)
{
    struct buf buf;

    buf_init(&buf, 1000);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(buf_put(&buf, "x", 1), ST_OK);
    ck_assert_uint_eq(buf.len, 1000);
    ck_assert_uint_le(buf.cap, 1001); /* not doubled past it */
    ck_assert_int_eq(buf.data[1000], '\0');
    ck_assert_int_eq(buf_put(&buf, "x", 1), ST_TOOLONG);
    ck_assert_uint_eq(buf.len, 1000);
    buf_done(&buf);
}
END_TEST

START_TEST(an_error_stays_until_reset)
{
    struct buf buf;

    buf_init(&buf, 4);
    ck_assert_int_eq(buf_puts(&buf, "12345"), ST_TOOLONG);
    ck_assert_int_eq(buf_puts(&buf, "1"), ST_TOOLONG);
    ck_assert_int_eq(buf_printf(&buf, "%d", 1), ST_TOOLONG);
    ck_assert_uint_eq(buf.len, 0);
    buf_reset(&buf);
    ck_assert_int_eq(buf_puts(&buf, "1234"), ST_OK);
    ck_assert_str_eq(buf.data, "1234");
    buf_done(&buf);
}
END_TEST

START_TEST(prints)
{
    struct buf buf;

    buf_init(&buf, 600);
    ck_assert_int_eq(buf_printf(&buf, "%s-%d", "a", 7), ST_OK);
    ck_assert_str_eq(buf.data, "a-7");
    ck_assert_int_eq(buf_printf(&buf, "%597d", 1), ST_OK);
    ck_assert_uint_eq(buf.len, 600);
    ck_assert_uint_eq(strlen(buf.data), 600);
    ck_assert_int_eq(buf_printf(&buf, "%d", 1), ST_TOOLONG);
    buf_done(&buf);
}
END_TEST

START_TEST(takes)
{
    struct buf buf;
    size_t len = 0;
    char *data;

    buf_init(&buf, 10);
    ck_assert_ptr_null(buf_take(&buf, &len));
    buf_put(&buf, "a\0b", 3);
    data = buf_take(&buf, &len);
    ck_assert_uint_eq(len, 3);
    ck_assert_mem_eq(data, "a\0b", 4);
    free(data);
    ck_assert_int_eq(buf_puts(&buf, "again"), ST_OK);
    ck_assert_str_eq(buf.data, "again");
    buf_puts(&buf, "too long");
    ck_assert_ptr_null(buf_take(&buf, &len));
    buf_done(&buf);
}
END_TEST

START_TEST(a_maximum_of_nothing)
{
    struct buf buf;

    buf_init(&buf, 0);
    ck_assert_int_eq(buf_put(&buf, NULL, 0), ST_OK);
    ck_assert_int_eq(buf_puts(&buf, ""), ST_OK);
    ck_assert_int_eq(buf_puts(&buf, "x"), ST_TOOLONG);
    buf_done(&buf);
}
END_TEST

RUN_SUITE("buf", grows_to_its_maximum_and_not_beyond, an_error_stays_until_reset, prints, takes,
          a_maximum_of_nothing)
