/* routes.h - method + path -> handler, as a table.
 *
 * Owner, memory: constants. Errors: route_find() says 404 or 405. Threads: handlers run on the
 * loop. */
#ifndef OCTET_SERVER_ROUTES_H
#define OCTET_SERVER_ROUTES_H

#include <stdbool.h>

struct exchange;

struct route {
    const char *method, *path;
    const char *allow; /* for 405 */
    /* Body and headers are there. Answers at once, or lends the request out and answers later. */
    void (*handle)(struct exchange *exchange);
    bool quiet; /* probes: a success is counted but not logged */
};

/* HEAD goes where GET goes. NULL: *ret_known is the route of that path for another method (405), or
 * NULL (404). */
const struct route *route_find(const char *method, const char *path,
                               const struct route **ret_known);

#endif
