/* pages.h - what the requests of a batch hold of the runner: a sequence each, its pages, and what
 * of them others may find.
 *
 * Owner:   the engine thread.
 * Memory:  the runner's; a request holds a sequence while it runs.
 * Errors:  no room is an answer; no memory fails the request, which then holds nothing more.
 * Threads: the engine's only. */
#ifndef OCTET_SERVER_PAGES_H
#define OCTET_SERVER_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "server/request.h"

struct batch;

/* A sequence and pages for the n_tokens it knows, such that `spare` others stay free. *ret_done: as
 * many are stored already. false: no room. */
bool pages_take(struct batch *batch, struct request *request, uint32_t spare, uint32_t *ret_done);
/* Pages for n_tokens; false: not enough are free. */
bool pages_reserve(struct batch *batch, struct request *request, uint32_t n_tokens);
/* The positions from `from` on are new: let others find the pages that they completed. */
void pages_publish(struct batch *batch, struct request *request, uint32_t from);
/* It stops running; what it stored may be found, unless it broke. */
void pages_give_back(struct batch *batch, struct request *request);

void pages_show(struct batch *batch); /* their numbers, to the metrics */

#endif
