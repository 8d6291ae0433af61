#include "api/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 256u

void buf_init(struct buf *buf, size_t max)
{
    assert(max < SIZE_MAX / 2); /* so that doubling and the NUL can't overflow */
    *buf = (struct buf){.max = max};
}

void buf_done(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){.max = buf->max};
}

void buf_reset(struct buf *buf)
{
    buf->len = 0;
    buf->status = ST_OK;
}

/* Room for len more bytes and a NUL. */
static int make_room(struct buf *buf, size_t len)
{
    size_t need = buf->len + len + 1, cap = buf->cap ? buf->cap : FIRST_CAP;
    char *data;

    if (need <= buf->cap)
        return ST_OK;
    while (cap < need)
        cap *= 2;
    if (cap > buf->max + 1)
        cap = buf->max + 1;
    data = realloc(buf->data, cap);
    if (!data)
        return ST_NOMEM;
    buf->data = data;
    buf->cap = cap;
    return ST_OK;
}

int buf_put(struct buf *buf, const void *bytes, size_t len)
{
    if (buf->status != ST_OK)
        return buf->status;
    if (len > buf->max - buf->len)
        return buf->status = ST_TOOLONG;
    buf->status = make_room(buf, len);
    if (buf->status != ST_OK)
        return buf->status;
    if (len)
        memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
    return ST_OK;
}

int buf_puts(struct buf *buf, const char *text)
{
    return buf_put(buf, text, strlen(text));
}

int buf_printf(struct buf *buf, const char *fmt, ...)
{
    va_list args, again;
    int len;

    if (buf->status != ST_OK)
        return buf->status;
    va_start(args, fmt);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    assert(len >= 0); /* our own format strings */
    if ((size_t)len > buf->max - buf->len)
        buf->status = ST_TOOLONG;
    else
        buf->status = make_room(buf, (size_t)len);
    if (buf->status == ST_OK) {
        vsnprintf(buf->data + buf->len, (size_t)len + 1, fmt, again);
        buf->len += (size_t)len;
    }
    va_end(again);
    return buf->status;
}

char *buf_take(struct buf *buf, size_t *ret_len)
{
    char *data = NULL;

    if (buf->status == ST_OK && buf->data) {
        data = buf->data;
        *ret_len = buf->len;
        buf->data = NULL;
    }
    buf_done(buf);
    return data;
}
