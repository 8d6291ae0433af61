/* stream.h - the bytes of a stream between the engine's events and libmicrohttpd's reader.
 *
 * Owner:   the loop thread, as part of an exchange.
 * Memory:  grows to limits.stream_bytes and a last piece; given back by stream_done().
 * Errors:  ST_TOOLONG when the client has not read that much: it is cut.
 * Threads: loop only. */
#ifndef OCTET_SERVER_STREAM_H
#define OCTET_SERVER_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "api/buf.h"
#include "api/error.h"
#include "api/render.h"

struct stream {
    struct buf out;
    size_t sent;      /* of out, taken by the reader */
    size_t max_bytes; /* unsent */
    bool ended;       /* nothing will follow */
    uint64_t last_us; /* when something was last put */
};

void stream_init(struct stream *stream, size_t max_bytes, uint64_t now_us);
void stream_done(struct stream *stream);

int stream_piece(struct stream *stream, const char *id, const char *text, size_t len,
                 uint64_t now_us);
int stream_ping(struct stream *stream, uint64_t now_us);
/* The last piece and [DONE], or the error and no [DONE]. These always fit. */
int stream_last(struct stream *stream, const struct generate_result *result);
int stream_error(struct stream *stream, const struct api_error *err);

/* Move up to max bytes out; 0: nothing is there (see ended). */
size_t stream_read(struct stream *stream, char *out, size_t max);

#endif
