/* memory.h - large anonymous memory, zeroed, resident only where it is touched, on huge pages where
 * the system has them: a stream through the weights or the cache then costs few page walks, and the
 * hardware's prefetcher is not stopped every 4 KiB.
 *
 * Owner:   the caller; an arena is filled by one thread.
 * Memory:  whole mappings; what an arena lends goes back with the arena.
 * Errors:  NULL where there is no room. */
#ifndef OCTET_MODEL_NET_MEMORY_H
#define OCTET_MODEL_NET_MEMORY_H

#include <stddef.h>
#include <stdint.h>

void *memory_map(size_t bytes);
void memory_unmap(void *p, size_t bytes); /* NULL is fine */

/* Pieces side by side, so that several small ones share huge pages. */
struct arena {
    uint8_t *base;
    size_t bytes, used;
};

int arena_open(struct arena *arena, size_t bytes);
void arena_done(struct arena *arena); /* a zeroed struct is fine */
/* 64-byte aligned; NULL: it is full. */
void *arena_take(struct arena *arena, size_t bytes);

#endif
