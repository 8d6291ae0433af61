/* process.h - what the process itself uses, as the kernel counts it.
 *
 * Owner, memory: the caller's struct. Errors: what can't be read is 0. Threads: any. */
#ifndef OCTET_SERVER_PROCESS_H
#define OCTET_SERVER_PROCESS_H

#include <stdint.h>

struct process_use {
    uint64_t rss_bytes, open_fds, max_fds;
    double cpu_s, start_unix_s;
};

void process_read(struct process_use *ret_use);

/* As many descriptors as the hard limit allows; returns how many that is. */
uint64_t process_raise_fd_limit(void);

#endif
