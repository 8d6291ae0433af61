#include "config/escape.h"

#include <stdbool.h>
#include <string.h>

static bool is_cont(unsigned char c)
{
    return (c & 0xC0) == 0x80;
}

size_t utf8_len(const char *s, const char *end)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t room = (size_t)(end - s);

    if (room == 0)
        return 0;
    if (u[0] < 0x80)
        return 1;
    if (u[0] >= 0xC2 && u[0] <= 0xDF)
        return room >= 2 && is_cont(u[1]) ? 2 : 0;
    if (u[0] >= 0xE0 && u[0] <= 0xEF) {
        if (room < 3 || !is_cont(u[1]) || !is_cont(u[2]))
            return 0;
        /* E0 80..9F would be overlong, ED A0..BF a surrogate. */
        return (u[0] == 0xE0 && u[1] < 0xA0) || (u[0] == 0xED && u[1] > 0x9F) ? 0 : 3;
    }
    if (u[0] >= 0xF0 && u[0] <= 0xF4) {
        if (room < 4 || !is_cont(u[1]) || !is_cont(u[2]) || !is_cont(u[3]))
            return 0;
        /* F0 80..8F would be overlong, F4 90.. lies beyond U+10FFFF. */
        return (u[0] == 0xF0 && u[1] < 0x90) || (u[0] == 0xF4 && u[1] > 0x8F) ? 0 : 4;
    }
    return 0;
}

size_t utf8_cut(const char *s, size_t len, size_t max)
{
    if (len <= max)
        return len;
    while (max > 0 && is_cont((unsigned char)s[max]))
        max--;
    return max;
}

/* The letter behind the backslash, 0 if the character has no short form. */
static char short_form(char c)
{
    switch (c) {
    case '"':
    case '\\':
        return c;
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    default:
        return 0;
    }
}

size_t escape_step(const char **s, const char *end, char out[ESCAPE_MAX])
{
    static const char hex[] = "0123456789abcdef";
    const char *at = *s;
    char letter = short_form(*at);
    size_t len;

    if (letter) {
        out[0] = '\\';
        out[1] = letter;
        *s = at + 1;
        return 2;
    }
    if ((unsigned char)*at < 0x20) {
        memcpy(out, "\\u00", 4);
        out[4] = hex[(unsigned char)*at >> 4];
        out[5] = hex[*at & 15];
        *s = at + 1;
        return 6;
    }
    len = utf8_len(at, end);
    if (len == 0) {
        memcpy(out, "\xEF\xBF\xBD", 3);
        *s = at + 1;
        return 3;
    }
    memcpy(out, at, len);
    *s = at + len;
    return len;
}
