#include "model/net/memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/status.h"
#include "unit/suite.h"

enum { HUGE = 2 << 20 };

static bool is_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

START_TEST(a_mapping_is_zeroed_and_aligned)
{
    const size_t sizes[] = {1, 4096, 4097, HUGE - 1, HUGE, HUGE + 1, 5 * HUGE + 4097};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t *p = memory_map(sizes[i]);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % (sizes[i] < HUGE ? 4096 : HUGE), 0);
        ck_assert(is_zero(p, sizes[i]));
        memset(p, 1, sizes[i]);
        memory_unmap(p, sizes[i]);
    }
    memory_unmap(NULL, 5);
}
END_TEST

START_TEST(what_cannot_be_is_null)
{
    const size_t sizes[] = {0, SIZE_MAX, SIZE_MAX - HUGE, SIZE_MAX - HUGE + 1, SIZE_MAX / 2};
    struct arena arena;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        ck_assert_ptr_null(memory_map(sizes[i]));
        ck_assert_int_eq(arena_open(&arena, sizes[i]), ST_NOMEM);
        ck_assert_ptr_null(arena_take(&arena, 1));
        arena_done(&arena);
    }
}
END_TEST

/* Pages of address space that the process has. */
static long pages_mapped(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    long n = 0;

    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fscanf(f, "%ld", &n), 1);
    fclose(f);
    return n;
}

START_TEST(nothing_stays_mapped)
{
    enum { ROUNDS = 200 };
    const long before = pages_mapped();

    for (size_t i = 1; i <= ROUNDS; i++) {
        size_t bytes = HUGE / 2 * (i % 7 + 1) + i;
        memory_unmap(memory_map(bytes), bytes);
    }
    ck_assert_int_lt(pages_mapped() - before, ROUNDS); /* not a page a round */
}
END_TEST

START_TEST(what_is_not_touched_is_not_in_memory)
{
    enum { PAGES = 1 << 18 };
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = PAGES * page;
    static unsigned char in[PAGES];
    size_t n = 0;
    uint8_t *p = memory_map(bytes);

    ck_assert_ptr_nonnull(p);
    p[bytes / 2] = 1;
    ck_assert_int_eq(mincore(p, bytes, in), 0);
    for (size_t i = 0; i < PAGES; i++)
        n += in[i] & 1;
    ck_assert_uint_ge(n, 1);
    ck_assert_uint_le(n * page, HUGE);
    memory_unmap(p, bytes);
}
END_TEST

START_TEST(an_arena_lends_until_it_is_full)
{
    struct arena arena;

    ck_assert_int_eq(arena_open(&arena, 1000), ST_OK);
    uint8_t *a = arena_take(&arena, 1), *b = arena_take(&arena, 64), *c = arena_take(&arena, 65);
    ck_assert_uint_eq((uintptr_t)a % 64, 0);
    ck_assert_ptr_eq(b, a + 64);
    ck_assert_ptr_eq(c, b + 64);
    ck_assert_ptr_null(arena_take(&arena, 745)); /* 256 to 1001 */
    ck_assert_ptr_null(arena_take(&arena, SIZE_MAX));
    ck_assert_ptr_null(arena_take(&arena, SIZE_MAX - 255));
    uint8_t *d = arena_take(&arena, 744);
    ck_assert_ptr_eq(d, c + 128);
    ck_assert_ptr_null(arena_take(&arena, 1));
    ck_assert_ptr_null(arena_take(&arena, 0));
    arena_done(&arena);
    ck_assert_ptr_null(arena.base);
    arena_done(&arena);
}
END_TEST

RUN_SUITE("memory", a_mapping_is_zeroed_and_aligned, what_cannot_be_is_null, nothing_stays_mapped,
          what_is_not_touched_is_not_in_memory, an_arena_lends_until_it_is_full)
