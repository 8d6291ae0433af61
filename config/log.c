#include "config/log.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config/escape.h"

/* Relaxed: both are set before threads start; atomics only keep a late change from being undefined.
 */
static atomic_int log_fd = 2;
static atomic_int log_least = LOG_INFO;

/* A line under construction. Whatever does not fit before `room` is left out; the end always fits.
 */
struct line {
    char *out;
    size_t len, room;
};

static void put(struct line *line, const char *text, size_t len)
{
    memcpy(line->out + line->len, text, len);
    line->len += len;
}

/* A quoted string, cut where the room ends. The caller has made sure of 2 bytes. */
static void put_string(struct line *line, const char *text)
{
    const char *end = text + strlen(text);
    char piece[ESCAPE_MAX];

    put(line, "\"", 1);
    while (text < end) {
        size_t len = escape_step(&text, end, piece);
        if (line->len + len + 1 > line->room)
            break;
        put(line, piece, len);
    }
    put(line, "\"", 1);
}

static void put_value(struct line *line, const struct log_field *field)
{
    char number[64];
    int len = 0;

    switch (field->type) {
    case LOG_STR:
        if (field->value.str) {
            put_string(line, field->value.str);
            return;
        }
        len = snprintf(number, sizeof(number), "null");
        break;
    case LOG_INT:
        len = snprintf(number, sizeof(number), "%" PRId64, field->value.i);
        break;
    case LOG_UINT:
        len = snprintf(number, sizeof(number), "%" PRIu64, field->value.u);
        break;
    case LOG_REAL:
        if (isfinite(field->value.real) && fabs(field->value.real) < 1e15)
            len = snprintf(number, sizeof(number), "%.3f", field->value.real);
        else
            len = snprintf(number, sizeof(number), "null");
        break;
    case LOG_BOOL:
        len = snprintf(number, sizeof(number), "%s", field->value.b ? "true" : "false");
        break;
    }
    put(line, number, (size_t)len);
}

static const char *level_name(enum log_level level)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    return names[level];
}

/* RFC 3339 in UTC with milliseconds. */
static size_t format_time(char *out, size_t cap, int64_t unix_ms)
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm tm;
    size_t len;

    gmtime_r(&seconds, &tm);
    len = strftime(out, cap, "%Y-%m-%dT%H:%M:%S", &tm);
    return len + (size_t)snprintf(out + len, cap - len, ".%03dZ", (int)(unix_ms % 1000));
}

size_t log_format(char out[LOG_LINE_BYTES], int64_t unix_ms, enum log_level level,
                  const char *event, const struct log_field *fields)
{
    struct line line = {.out = out, .room = LOG_LINE_BYTES - 2}; /* "}\n" always fits */
    char time_text[40];

    format_time(time_text, sizeof(time_text), unix_ms);
    line.len = (size_t)snprintf(out, LOG_LINE_BYTES,
                                "{\"ts\":\"%s\",\"level\":\"%s\",\"event\":", time_text,
                                level_name(level));
    put_string(&line, event);
    for (const struct log_field *f = fields; f && f->key; f++) {
        size_t key_len = strlen(f->key);
        if (line.len + key_len + 4 + 64 > line.room) /* ,"": and the longest number */
            break;
        put(&line, ",\"", 2);
        put(&line, f->key, key_len);
        put(&line, "\":", 2);
        put_value(&line, f);
    }
    put(&line, "}\n", 2);
    return line.len;
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    char out[LOG_LINE_BYTES];
    struct timespec now;
    size_t len;

    if ((int)level < atomic_load_explicit(&log_least, memory_order_relaxed))
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    len = log_format(out, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, level, event, fields);
    /* Nobody to tell if it fails: a full disk or a closed pipe must not stop the work. */
    if (write(atomic_load_explicit(&log_fd, memory_order_relaxed), out, len) < 0)
        return;
}

void log_set_fd(int fd)
{
    atomic_store_explicit(&log_fd, fd, memory_order_relaxed);
}

void log_set_level(enum log_level least)
{
    atomic_store_explicit(&log_least, (int)least, memory_order_relaxed);
}
