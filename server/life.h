/* life.h - loading, ready, draining, closing, gone.
 *
 * Owner, memory, threads: the loop's. Errors: a model that does not load ends the process with 1.
 */
#ifndef OCTET_SERVER_LIFE_H
#define OCTET_SERVER_LIFE_H

#include <stdbool.h>

#include "server/server.h"

int life_start(struct server *server, struct error *err); /* starts the engine */
void life_loaded(struct server *server);                  /* EVENT_LOADED */
/* The first SIGTERM or SIGINT drains, a second one ends the process at once. */
void life_signal(void *server, int signum);
/* An exchange has ended: closing may be over. */
void life_check(struct server *server);
bool life_is_ending(const struct server *server);   /* answers say Connection: close */
const char *life_name(const struct server *server); /* "loading", "ready", "draining" */

#endif
