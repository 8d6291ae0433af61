/* json_kind.h - what a sentence calls a JSON value: "a string", "a number".
 *
 * Owner, memory: constants. Errors: none. Threads: any. */
#ifndef OCTET_CONFIG_JSON_KIND_H
#define OCTET_CONFIG_JSON_KIND_H

#include <jansson.h>

const char *json_kind(const json_t *value);

#endif
