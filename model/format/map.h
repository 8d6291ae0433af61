/* map.h - a whole file as read-only bytes in memory.
 *
 * Owner:   whoever opened it; any thread may read.
 * Memory:  a private mapping, given back by map_close. A file that another process shortens while it
 *          is mapped ends this one by SIGBUS, as with any map.
 * Errors:  ST_IO, ST_NOMEM with one sentence naming the path.
 * Threads: no shared state. */
#ifndef OCTET_MODEL_FORMAT_MAP_H
#define OCTET_MODEL_FORMAT_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/status.h"

struct map {
    const uint8_t *bytes; /* NULL: an empty file */
    size_t n_bytes;
};

/* wanted ("a GGUF file") ends the sentence where path is a folder, a pipe or a device. */
int map_open(const char *path, const char *wanted, struct map *ret_map, struct error *err);
void map_close(struct map *map); /* {0} is fine */
/* bytes[n] are not read again soon: their pages need not stay in memory. Elsewhere than in the map:
 * nothing happens. */
void map_release(const struct map *map, const void *bytes, size_t n);

bool map_is_folder(const char *path);
bool map_exists(const char *path);

/* "dir/name" to be freed, NULL without memory. A slash that ends dir is not doubled. */
char *map_join(const char *dir, const char *name);

#endif
