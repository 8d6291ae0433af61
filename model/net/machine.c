/* machine.c - what this machine can do at most, on the runner's own threads. */
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "model/net/runner.h"

/* Bytes beyond any cache; turns of a peak loop between two looks at the clock; seconds of a peak
 * round; the best round counts, as a shared machine only ever takes away. */
static const size_t MEMORY_BYTES = (size_t)256 << 20;
enum { TURNS = 4096, ROUNDS = 8 };
static const double PEAK_S = 0.003;

struct lap {
    double begin_s, end_s, macs;
};

struct measuring {
    struct runner *rn;
    uint64_t *memory;             /* MEMORY_BYTES; each worker has a part of its own */
    size_t bytes;                 /* of them to read */
    double (*peak)(size_t turns); /* or NULL: read */
    struct lap *laps;             /* [threads] */
    _Atomic uint64_t seen;        /* what was read: nobody may leave the reading out */
};

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The worker's part of the memory: its first n words, at most all. */
static uint64_t *part_of(const struct measuring *m, unsigned worker, unsigned n_workers,
                         size_t *ret_n)
{
    size_t begin, end, n = m->bytes / sizeof(*m->memory) / n_workers;

    pool_share(MEMORY_BYTES / sizeof(*m->memory), worker, n_workers, &begin, &end);
    *ret_n = n < end - begin ? n : end - begin;
    return m->memory + begin;
}

static void touch(void *arg, unsigned worker, unsigned n_workers)
{
    struct measuring *m = arg;
    size_t n;
    uint64_t *p = part_of(m, worker, n_workers, &n);

    for (size_t i = 0; i < n; i++)
        p[i] = i;
}

static uint64_t read_words(const uint64_t *p, size_t n)
{
    uint64_t sum[16] = {0}, all = 0;

    for (size_t i = 0; i + 16 <= n; i += 16)
        for (size_t j = 0; j < 16; j++)
            sum[j] ^= p[i + j];
    for (size_t j = 0; j < 16; j++)
        all ^= sum[j];
    return all;
}

static void measure(void *arg, unsigned worker, unsigned n_workers)
{
    struct measuring *m = arg;
    struct lap lap = {0};
    size_t n;
    const uint64_t *p = part_of(m, worker, n_workers, &n);

    pool_barrier(m->rn->pool);
    lap.begin_s = lap.end_s = now_s();
    if (!m->peak)
        m->seen ^= read_words(p, n);
    for (; m->peak && lap.end_s < lap.begin_s + PEAK_S; lap.end_s = now_s())
        lap.macs += m->peak(TURNS);
    lap.end_s = now_s();
    m->laps[worker] = lap;
}

static void best_read(struct measuring *m, size_t bytes, double *best)
{
    unsigned n_workers = pool_size(m->rn->pool);
    struct lap all;
    size_t n;

    m->peak = NULL;
    m->bytes = bytes < MEMORY_BYTES ? bytes : MEMORY_BYTES;
    pool_run(m->rn->pool, measure, m);
    /* From the first to begin to the last to end: one may have been held up in between. */
    all = m->laps[0];
    for (unsigned i = 1; i < n_workers; i++) {
        all.begin_s = m->laps[i].begin_s < all.begin_s ? m->laps[i].begin_s : all.begin_s;
        all.end_s = m->laps[i].end_s > all.end_s ? m->laps[i].end_s : all.end_s;
    }
    part_of(m, 0, n_workers, &n);
    double rate = (double)(n * sizeof(*m->memory)) * n_workers / (all.end_s - all.begin_s);
    *best = rate > *best ? rate : *best;
}

static void best_peak(struct measuring *m, double (*peak)(size_t turns), double *best)
{
    double rate = 0;

    m->peak = peak;
    pool_run(m->rn->pool, measure, m);
    for (unsigned i = 0; i < pool_size(m->rn->pool); i++)
        rate += m->laps[i].macs / (m->laps[i].end_s - m->laps[i].begin_s);
    *best = rate > *best ? rate : *best;
}

int runner_measure_machine(struct runner *rn, uint64_t near_bytes,
                           struct machine_limits *ret_limits)
{
    struct machine_limits limits = {0};
    struct measuring m = {.rn = rn, .bytes = MEMORY_BYTES};
    int r = ST_NOMEM;

    m.laps = calloc(pool_size(rn->pool), sizeof(*m.laps));
    m.memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!m.laps || m.memory == MAP_FAILED)
        goto out;
    madvise(m.memory, MEMORY_BYTES, MADV_HUGEPAGE); /* as fast as the machine can, or no matter */
    pool_run(rn->pool, touch, &m);
    for (int round = 0; round < ROUNDS; round++) {
        best_read(&m, MEMORY_BYTES, &limits.read_far);
        best_read(&m, near_bytes, &limits.read_near);
        best_read(&m, near_bytes, &limits.read_near); /* again: now in the caches, if it fits */
        best_peak(&m, rn->kernels->peak_i8, &limits.peak_i8);
        best_peak(&m, rn->kernels->peak_f32, &limits.peak_f32);
    }
    *ret_limits = limits;
    r = ST_OK;
out:
    free(m.laps);
    if (m.memory != MAP_FAILED)
        munmap(m.memory, MEMORY_BYTES);
    return r;
}
