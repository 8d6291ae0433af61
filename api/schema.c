#include "api/schema.h"

#include <string.h>

#include "api/parse.h"

#define AT(field) offsetof(struct completion_req, field)

/* Adding one? Also struct completion_req, openapi.yaml and, for a new type, parse.c. */
static const struct field FIELDS[] = {
    {.name = "prompt", .type = FIELD_PROMPT, .required = true},
    {.name = "model", .type = FIELD_STRING, .offset = AT(model)},
    {.name = "max_tokens",
     .type = FIELD_INT,
     .offset = AT(max_tokens),
     .imin = 1,
     .imax = INT32_MAX},
    {.name = "stream", .type = FIELD_BOOL, .offset = AT(stream), .has_preset = true, .preset = 0},
    {.name = "temperature",
     .type = FIELD_NUMBER,
     .offset = AT(temperature),
     .max = 2,
     .has_preset = true,
     .preset = 1},
    {.name = "top_k",
     .type = FIELD_INT,
     .offset = AT(top_k),
     .imax = INT32_MAX,
     .has_preset = true,
     .preset = 0},
    {.name = "top_p",
     .type = FIELD_NUMBER,
     .offset = AT(top_p),
     .max = 1,
     .min_open = true,
     .has_preset = true,
     .preset = 1},
    {.name = "min_p",
     .type = FIELD_NUMBER,
     .offset = AT(min_p),
     .max = 1,
     .has_preset = true,
     .preset = 0},
    {.name = "repetition_penalty",
     .type = FIELD_NUMBER,
     .offset = AT(repetition_penalty),
     .max = 10,
     .min_open = true,
     .has_preset = true,
     .preset = 1},
    {.name = "seed", .type = FIELD_SEED, .offset = AT(seed), .imax = INT64_MAX},
    {.name = "stop", .type = FIELD_STOP},
    {.name = "ignore_eos",
     .type = FIELD_BOOL,
     .offset = AT(ignore_eos),
     .has_preset = true,
     .preset = 0},
    {.name = "parse_special",
     .type = FIELD_BOOL,
     .offset = AT(parse_special),
     .has_preset = true,
     .preset = 1},
    {.name = "timeout_ms",
     .type = FIELD_INT,
     .offset = AT(timeout_ms),
     .imin = 1,
     .imax = INT32_MAX},
};

const struct field *schema_generate(size_t *ret_n)
{
    *ret_n = sizeof(FIELDS) / sizeof(FIELDS[0]);
    return FIELDS;
}

const struct field *schema_find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof(FIELDS) / sizeof(FIELDS[0]); i++)
        if (strlen(FIELDS[i].name) == len && memcmp(FIELDS[i].name, name, len) == 0)
            return &FIELDS[i];
    return NULL;
}

const char *schema_type_name(enum field_type type)
{
    switch (type) {
    case FIELD_BOOL:
        return "true or false";
    case FIELD_INT:
    case FIELD_SEED:
        return "an integer";
    case FIELD_NUMBER:
        return "a number";
    case FIELD_STRING:
        return "a string";
    case FIELD_PROMPT:
        return "a string or an array of token ids";
    case FIELD_STOP:
        return "a string or an array of strings";
    }
    return "something else";
}
