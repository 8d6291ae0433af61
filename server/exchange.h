/* exchange.h - one HTTP request and its answer, as the loop holds them: from the headers' arrival
 * until libmicrohttpd has let go of it and the engine has handed its request back; whichever comes
 * last frees it.
 *
 * Owner:   the loop thread.
 * Memory:  exchange_new() .. freed by itself as said above.
 * Errors:  refusals become answers; out of memory ends the connection.
 * Threads: loop only. Its request is somebody else's while `home` is false. */
#ifndef OCTET_SERVER_EXCHANGE_H
#define OCTET_SERVER_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include <microhttpd.h>
#include <uv.h>

#include "api/buf.h"
#include "server/request.h"
#include "server/server.h"
#include "server/stream.h"

struct conn;
struct route;

enum answer_kind { ANSWER_NONE, ANSWER_WHOLE, ANSWER_STREAM };

struct answer {
    enum answer_kind kind;
    int status;
    const char *content_type;
    struct buf body;   /* of WHOLE */
    const char *allow; /* of 405 */
    uint32_t retry_ms; /* of 429 and 503; 0: none */
};

struct exchange {
    struct exchange *prev, *next; /* in http.exchanges */
    struct server *server;
    struct MHD_Connection *connection; /* NULL once completed */
    struct conn *conn;
    struct request *request;
    const struct route *route;
    struct buf body;
    uint64_t body_began_us;
    struct answer answer;
    struct stream stream;
    uv_work_t work;  /* TOKENIZE */
    int sent_status; /* 0: nothing was sent */
    bool raw;        /* refused past libmicrohttpd; the rest of the body is thrown away */
    bool dispatched; /* the handler has it */
    bool suspended;
    bool gone;      /* the client left, or is made to leave */
    bool home;      /* the request is the loop's */
    bool admitted;  /* the engine said so */
    bool completed; /* libmicrohttpd has let go */
};

struct exchange *exchange_new(struct server *server, struct conn *conn,
                              struct MHD_Connection *connection);

/* The request is refused with request->error, or answered with what is in answer. */
void exchange_refuse(struct exchange *exchange, enum api_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void exchange_refused(struct exchange *exchange);
void exchange_answer(struct exchange *exchange, int status, const char *content_type);
void exchange_stream(struct exchange *exchange); /* from here on it is a 200 */

/* Something is there to be sent: let libmicrohttpd ask for it. */
void exchange_wake(struct exchange *exchange);
/* Suspend inside a callback of libmicrohttpd; answers are fetched after exchange_wake(). */
void exchange_suspend(struct exchange *exchange);
/* Queue the answer at libmicrohttpd, or suspend until there is one. */
enum MHD_Result exchange_deliver(struct exchange *exchange);

/* The request leaves the loop's hands, and comes back. */
void exchange_lend(struct exchange *exchange);
void exchange_home(struct exchange *exchange);
/* Nobody reads the answer any more: stop working for it. */
void exchange_abandon(struct exchange *exchange);
/* libmicrohttpd lets go. */
void exchange_completed(struct exchange *exchange, bool in_full);

#endif
