#include "model/format/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int map_open(const char *path, const char *wanted, struct map *ret_map, struct error *err)
{
    int r = ST_IO;
    struct stat st;
    void *bytes = NULL;
    /* Without O_NONBLOCK the open of a pipe would wait for somebody to write. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || fstat(fd, &st)) {
        error_set(err, ST_IO, "cannot open %s: %s", path, strerror(errno));
        goto out;
    }
    if (S_ISDIR(st.st_mode)) {
        error_set(err, ST_IO, "%s is a directory; %s is expected", path, wanted);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        error_set(err, ST_IO, "%s is not a regular file; %s is expected", path, wanted);
        goto out;
    }
    if (st.st_size > 0) {
        bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED) {
            error_set(err, ST_IO, "cannot map %s: %s", path, strerror(errno));
            goto out;
        }
    }
    *ret_map = (struct map){bytes, (size_t)st.st_size};
    r = ST_OK;
out:
    if (fd >= 0)
        close(fd);
    return r;
}

void map_close(struct map *map)
{
    if (map->n_bytes)
        munmap((void *)map->bytes, map->n_bytes);
    *map = (struct map){0};
}

void map_release(const struct map *map, const void *bytes, size_t n)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)map->bytes,
                    at = (uintptr_t)bytes;
    const uintptr_t begin = (at + page - 1) / page * page, end = (at + n) / page * page;

    if (map->n_bytes && at >= first && at - first < map->n_bytes &&
        n <= map->n_bytes - (at - first) && begin < end)
        madvise((void *)begin, end - begin, MADV_DONTNEED); /* refused: they stay */
}

bool map_is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool map_exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

char *map_join(const char *dir, const char *name)
{
    size_t n_dir = strlen(dir), room = n_dir + strlen(name) + 2;
    char *path = malloc(room);

    if (path)
        snprintf(path, room, "%s%s%s", dir, n_dir && dir[n_dir - 1] == '/' ? "" : "/", name);
    return path;
}
