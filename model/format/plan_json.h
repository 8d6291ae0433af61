/* plan_json.h - the JSON of a plan of mixed precision, line by line:
 *   {"version": 1, "default": "int8", "modules": {"blk.0.ffn_down": "f16", "blk.*.attn_v": "int4"}}
 * "default" and "modules" may be left out; what the words mean is quant/plan.h's business.
 *
 * Owner:   the caller; nothing is kept.
 * Memory:  the text, parsed, while it is read.
 * Errors:  ST_IO, ST_NOMEM, ST_TOOLONG; ST_FORMAT naming the file and what would be right. */
#ifndef OCTET_MODEL_FORMAT_PLAN_JSON_H
#define OCTET_MODEL_FORMAT_PLAN_JSON_H

#include <stddef.h>

#include "config/status.h"

/* Told the default first, with module NULL and choice NULL where it was left out; then each module
 * in the order of the text. What it returns, if not ST_OK, ends the reading. */
struct plan_json_reader {
    int (*fn)(void *arg, const char *module, const char *choice, struct error *err);
    void *arg;
};

/* name: for messages. */
int plan_json_parse(const char *name, const char *text, size_t len,
                    const struct plan_json_reader *reader, struct error *err);
int plan_json_read(const char *path, const struct plan_json_reader *reader, struct error *err);

#endif
