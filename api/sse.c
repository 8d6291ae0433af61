#include "api/sse.h"

#include <assert.h>
#include <string.h>

int sse_data(struct buf *out, const char *json, size_t len)
{
    assert(len == 0 || (!memchr(json, '\n', len) && !memchr(json, '\r', len)));
    buf_puts(out, "data: ");
    buf_put(out, json, len);
    return buf_puts(out, "\n\n");
}

int sse_ping(struct buf *out)
{
    return buf_puts(out, ": ping\n\n");
}

int sse_done(struct buf *out)
{
    return buf_puts(out, "data: [DONE]\n\n");
}
