/* clock.h - monotonic microseconds, the one clock of server/. Owner, memory, errors: none. Threads:
 * any. */
#ifndef OCTET_SERVER_CLOCK_H
#define OCTET_SERVER_CLOCK_H

#include <stdint.h>
#include <time.h>

#define US_PER_MS 1000u

static inline uint64_t clock_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

#endif
