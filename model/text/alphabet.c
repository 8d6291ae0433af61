#include "model/text/alphabet.h"

#include <stdint.h>

/* The bytes that are not printable come in three runs, numbered through from U+0100. */
#define RUN1_END 0x21u /* 0x00 … 0x20 */
#define RUN2 0x7fu     /* 0x7f … 0xa0 */
#define RUN2_END 0xa1u
#define RUN3 0xadu /* 0xad alone */
#define RUN2_CHAR (0x100u + RUN1_END)
#define RUN3_CHAR (RUN2_CHAR + RUN2_END - RUN2)

static uint32_t char_of(uint8_t byte)
{
    if (byte < RUN1_END)
        return 0x100u + byte;
    if (byte >= RUN2 && byte < RUN2_END)
        return RUN2_CHAR + (byte - RUN2);
    return byte == RUN3 ? RUN3_CHAR : byte;
}

size_t alphabet_write(const char *bytes, size_t len, char *ret_name)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        uint32_t c = char_of((uint8_t)bytes[i]);

        if (c < 0x80) {
            ret_name[n++] = (char)c;
        } else {
            ret_name[n++] = (char)(0xc0 | c >> 6);
            ret_name[n++] = (char)(0x80 | (c & 0x3f));
        }
    }
    return n;
}

bool alphabet_read(const char *name, size_t len, char *ret_bytes, size_t *ret_len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        uint32_t c = (uint8_t)name[i];

        if (c >= 0x80) {
            if (c < 0xc2 || c > 0xc5 || i + 1 == len || ((uint8_t)name[i + 1] & 0xc0) != 0x80)
                return false;
            c = (c & 0x1f) << 6 | ((uint8_t)name[++i] & 0x3f);
        }
        if (c >= RUN3_CHAR)
            c = c == RUN3_CHAR ? RUN3 : UINT32_MAX;
        else if (c >= RUN2_CHAR)
            c = RUN2 + (c - RUN2_CHAR);
        else if (c >= 0x100)
            c -= 0x100;
        else if (char_of((uint8_t)c) != c)
            return false;
        if (c == UINT32_MAX)
            return false;
        ret_bytes[n++] = (char)c;
    }
    *ret_len = n;
    return true;
}
