#include "config/status.h"

#include <stdarg.h>
#include <stdio.h>

int error_set(struct error *err, enum status status, const char *fmt, ...)
{
    if (err) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, args);
        va_end(args);
    }
    return (int)status;
}

const char *status_name(int status)
{
    switch (status) {
    case ST_OK:
        return "ok";
    case ST_NOMEM:
        return "no memory";
    case ST_INVALID:
        return "invalid";
    case ST_FORMAT:
        return "malformed";
    case ST_UNSUPPORTED:
        return "unsupported";
    case ST_IO:
        return "input/output";
    case ST_FULL:
        return "full";
    case ST_NOTFOUND:
        return "not found";
    case ST_TOOLONG:
        return "too long";
    case ST_CANCELLED:
        return "cancelled";
    case ST_DEADLINE:
        return "deadline";
    case ST_INTERNAL:
        return "internal";
    default:
        return "unknown";
    }
}
