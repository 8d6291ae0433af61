/* conn.h - what libmicrohttpd 0.9.75 lacks of a connection: to notice that its client left,
 * absolute deadlines for headers and bodies (its own timeout starts anew with every byte), and
 * answers while a body is still coming in.
 *
 * Owner:   the loop thread.
 * Memory:  one struct a connection, from its start to its end as libmicrohttpd tells them,
 *          and until its watch is closed.
 * Errors:  a connection that is too slow gets 408 and is closed.
 * Threads: loop only. */
#ifndef OCTET_SERVER_CONN_H
#define OCTET_SERVER_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include <microhttpd.h>
#include <uv.h>

#include "server/server.h"

struct exchange;

enum conn_state {
    CONN_IDLE,    /* between requests */
    CONN_HEADERS, /* the first byte of a request has come */
    CONN_BUSY,    /* it has an exchange */
    CONN_CLOSING, /* shut for reading; libmicrohttpd will end it */
};

struct conn {
    struct conn *prev, *next;
    struct server *server;
    int fd;
    uv_poll_t watch; /* for a client that leaves: see on_disconnect() */
    bool watching;
    bool gone; /* it left, or closed its sending side, which counts as the same */
    enum conn_state state;
    uint64_t since_us;   /* when the state began */
    uint64_t bytes_seen; /* that the kernel had received when the last request was complete */
    struct exchange *exchange;
};

/* MHD_OPTION_NOTIFY_CONNECTION; arg is the struct server. */
void conn_notify(void *arg, struct MHD_Connection *connection, void **context,
                 enum MHD_ConnectionNotificationCode what);

void conn_begin(struct conn *conn, struct exchange *exchange); /* its headers are there */
void conn_received(struct conn *conn);                         /* its body too */
void conn_end(struct conn *conn);                              /* its answer is out */

/* Refuse with exchange->answer past libmicrohttpd, which takes no answer while a body is coming in.
 * What the client still sends is read for a while, so that a close does not destroy the answer. */
void conn_refuse_raw(struct conn *conn, struct exchange *exchange);

/* Hold every connection against the clock. */
void conn_sweep(struct server *server, uint64_t now_us);

/* Nothing more is read from it: libmicrohttpd then closes it in its own time. */
void conn_shut(struct conn *conn);
/* Nor written: what was not sent is lost. */
void conn_cut(struct conn *conn);

#endif
