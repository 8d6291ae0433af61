#include "server/filter.h"

#include <string.h>
#include <strings.h>

/* RFC 9110 section 5.6.2: token characters. */
static bool is_token(const char *name, size_t len)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && !memchr(others, c, sizeof(others) - 1))
            return false;
    }
    return len > 0;
}

static bool same(const char *name, size_t len, const char *want)
{
    return len == strlen(want) && strncasecmp(name, want, len) == 0;
}

static bool begins(const char *name, size_t len, const char *want)
{
    size_t n = strlen(want);

    return len >= n && strncasecmp(name, want, n) == 0;
}

static bool read_length(const char *value, size_t len, uint64_t *ret_length)
{
    uint64_t length = 0;

    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9')
            return false;
        if (__builtin_mul_overflow(length, (uint64_t)10, &length) ||
            __builtin_add_overflow(length, (uint64_t)(value[i] - '0'), &length))
            length = UINT64_MAX / 10; /* stays above every limit, whatever follows */
    }
    *ret_length = length;
    return len > 0;
}

void filter_header(struct filter *filter, const char *name, size_t name_len, const char *value,
                   size_t value_len)
{
    if (!is_token(name, name_len))
        filter->bad_header = true;
    if (same(name, name_len, "Content-Length")) {
        filter->n_length++;
        if (!read_length(value, value_len, &filter->length))
            filter->bad_length = true;
    } else if (same(name, name_len, "Transfer-Encoding")) {
        filter->n_coding++;
        filter->chunked = same(value, value_len, "chunked");
    } else if (same(name, name_len, "Host")) {
        filter->n_host++;
    } else if (begins(name, name_len, "Content-Length") ||
               begins(name, name_len, "Transfer-Encoding")) {
        filter->bad_header = true;
    }
}

int filter_verdict(const struct filter *filter, const char *version, struct api_error *err)
{
    bool http11 = strcmp(version, "HTTP/1.1") == 0;
    const char *why = NULL;

    if (filter->bad_header)
        why = "a header's name or value is malformed: send `Name: value` lines, no folded ones";
    else if (filter->n_length > 1)
        why = "Content-Length is given more than once: send it once";
    else if (filter->bad_length)
        why = "Content-Length is not a number of bytes in plain digits";
    else if (filter->n_coding > 1)
        why = "Transfer-Encoding is given more than once: send it once";
    else if (filter->n_coding && filter->n_length)
        why = "Content-Length and Transfer-Encoding are both given: send one of them";
    else if (filter->n_coding && !http11)
        why = "Transfer-Encoding needs HTTP/1.1";
    else if (filter->n_host > 1 || (http11 && filter->n_host == 0))
        why = "a request needs exactly one Host header";
    if (why) {
        api_error_set(err, API_BAD_REQUEST, NULL, "%s.", why);
        return ST_INVALID;
    }
    if (filter->n_coding && !filter->chunked) {
        api_error_set(err, API_NOT_IMPLEMENTED, NULL,
                      "the only Transfer-Encoding that is understood is chunked.");
        return ST_INVALID;
    }
    return ST_OK;
}
