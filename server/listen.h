/* listen.h - the listening socket, made by ourselves: so port 0 works, and a busy port is a
 * sentence.
 *
 * Owner: the caller. Memory: none. Errors: ST_IO or ST_INVALID naming host and port. Threads: any.
 */
#ifndef OCTET_SERVER_LISTEN_H
#define OCTET_SERVER_LISTEN_H

#include <stdint.h>

#include "config/status.h"

/* *ret_port is the one that was bound. */
int listen_open(const char *host, uint32_t port, int *ret_fd, uint32_t *ret_port,
                struct error *err);

#endif
