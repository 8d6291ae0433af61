/* json_file.h - the JSON beside a model's weights (config.json, tokenizer.json, …): parsed within
 * bounds, asked by path.
 *
 * Owner:   one thread.
 * Memory:  the tree lives until json_file_close; strings lead into it.
 * Errors:  one sentence naming the file and the field. ST_NOTFOUND: no such file, or the field is
 *          absent or null; err is left alone then.
 * Threads: no shared state but jansson's hash seed, which it makes itself. */
#ifndef OCTET_MODEL_FORMAT_JSON_FILE_H
#define OCTET_MODEL_FORMAT_JSON_FILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "config/status.h"
#include "model/format/gguf.h"

struct json_file {
    char *path;
    json_t *root; /* an object */
};

int json_file_open(const char *dir, const char *name, struct json_file *ret_file,
                   struct error *err);
void json_file_close(struct json_file *file); /* {0} is fine */

/* One object in len bytes: depth and number of containers bounded, no key twice. path is for the
 * message. */
int json_file_parse(const char *path, const char *text, size_t len, json_t **ret_object,
                    struct error *err);

/* The field at "a.b.c"; NULL: absent, null, or on the way there no object. Also of a file that was
 * not opened ({0}). */
json_t *json_file_at(const struct json_file *file, const char *field);

int json_file_u32(const struct json_file *file, const char *field, uint32_t *ret,
                  struct error *err);
/* A finite number, written as an integer or not. */
int json_file_f32(const struct json_file *file, const char *field, float *ret, struct error *err);
int json_file_bool(const struct json_file *file, const char *field, bool *ret, struct error *err);
int json_file_str(const struct json_file *file, const char *field, const char **ret,
                  struct error *err);

/* Is the value this string? NULL is none. */
bool json_is(const json_t *value, const char *text);
/* A string of the file as a sentence may show it (gguf_show); "" of what is no string. */
struct gguf_shown json_shown(const json_t *value);

#endif
