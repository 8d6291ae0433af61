
#include "model/format/checked.h"
#include "unit/suite.h"

START_TEST(sums_and_products_that_overflow)
{
    uint64_t got = 7;

    ck_assert(!checked_add(UINT64_MAX, 1, &got) && !checked_mul(1ull << 32, 1ull << 32, &got));
    ck_assert(!checked_align(UINT64_MAX - 30, 32, &got));
    ck_assert_uint_eq(got, 7);
    ck_assert(checked_add(UINT64_MAX - 1, 1, &got) && got == UINT64_MAX);
    ck_assert(checked_mul(1ull << 32, (1ull << 32) - 1, &got) && got == UINT64_MAX - UINT32_MAX);
    ck_assert(checked_align(UINT64_MAX - 31, 32, &got) && got == UINT64_MAX - 31);
    ck_assert(checked_align(33, 32, &got) && got == 64);
    ck_assert(checked_align(0, 32, &got) && got == 0);
    ck_assert(checked_align(33, 1, &got) && got == 33);
}
END_TEST

START_TEST(a_cursor_stays_inside)
{
    const uint8_t data[13] = {1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3}, *bytes = NULL;
    struct cursor c = {data, sizeof(data)};
    uint32_t u32 = 7;
    uint64_t u64 = 7;

    ck_assert(!cursor_take(&c, UINT64_MAX, &bytes) && !cursor_take(&c, 14, &bytes));
    ck_assert(cursor_u32(&c, &u32) && u32 == 1);
    ck_assert(cursor_u64(&c, &u64) && u64 == 2);
    ck_assert(!cursor_u32(&c, &u32) && !cursor_u64(&c, &u64) && u32 == 1 && u64 == 2);
    ck_assert(cursor_take(&c, 1, &bytes) && bytes == data + 12 && c.left == 0);
    ck_assert(cursor_take(&c, 0, &bytes) && bytes == data + 13);
}
END_TEST

RUN_SUITE("checked", sums_and_products_that_overflow, a_cursor_stays_inside)
