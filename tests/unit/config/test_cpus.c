/* Trees made up after what proc(5), cgroups(7) and the kernel's cgroup-v1/v2 pages say they look
 * like. */
#include "config/cpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit/suite.h"

static char root[64];

static void make_root(void)
{
    snprintf(root, sizeof(root), "/tmp/octet-cpus-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void remove_root(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    ck_assert_int_eq(system(command), 0);
}

static void put(const char *path, const char *text)
{
    char full[512];
    FILE *file;

    snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    file = fopen(full, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static struct cpus cpus(unsigned affinity)
{
    struct cpus got;

    cpus_read(root, affinity, &got);
    return got;
}

START_TEST(the_real_machine_answers)
{
    struct cpus got;

    cpus_read(NULL, 0, &got);
    ck_assert_uint_ge(got.affinity, 1);
    ck_assert_uint_ge(got.threads, 1);
    ck_assert_uint_le(got.threads, got.affinity);
    ck_assert(memory_available(NULL) > 0);
}
END_TEST

START_TEST(an_empty_tree_has_no_limits)
{
    make_root();
    ck_assert_uint_eq(cpus(7).threads, 7);
    ck_assert_double_eq(cpus(7).quota, 0);
    ck_assert(memory_available(root) == UINT64_MAX);
    remove_root();
}
END_TEST

START_TEST(v2_takes_the_tightest_on_the_way_up)
{
    make_root();
    put("/proc/self/cgroup", "0::/pod/box/deep\n");
    put("/sys/fs/cgroup/pod/box/deep/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/pod/box/cpu.max", "370000 100000\n");
    put("/sys/fs/cgroup/pod/cpu.max", "600000 100000\n");
    ck_assert_double_eq(cpus(16).quota, 3.7);
    ck_assert_uint_eq(cpus(16).threads, 3); /* rounded down */
    ck_assert_uint_eq(cpus(2).threads, 2);
    put("/sys/fs/cgroup/pod/cpu.max", "50000 100000\n");
    ck_assert_uint_eq(cpus(16).threads, 1); /* at least one */
    remove_root();
}
END_TEST

/* A container's own namespace shows "/" and mounts its group at the top; without one the path may
 * not be there. */
START_TEST(v2_in_a_container)
{
    make_root();
    put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    put("/proc/self/cgroup", "0::/\n");
    ck_assert_uint_eq(cpus(16).threads, 2);
    put("/proc/self/cgroup", "0::/system.slice/docker-1234.scope\n");
    ck_assert_uint_eq(cpus(16).threads, 2);
    put("/proc/self/cgroup", "0::/../../kubepods\n");
    put("/sys/kubepods/cpu.max", "100000 100000\n"); /* where a climbing path would lead */
    ck_assert_uint_eq(cpus(16).threads, 2);
    remove_root();
}
END_TEST

START_TEST(v1_and_hybrid)
{
    make_root();
    put("/proc/self/cgroup",
        "12:cpuset:/\n5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n1:name=systemd:/x\n0::/x\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "250000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us", "100000\n");
    ck_assert_double_eq(cpus(8).quota, 2.5);
    ck_assert_uint_eq(cpus(8).threads, 2);
    put("/proc/meminfo",
        "MemTotal:       16000000 kB\nMemFree:  100 kB\nMemAvailable:    8000000 kB\n");
    put("/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "1000000000\n");
    put("/sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes", "400000000\n");
    put("/sys/fs/cgroup/memory/docker/1/memory.stat",
        "cache 5\ninactive_file 1\ntotal_inactive_file 150000000\n");
    ck_assert(memory_available(root) == 750000000);
    remove_root();
}
END_TEST

START_TEST(memory_v2)
{
    make_root();
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 2000000 kB\n");
    ck_assert(memory_available(root) == UINT64_C(2048000000));
    put("/sys/fs/cgroup/a/b/memory.max", "max\n");
    put("/sys/fs/cgroup/a/b/memory.current", "300000000\n");
    put("/sys/fs/cgroup/a/memory.max", "1000000000\n");
    put("/sys/fs/cgroup/a/memory.current", "400000000\n");
    ck_assert(memory_available(root) == 600000000);
    put("/sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 100000000\nactive_file 7\n");
    ck_assert(memory_available(root) == 700000000);
    put("/sys/fs/cgroup/a/memory.current", "1000000001\n");
    put("/sys/fs/cgroup/a/memory.stat", "anon 1\n");
    ck_assert(memory_available(root) == 0);
    remove_root();
}
END_TEST

START_TEST(rubbish_counts_as_no_limit)
{
    static const char *const rubbish[] = {
        "",       "\n",       "abc",      "-5 100000",
        "100000", "100000 0", "0 100000", "99999999999999999999999 100000"};
    make_root();
    put("/proc/self/cgroup", "0::/\nno colons\n:\n::\n9:cpu\n");
    for (size_t i = 0; i < sizeof(rubbish) / sizeof(rubbish[0]); i++) {
        put("/sys/fs/cgroup/cpu.max", rubbish[i]);
        ck_assert_uint_eq(cpus(5).threads, 5);
    }
    put("/proc/meminfo", "MemAvailable: lots\n");
    ck_assert(memory_available(root) == UINT64_MAX);
    remove_root();
}
END_TEST

RUN_SUITE("cpus", the_real_machine_answers, an_empty_tree_has_no_limits,
          v2_takes_the_tightest_on_the_way_up, v2_in_a_container, v1_and_hybrid, memory_v2,
          rubbish_counts_as_no_limit)
