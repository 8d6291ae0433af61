#include "server/stream.h"

#include <string.h>

#include "api/sse.h"
#include "server/clock.h"

#define PIECE_MAX ((size_t)1 << 20)  /* JSON of one piece: a token's text, escaped */
#define LAST_MAX ((size_t)4 << 20)   /* the last piece: what was held back, and the stop string */
#define COMPACT_BYTES ((size_t)4096) /* moving less than this down is not worth the call */

void stream_init(struct stream *stream, size_t max_bytes, uint64_t now_us)
{
    *stream = (struct stream){.max_bytes = max_bytes, .last_us = now_us};
    buf_init(&stream->out, max_bytes + PIECE_MAX + LAST_MAX);
}

void stream_done(struct stream *stream)
{
    buf_done(&stream->out);
}

static void drop_sent(struct stream *stream)
{
    struct buf *out = &stream->out;

    if (stream->sent == out->len) {
        buf_reset(out);
    } else if (stream->sent >= COMPACT_BYTES) {
        memmove(out->data, out->data + stream->sent, out->len - stream->sent + 1);
        out->len -= stream->sent;
    } else {
        return;
    }
    stream->sent = 0;
}

static int check_room(struct stream *stream, uint64_t now_us)
{
    drop_sent(stream);
    stream->last_us = now_us;
    if (stream->out.len - stream->sent > stream->max_bytes)
        return ST_TOOLONG;
    return stream->out.status;
}

int stream_piece(struct stream *stream, const char *id, const char *text, size_t len,
                 uint64_t now_us)
{
    struct buf json;
    int r = check_room(stream, now_us);

    if (r != ST_OK)
        return r;
    buf_init(&json, PIECE_MAX);
    r = render_piece(&json, id, text, len);
    if (r == ST_OK)
        r = sse_data(&stream->out, json.data, json.len);
    buf_done(&json);
    return r;
}

int stream_ping(struct stream *stream, uint64_t now_us)
{
    int r = check_room(stream, now_us);

    return r == ST_OK ? sse_ping(&stream->out) : r;
}

int stream_last(struct stream *stream, const struct generate_result *result)
{
    struct buf json;

    drop_sent(stream);
    buf_init(&json, LAST_MAX);
    int r = render_last_piece(&json, result);
    if (r == ST_OK)
        r = sse_data(&stream->out, json.data, json.len);
    if (r == ST_OK)
        r = sse_done(&stream->out);
    buf_done(&json);
    stream->ended = true;
    return r;
}

int stream_error(struct stream *stream, const struct api_error *err)
{
    struct buf json;

    drop_sent(stream);
    buf_init(&json, LAST_MAX);
    int r = api_error_render_event(err, &json);
    if (r == ST_OK)
        r = sse_data(&stream->out, json.data, json.len);
    buf_done(&json);
    stream->ended = true;
    return r;
}

size_t stream_read(struct stream *stream, char *out, size_t max)
{
    size_t left = stream->out.len - stream->sent;
    size_t n = left < max ? left : max;

    if (n > 0)
        memcpy(out, stream->out.data + stream->sent, n);
    stream->sent += n;
    return n;
}
