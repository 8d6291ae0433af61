#include "model/text/utf8.h"

#include <stdint.h>

enum utf8_kind utf8_look(const char *p, size_t left, size_t *ret_n)
{
    uint8_t lead = (uint8_t)p[0];
    /* What the second byte may be: narrower after leads that could spell an overlong form, a
     * surrogate or a number beyond U+10FFFF. */
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    size_t n = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;

    *ret_n = 1;
    if (lead < 0x80)
        return UTF8_WHOLE;
    if (lead < 0xc2 || lead > 0xf4)
        return UTF8_BAD;
    for (size_t i = 1; i < n; i++) {
        if (i == left)
            return UTF8_CUT;
        uint8_t byte = (uint8_t)p[i];
        if (byte < low || byte > high)
            return UTF8_BAD;
        low = 0x80;
        high = 0xbf;
        *ret_n = i + 1;
    }
    return UTF8_WHOLE;
}

size_t utf8_span(const char *p, size_t len)
{
    size_t at = 0, n;

    while (at < len && utf8_look(p + at, len - at, &n) == UTF8_WHOLE)
        at += n;
    return at;
}
