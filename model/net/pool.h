/* pool.h - the compute threads: run one function on all of them, and a barrier inside it.
 *
 * Owner:   the thread that opened it; it is worker 0 of every run.
 * Memory:  one small struct; threads are started at open and joined at free.
 * Errors:  ST_NOMEM, ST_IO (no thread to be had).
 * Threads: between runs the others spin a bounded while and then sleep: an idle pool costs no CPU.
 */
#ifndef OCTET_MODEL_NET_POOL_H
#define OCTET_MODEL_NET_POOL_H

#include <stddef.h>

struct pool;

int pool_open(unsigned n_workers, struct pool **ret_pool);
void pool_free(struct pool *pool);
unsigned pool_size(const struct pool *pool);

/* fn(arg, worker, n_workers) on every worker at once; returns when all are done. Not re-entrant. */
void pool_run(struct pool *pool, void (*fn)(void *arg, unsigned worker, unsigned n_workers),
              void *arg);
/* Inside fn: wait until every worker is here. All must call it equally often. */
void pool_barrier(struct pool *pool);

/* The part of n that worker w of n_workers does: [*ret_begin, *ret_end), the same on every call. */
void pool_share(size_t n, unsigned worker, unsigned n_workers, size_t *ret_begin, size_t *ret_end);

#endif
