#include "model/net/pool.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config/status.h"

/* About 10 ns a turn. Barriers are short; between two steps the engine schedules and samples. */
enum { SPIN_BARRIER = 4000, SPIN_JOB = 10000, TURNS_A_YIELD = 200 };

struct pool {
    unsigned n;
    pthread_t *threads;
    unsigned n_started; /* besides worker 0 */

    void (*fn)(void *, unsigned, unsigned);
    void *arg;
    bool stop;

    /* Each on its own cache line: everybody writes arrived, everybody reads the two others. */
    _Alignas(64) _Atomic uint32_t job;     /* counts runs; a change starts one */
    _Alignas(64) _Atomic uint32_t arrived; /* at the barrier */
    _Alignas(64) _Atomic uint32_t phase;   /* counts barriers; a change opens one */
    _Alignas(64) _Atomic uint32_t sleepers;
};

struct start {
    struct pool *pool;
    unsigned worker;
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Wait until *word is no longer old: spin, then sleep. Acquire: what the changer wrote before is
 * seen after. */
static void wait_change(struct pool *pool, _Atomic uint32_t *word, uint32_t old, int spins)
{
    for (int i = 1; i <= spins; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != old)
            return;
        if (i % TURNS_A_YIELD)
            relax();
        else
            sched_yield(); /* the one we wait for may stand in line for this very CPU */
    }
    /* Sequentially consistent with announce(): either it sees the sleeper, or the kernel sees the
     * new value. */
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(word) == old)
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&pool->sleepers, 1);
}

static void announce(struct pool *pool, _Atomic uint32_t *word)
{
    atomic_fetch_add(word, 1);
    if (atomic_load(&pool->sleepers) > 0)
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void pool_barrier(struct pool *pool)
{
    if (pool->n == 1)
        return;
    uint32_t phase = atomic_load_explicit(&pool->phase, memory_order_relaxed);
    if (atomic_fetch_add(&pool->arrived, 1) + 1 == pool->n) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        announce(pool, &pool->phase);
        return;
    }
    wait_change(pool, &pool->phase, phase, SPIN_BARRIER);
}

static void *worker_main(void *p)
{
    struct start start = *(struct start *)p;
    struct pool *pool = start.pool;
    uint32_t seen = 0;

    free(p);
    for (;;) {
        wait_change(pool, &pool->job, seen, SPIN_JOB);
        seen++;
        if (pool->stop)
            return NULL;
        pool->fn(pool->arg, start.worker, pool->n);
        pool_barrier(pool);
    }
}

int pool_open(unsigned n_workers, struct pool **ret_pool)
{
    int r = ST_NOMEM;
    struct pool *pool = NULL;
    sigset_t all, old;

    if (posix_memalign((void **)&pool, 64, sizeof(*pool)))
        return ST_NOMEM;
    *pool = (struct pool){.n = n_workers ? n_workers : 1};
    pool->threads = calloc(pool->n, sizeof(*pool->threads));
    if (!pool->threads)
        goto out;
    /* Signals belong to the loop's thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = ST_OK;
    for (unsigned w = 1; w < pool->n && r == ST_OK; w++) {
        struct start *start = malloc(sizeof(*start));
        if (start)
            *start = (struct start){pool, w};
        if (!start || pthread_create(&pool->threads[w], NULL, worker_main, start)) {
            free(start);
            r = start ? ST_IO : ST_NOMEM;
        } else {
            pool->n_started++;
        }
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
out:
    if (r != ST_OK) {
        pool_free(pool);
        return r;
    }
    *ret_pool = pool;
    return ST_OK;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    pool->stop = true;
    announce(pool, &pool->job);
    for (unsigned w = 1; w <= pool->n_started; w++)
        pthread_join(pool->threads[w], NULL);
    free(pool->threads);
    free(pool);
}

unsigned pool_size(const struct pool *pool)
{
    return pool->n;
}

void pool_run(struct pool *pool, void (*fn)(void *, unsigned, unsigned), void *arg)
{
    pool->fn = fn;
    pool->arg = arg;
    announce(pool, &pool->job);
    fn(arg, 0, pool->n);
    pool_barrier(pool);
}

void pool_share(size_t n, unsigned worker, unsigned n_workers, size_t *ret_begin, size_t *ret_end)
{
    *ret_begin = (n * worker + n_workers - 1) / n_workers;
    *ret_end = (n * (worker + 1) + n_workers - 1) / n_workers;
}
