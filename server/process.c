#include "server/process.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* proc(5), /proc/self/statm: size and resident set, in pages. */
static uint64_t read_rss(void)
{
    uint64_t size, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (!file)
        return 0;
    if (fscanf(file, "%" SCNu64 " %" SCNu64, &size, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t count_fds(void)
{
    uint64_t n = 0;
    DIR *dir = opendir("/proc/self/fd");

    if (!dir)
        return 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n > 0 ? n - 1 : 0; /* the directory's own is not counted */
}

/* proc(5), /proc/self/stat: field 22 is the start in clock ticks after boot. The second field may
 * hold anything, so counting begins behind its closing parenthesis. */
static double read_start(void)
{
    char line[1024];
    unsigned long long ticks = 0;
    struct timespec boot, now;
    FILE *file = fopen("/proc/self/stat", "re");

    if (!file)
        return 0;
    size_t n = fread(line, 1, sizeof(line) - 1, file);
    fclose(file);
    line[n] = '\0';
    const char *rest = strrchr(line, ')');
    for (int field = 2; rest && field < 22; field++)
        rest = strchr(rest + 1, ' ');
    if (!rest || sscanf(rest, " %llu", &ticks) != 1)
        return 0;
    clock_gettime(CLOCK_BOOTTIME, &boot);
    clock_gettime(CLOCK_REALTIME, &now);
    double age = (double)boot.tv_sec + (double)boot.tv_nsec / 1e9 -
                 (double)ticks / (double)sysconf(_SC_CLK_TCK);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9 - age;
}

void process_read(struct process_use *ret_use)
{
    struct timespec cpu = {0};
    struct rlimit limit = {0};

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    getrlimit(RLIMIT_NOFILE, &limit);
    *ret_use = (struct process_use){
        .rss_bytes = read_rss(),
        .open_fds = count_fds(),
        .max_fds = limit.rlim_cur,
        .cpu_s = (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9,
        .start_unix_s = read_start(),
    };
}

uint64_t process_raise_fd_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024; /* what POSIX systems start with */
    rlim_t had = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        limit.rlim_cur = had;
    return limit.rlim_cur;
}
