/* tcp.h - what the kernel knows of a connection; apart, since <linux/tcp.h> and uv.h exclude each
 * other.
 *
 * Owner, memory: none. Errors: 0 if it can't be asked. Threads: any. */
#ifndef OCTET_SERVER_TCP_H
#define OCTET_SERVER_TCP_H

#include <stdint.h>

/* Bytes received since the connection began, whether or not they were read: tcp(7), TCP_INFO. */
uint64_t tcp_bytes_received(int fd);

#endif
