/* cpus.h - what this process may use of the machine: CPUs by affinity and cgroup quota, memory by
 * cgroup and machine.
 *
 * Owner:   nobody; each call reads afresh.
 * Memory:  no allocation.
 * Errors:  what can't be read counts as "no limit"; the answer is always usable.
 * Threads: any. */
#ifndef OCTET_CONFIG_CPUS_H
#define OCTET_CONFIG_CPUS_H

#include <stdint.h>

struct cpus {
    unsigned affinity; /* CPUs this process may run on; at least 1 */
    double quota;      /* CPUs' worth of time by the tightest cgroup on the way up; 0: no quota */
    unsigned threads;  /* compute threads: the lesser of both, rounded down, at least 1 */
};

/* root: directory that holds proc and sys ("" or NULL: the real ones; tests give a made-up tree).
 * affinity: 0 asks the kernel, other values are taken as given (tests). */
void cpus_read(const char *root, unsigned affinity, struct cpus *ret_cpus);

/* Bytes that may still be taken: the least of MemAvailable and, for each cgroup on the way up (v2
 * and v1), its maximum minus what it uses, page cache that can be dropped not counted as used.
 * UINT64_MAX: unknown. */
uint64_t memory_available(const char *root);

#endif
