/* log.h - one JSON line an event on stderr: {"ts":…,"level":…,"event":…, then the fields in order}.
 *
 * Owner:   the process; only server/ and tools/ log, never api/ or model/.
 * Memory:  a line is built on the stack (LOG_LINE_BYTES); a text that does not fit is cut, the
 *          line stays JSON.
 * Errors:  none reported: a log that can't be written must not stop the work.
 * Threads: any; a line is one write(2), so lines do not mix. */
#ifndef OCTET_CONFIG_LOG_H
#define OCTET_CONFIG_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_BYTES 4096u

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_type { LOG_STR, LOG_INT, LOG_UINT, LOG_REAL, LOG_BOOL };

struct log_field {
    const char *key; /* NULL ends a list; a plain ASCII name */
    enum log_type type;
    union {
        const char *str; /* NULL is written as null */
        int64_t i;
        uint64_t u;
        double real; /* written with 3 decimals: milliseconds, rates; not finite: null */
        bool b;
    } value;
};

static inline struct log_field log_str(const char *key, const char *value)
{
    return (struct log_field){.key = key, .type = LOG_STR, .value = {.str = value}};
}

static inline struct log_field log_int(const char *key, int64_t value)
{
    return (struct log_field){.key = key, .type = LOG_INT, .value = {.i = value}};
}

static inline struct log_field log_uint(const char *key, uint64_t value)
{
    return (struct log_field){.key = key, .type = LOG_UINT, .value = {.u = value}};
}

static inline struct log_field log_real(const char *key, double value)
{
    return (struct log_field){.key = key, .type = LOG_REAL, .value = {.real = value}};
}

static inline struct log_field log_bool(const char *key, bool value)
{
    return (struct log_field){.key = key, .type = LOG_BOOL, .value = {.b = value}};
}

static inline struct log_field log_end(void)
{
    return (struct log_field){.key = NULL};
}

/* log_event(LOG_INFO, "request", log_str("id", id), log_int("status", 200)): at least one field. */
#define log_event(level, event, ...)                                                               \
    log_write((level), (event), (const struct log_field[]){__VA_ARGS__, log_end()})

/* fields may be NULL: an event without fields. */
void log_write(enum log_level level, const char *event, const struct log_field *fields);

void log_set_fd(int fd);                  /* default 2; before threads start */
void log_set_level(enum log_level least); /* default LOG_INFO; before threads start */

/* Build the line (newline included) for the given time; returns its length. For log_write and
 * tests. */
size_t log_format(char out[LOG_LINE_BYTES], int64_t unix_ms, enum log_level level,
                  const char *event, const struct log_field *fields);

#endif
