/* guard.h - buffers for kernel tests: random contents, and guard bytes on either side that must
 * survive.
 *
 * A buffer ends right before an unreadable page, so that reading past a tail faults even without
 * sanitizers. */
#ifndef OCTET_TESTS_KERNELS_GUARD_H
#define OCTET_TESTS_KERNELS_GUARD_H

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { GUARD_BYTE = 0xA5, GUARD_FRONT = 256 };

struct guarded {
    uint8_t *map;
    size_t map_bytes, lead; /* guard bytes before the data */
    size_t bytes;
    void *p;
};

/* align: of the data's begin, 1 or a power of two up to 64. Slack between an aligned end and the
 * page is guarded too. */
static inline struct guarded guarded_new(size_t bytes, size_t align)
{
    struct guarded g = {.bytes = bytes};
    size_t page = 4096, room = (bytes + GUARD_FRONT + align + page - 1) / page * page;

    g.map_bytes = room + page;
    g.map = mmap(NULL, g.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(g.map != MAP_FAILED);
    ck_assert(mprotect(g.map + room, page, PROT_NONE) == 0);
    memset(g.map, GUARD_BYTE, room);
    g.lead = (room - bytes) / align * align;
    g.p = g.map + g.lead;
    return g;
}

/* Nothing but the data itself was written. */
static inline void guarded_check(const struct guarded *g)
{
    size_t room = g->map_bytes - 4096, before = 0, after = 0;

    for (size_t i = 0; i < g->lead; i++)
        before += g->map[i] != GUARD_BYTE;
    for (size_t i = g->lead + g->bytes; i < room; i++)
        after += g->map[i] != GUARD_BYTE;
    ck_assert_msg(before == 0 && after == 0, "%zu bytes written before the buffer, %zu past it",
                  before, after);
}

static inline void guarded_free(struct guarded *g)
{
    munmap(g->map, g->map_bytes);
}

/* A fixed-seed generator (xorshift64*): tests repeat. */
static inline uint64_t rnd(void)
{
    static uint64_t x = 88172645463325252u;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    return x * 2685821657736338717u;
}

/* In (-1, 1), now and then 0, tiny, or large. */
static inline float rnd_float(void)
{
    uint64_t r = rnd();
    float f = (float)(int32_t)(r >> 32) * 0x1p-31f;
    switch (r & 31) {
    case 0:
        return 0.0f;
    case 1:
        return f * 1e-20f;
    case 2:
        return f * 50.0f;
    default:
        return f;
    }
}

static inline void rnd_floats(float *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = rnd_float();
}

#endif
