/* generate.h - POST /v1/generate: PARSE, QUEUE, TOKENIZE, and the engine's events on their way
 * back.
 *
 * Owner, memory, threads: the loop's, through the exchange; TOKENIZE runs on a libuv worker.
 * Errors: refusals are answers with one sentence. */
#ifndef OCTET_SERVER_GENERATE_H
#define OCTET_SERVER_GENERATE_H

#include <stdint.h>

struct event;
struct exchange;
struct server;

void generate_handle(struct exchange *exchange);

/* ADMITTED, TEXT, HOME. */
void generate_event(struct event *event);

/* Pings for streams in which nothing came for a while. */
void generate_tick(struct server *server, uint64_t now_us);

#endif
