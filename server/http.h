/* http.h - libmicrohttpd: RECEIVE and ROUTE.
 *
 * Owner:   the loop thread.
 * Memory:  http_start() .. http_stop().
 * Errors:  starting can fail; hostile input becomes 4xx.
 * Threads: loop only. libmicrohttpd has no thread of its own here. */
#ifndef OCTET_SERVER_HTTP_H
#define OCTET_SERVER_HTTP_H

#include "server/server.h"

/* listen_fd is the daemon's from here on. */
int http_start(struct server *server, int listen_fd, struct error *err);
/* Ends every connection; suspended ones are resumed first, or libmicrohttpd would abort. */
void http_stop(struct server *server);

#endif
