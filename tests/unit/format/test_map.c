#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/format/map.h"
#include "tests/unit/suite.h"

enum { BYTES = 1 << 16 };

/* Kilobytes of the map that this process holds, by the kernel's own account. */
static long resident(const struct map *map)
{
    char line[256], at[32];
    long kb = -1;
    bool ours = false;
    FILE *f = fopen("/proc/self/smaps", "r");

    ck_assert_ptr_nonnull(f);
    snprintf(at, sizeof(at), "%lx-", (unsigned long)(uintptr_t)map->bytes);
    while (kb < 0 && fgets(line, sizeof(line), f)) {
        ours |= strncmp(line, at, strlen(at)) == 0;
        if (ours)
            sscanf(line, "Rss: %ld kB", &kb);
    }
    fclose(f);
    return kb;
}

START_TEST(what_is_released_is_read_again)
{
    char path[] = "/tmp/octet-map-XXXXXX";
    uint8_t *bytes = malloc(BYTES), *copy = malloc(BYTES);
    int fd = mkstemp(path);
    struct map map;

    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = copy[i] = (uint8_t)(i * 7 + i / 256);
    ck_assert_int_eq(write(fd, bytes, BYTES), BYTES);
    close(fd);
    ck_assert_int_eq(map_open(path, "a file", &map, NULL), ST_OK);
    ck_assert_mem_eq(map.bytes, bytes, BYTES);
    ck_assert_int_gt(resident(&map), 0);
    map_release(&map, map.bytes, BYTES);
    ck_assert_int_eq(resident(&map), 0);
    ck_assert_mem_eq(map.bytes, bytes, BYTES);
    map_release(&map, bytes, BYTES); /* not of the map: it stays */
    map_release(&map, map.bytes + 1, BYTES);
    ck_assert_mem_eq(bytes, copy, BYTES);
    ck_assert_mem_eq(map.bytes, copy, BYTES);
    map_close(&map);
    unlink(path);
    free(bytes);
    free(copy);
}
END_TEST

RUN_SUITE("map", what_is_released_is_read_again)
