#include "model/net/pool.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "unit/suite.h"

enum { WORKERS = 5, ROUNDS = 300, PHASES = 20 };

struct phases {
    struct pool *pool;
    int seen[WORKERS]; /* plain: a barrier must order it (TSan would say otherwise) */
    int late;          /* which worker dawdles */
    _Atomic int wrong;
};

/* Between two barriers each worker writes its own slot and then reads everybody's. */
static void count_phases(void *arg, unsigned worker, unsigned n)
{
    struct phases *p = arg;
    for (int i = 1; i <= PHASES; i++) {
        if ((int)worker == p->late && i == PHASES / 2)
            usleep(3000); /* longer than anybody spins: the others sleep and must be woken */
        p->seen[worker] = i;
        pool_barrier(p->pool);
        for (unsigned w = 0; w < n; w++)
            if (p->seen[w] != i)
                p->wrong++;
        pool_barrier(p->pool);
    }
}

START_TEST(barriers_hold_also_when_a_worker_is_late)
{
    struct phases p = {.late = -1};
    ck_assert_int_eq(pool_open(WORKERS, &p.pool), 0);
    for (int i = 0; i < ROUNDS; i++) {
        memset(p.seen, 0, sizeof(p.seen));
        p.late = i % 10 == 0 ? i / 10 % WORKERS : -1;
        pool_run(p.pool, count_phases, &p);
        ck_assert_int_eq(p.wrong, 0);
    }
    pool_free(p.pool);
}
END_TEST

static void touch(void *arg, unsigned worker, unsigned n)
{
    (void)n;
    ((int *)arg)[worker]++;
}

START_TEST(every_worker_runs_once_a_run)
{
    for (unsigned n = 1; n <= WORKERS; n++) {
        struct pool *pool;
        int hits[WORKERS] = {0};
        ck_assert_int_eq(pool_open(n, &pool), 0);
        ck_assert_uint_eq(pool_size(pool), n);
        for (int i = 0; i < 1000; i++)
            pool_run(pool, touch, hits);
        for (unsigned w = 0; w < n; w++)
            ck_assert_int_eq(hits[w], 1000);
        pool_free(pool);
    }
}
END_TEST

START_TEST(an_idle_pool_sleeps)
{
    struct pool *pool;
    struct rusage a, b;
    int hits[WORKERS] = {0};
    ck_assert_int_eq(pool_open(WORKERS, &pool), 0);
    pool_run(pool, touch, hits);
    usleep(200000); /* they have stopped spinning */
    getrusage(RUSAGE_SELF, &a);
    usleep(500000);
    getrusage(RUSAGE_SELF, &b);
#ifndef __SANITIZE_THREAD__ /* it has a thread of its own that wakes up now and then */
    /* Not a speed: voluntary switches would count wake-ups of a pool that polls. */
    ck_assert_int_le(b.ru_nvcsw - a.ru_nvcsw, 5);
    ck_assert_int_le(b.ru_nivcsw - a.ru_nivcsw, 5);
#endif
    pool_run(pool, touch, hits);
    pool_free(pool);
}
END_TEST

START_TEST(shares_cover_everything_once)
{
    for (size_t n = 0; n < 70; n++)
        for (unsigned w = 1; w < 9; w++) {
            size_t next = 0, begin, end;
            for (unsigned i = 0; i < w; i++) {
                pool_share(n, i, w, &begin, &end);
                ck_assert_uint_eq(begin, next);
                ck_assert_uint_ge(end, begin);
                next = end;
            }
            ck_assert_uint_eq(next, n);
        }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {barriers_hold_also_when_a_worker_is_late,
                                  every_worker_runs_once_a_run, an_idle_pool_sleeps,
                                  shares_cover_everything_once, NULL};
    return suite_run("pool", tests, 120);
}
