/* schema.h - the fields of POST /v1/generate as a table: name, type, range, default, place in the
 * struct.
 *
 * parse.c runs on it and a test holds openapi.yaml against it, so that neither can know a field
 * alone. Owner, memory, threads: constants. Errors: none. */
#ifndef OCTET_API_SCHEMA_H
#define OCTET_API_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_type {
    FIELD_BOOL,   /* bool */
    FIELD_INT,    /* int32_t: imin .. imax */
    FIELD_SEED,   /* uint64_t in JSON's int64 range: imin .. imax; sets has_seed */
    FIELD_NUMBER, /* double: min .. max */
    FIELD_STRING, /* char *: not empty */
    FIELD_PROMPT, /* string or array of token ids */
    FIELD_STOP,   /* string or array of strings */
};

struct field {
    const char *name;
    enum field_type type;
    size_t offset; /* in struct completion_req; unused by PROMPT and STOP, which own several */
    int64_t imin, imax;
    double min, max;
    bool min_open; /* min itself is not allowed */
    bool required;
    bool has_preset; /* else absent means something of its own */
    double preset;   /* the default; of BOOL: 0 or 1 */
};

/* All fields, in the order of the documentation. */
const struct field *schema_generate(size_t *ret_n);

/* The field of that name (len bytes, need not be NUL-terminated), or NULL. */
const struct field *schema_find(const char *name, size_t len);

/* "an integer", "a string or an array of token ids": what a sentence calls it. */
const char *schema_type_name(enum field_type type);

#endif
