#include "model/net/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include "config/status.h"

enum { HUGE_PAGE = 2 << 20 };

/* Aligned by hand: kernels before 6.7 place a mapping anywhere, and a huge page that does not fit
 * whole is none. */
void *memory_map(size_t bytes)
{
    size_t room, slack = bytes >= HUGE_PAGE ? HUGE_PAGE : 0;

    if (bytes == 0 || __builtin_add_overflow(bytes, slack, &room))
        return NULL;
    uint8_t *p = mmap(NULL, room, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    if (!slack)
        return p;
    size_t lead = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t keep = (bytes + page - 1) / page * page;
    if (lead)
        munmap(p, lead);
    if (room - lead > keep)
        munmap(p + lead + keep, room - lead - keep);
    madvise(p + lead, keep, MADV_HUGEPAGE); /* without them it works the same */
    return p + lead;
}

void memory_unmap(void *p, size_t bytes)
{
    if (p)
        munmap(p, bytes);
}

int arena_open(struct arena *arena, size_t bytes)
{
    *arena = (struct arena){.base = memory_map(bytes), .bytes = bytes};
    return arena->base ? ST_OK : ST_NOMEM;
}

void arena_done(struct arena *arena)
{
    memory_unmap(arena->base, arena->bytes);
    *arena = (struct arena){0};
}

void *arena_take(struct arena *arena, size_t bytes)
{
    size_t at = (arena->used + 63) / 64 * 64;

    if (bytes > arena->bytes || at > arena->bytes - bytes)
        return NULL;
    arena->used = at + bytes;
    return arena->base + at;
}
