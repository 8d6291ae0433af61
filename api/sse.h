/* sse.h - the three frames a stream is made of, byte for byte: only data lines and comments, never
 * id, event or retry (some clients choke on them).
 *
 * Owner:   the caller's buf.
 * Memory:  only what buf grows.
 * Errors:  buf's.
 * Threads: no shared state. */
#ifndef OCTET_API_SSE_H
#define OCTET_API_SSE_H

#include <stddef.h>

#include "api/buf.h"

#define SSE_CONTENT_TYPE "text/event-stream; charset=utf-8"

/* "data: " json "\n\n". json is one line: a raw line break in it would break the frame and asserts.
 */
int sse_data(struct buf *out, const char *json, size_t len);
int sse_ping(struct buf *out); /* ": ping\n\n" */
int sse_done(struct buf *out); /* "data: [DONE]\n\n" */

#endif
