#include "config/cpus.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX 8192u /* of a file of /proc or /sys that is looked at */

/* Read the start of root/path…; false if it can't be read. */
static bool read_text(char out[TEXT_MAX], const char *root, const char *dir, const char *name)
{
    char path[4096];
    ssize_t n;
    int len = snprintf(path, sizeof(path), "%s%s/%s", root, dir, name);
    int fd;

    if (len < 0 || (size_t)len >= sizeof(path))
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, out, TEXT_MAX - 1);
    close(fd);
    if (n <= 0)
        return false;
    out[n] = '\0';
    return true;
}

/* A decimal number at text; false for "max", "-1" and rubbish. */
static bool number(const char *text, uint64_t *ret_value)
{
    char *end;
    unsigned long long value;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || end == text)
        return false;
    *ret_value = value;
    return true;
}

/* The number behind "key " or "key:" at the start of a line; false if it is not there. */
static bool keyed_number(const char *text, const char *key, uint64_t *ret_value)
{
    size_t len = strlen(key);

    for (const char *line = text; line; line = strchr(line, '\n')) {
        if (*line == '\n')
            line++;
        if (strncmp(line, key, len) == 0 && strchr(": \t", line[len]))
            return number(line + len + strspn(line + len, ": \t"), ret_value);
    }
    return false;
}

/* ---- where the process hangs in the hierarchies of cgroups ---- */

/* One hierarchy as it is mounted, and the place of this process in it. */
struct place {
    bool v2;
    char mount[256]; /* below root: "/sys/fs/cgroup", "/sys/fs/cgroup/cpu,cpuacct" */
    char path[2048]; /* "/a/b"; "" at the top */
};

static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
        if (strncmp(at, word, len) == 0 && (at[len] == ',' || at[len] == '\0'))
            return true;
    return false;
}

/* One line of /proc/self/cgroup, "ID:controllers:path", cut in place. */
static bool parse_place(char *line, const char *controller, struct place *ret_place)
{
    char *list = strchr(line, ':');
    char *path = list ? strchr(list + 1, ':') : NULL;
    int len;

    if (!path)
        return false;
    *path++ = '\0';
    list++;
    if (*list != '\0' && !has_word(list, controller))
        return false;
    ret_place->v2 = *list == '\0';
    len = snprintf(ret_place->mount, sizeof(ret_place->mount), "/sys/fs/cgroup%s%s",
                   ret_place->v2 ? "" : "/", list);
    /* Seen from another namespace a path may climb ("/../x"): then only the mount's own top is ours
     * to read. */
    snprintf(ret_place->path, sizeof(ret_place->path), "%s",
             strcmp(path, "/") == 0 || strstr(path, "..") ? "" : path);
    return len > 0 && (size_t)len < sizeof(ret_place->mount) &&
           strlen(path) < sizeof(ret_place->path);
}

/* Call fn for the group of this process and each one above it, in every hierarchy that has the
 * controller. In a container the path may name groups that are not mounted; their files are just
 * not there. */
static void each_group(const char *root, const char *controller,
                       void (*fn)(const char *root, const char *dir, bool v2, void *arg), void *arg)
{
    char text[TEXT_MAX], dir[2560];
    struct place place;
    char *next;

    if (!read_text(text, root, "/proc/self", "cgroup"))
        return;
    for (char *line = text; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (!parse_place(line, controller, &place))
            continue;
        for (;;) {
            char *slash = strrchr(place.path, '/');
            snprintf(dir, sizeof(dir), "%s%s", place.mount, place.path);
            fn(root, dir, place.v2, arg);
            if (!slash)
                break;
            *slash = '\0';
        }
    }
}

/* ---- CPUs ---- */

static void read_quota(const char *root, const char *dir, bool v2, void *arg)
{
    double *least = arg;
    char text[TEXT_MAX], period_text[TEXT_MAX];
    uint64_t quota, period;
    const char *space;

    if (v2) { /* "max 100000" or "200000 100000": microseconds a period */
        if (!read_text(text, root, dir, "cpu.max"))
            return;
        space = strchr(text, ' ');
        if (!space || !number(text, &quota) || !number(space + 1, &period))
            return;
    } else if (!read_text(text, root, dir, "cpu.cfs_quota_us") || !number(text, &quota) ||
               !read_text(period_text, root, dir, "cpu.cfs_period_us") ||
               !number(period_text, &period)) {
        return;
    }
    if (quota > 0 && period > 0 && (*least == 0 || (double)quota / (double)period < *least))
        *least = (double)quota / (double)period;
}

/* CPUs this process may run on, also on machines with more than 1024. */
static unsigned affinity_count(void)
{
    for (size_t n = 1024; n <= 1u << 20; n *= 4) {
        cpu_set_t *set = CPU_ALLOC(n);
        size_t bytes = CPU_ALLOC_SIZE(n);
        int count = 0, failed;

        if (!set)
            break;
        failed = sched_getaffinity(0, bytes, set);
        if (!failed)
            count = CPU_COUNT_S(bytes, set);
        CPU_FREE(set);
        if (!failed)
            return count > 0 ? (unsigned)count : 1;
        if (errno != EINVAL)
            break;
    }
    return 1;
}

void cpus_read(const char *root, unsigned affinity, struct cpus *ret_cpus)
{
    struct cpus cpus = {.affinity = affinity ? affinity : affinity_count()};

    each_group(root ? root : "", "cpu", read_quota, &cpus.quota);
    cpus.threads = cpus.affinity;
    if (cpus.quota > 0 && cpus.quota < (double)cpus.threads)
        cpus.threads = (unsigned)cpus.quota;
    if (cpus.threads == 0)
        cpus.threads = 1;
    *ret_cpus = cpus;
}

/* ---- memory ---- */

static void read_room(const char *root, const char *dir, bool v2, void *arg)
{
    uint64_t *least = arg;
    char text[TEXT_MAX];
    uint64_t max, used, cache = 0, room;

    if (!read_text(text, root, dir, v2 ? "memory.max" : "memory.limit_in_bytes") ||
        !number(text, &max))
        return;
    if (!read_text(text, root, dir, v2 ? "memory.current" : "memory.usage_in_bytes") ||
        !number(text, &used))
        return;
    /* Inactive page cache counts as used until somebody needs the room: a file just read fills it.
     */
    if (!read_text(text, root, dir, "memory.stat") ||
        !keyed_number(text, v2 ? "inactive_file" : "total_inactive_file", &cache) || cache > used)
        cache = 0;
    used -= cache;
    room = max > used ? max - used : 0;
    if (room < *least)
        *least = room;
}

uint64_t memory_available(const char *root)
{
    char text[TEXT_MAX];
    uint64_t least = UINT64_MAX, kib;

    root = root ? root : "";
    if (read_text(text, root, "/proc", "meminfo") && keyed_number(text, "MemAvailable", &kib) &&
        kib <= UINT64_MAX / 1024)
        least = kib * 1024;
    each_group(root, "memory", read_room, &least);
    return least;
}
