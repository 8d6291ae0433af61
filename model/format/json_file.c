#include "model/format/json_file.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "model/format/gguf.h"
#include "model/format/map.h"

/* ---- parsing ---- */

/* Containers are what makes a small text a large tree, and depth a deep stack: both are counted
 * before jansson sees the text. Whether they match is its business. */
static int check_shape(const char *path, const char *text, size_t len, struct error *err)
{
    size_t depth = 0, n = 0;
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (in_string) {
            in_string = c != '"';
            i += c == '\\';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            n++;
            if (++depth > LIMIT_JSON_DEPTH || n > LIMIT_MODEL_JSON_CONTAINERS)
                return error_set(err, ST_FORMAT,
                                 "%s: at byte %zu there are objects and arrays %zu deep and %zu in "
                                 "all; %u and %u are read",
                                 path, i, depth, n, LIMIT_JSON_DEPTH, LIMIT_MODEL_JSON_CONTAINERS);
        } else if ((c == ']' || c == '}') && depth) {
            depth--;
        }
    }
    return ST_OK;
}

int json_file_parse(const char *path, const char *text, size_t len, json_t **ret_object,
                    struct error *err)
{
    json_error_t why;
    json_t *root;
    int r = check_shape(path, text, len, err);

    if (r)
        return r;
    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (!root && json_error_code(&why) == json_error_out_of_memory)
        return error_set(err, ST_NOMEM, "%s: no memory to parse it", path);
    if (!root)
        return error_set(err, ST_FORMAT, "%s: line %d, column %d: %s", path, why.line, why.column,
                         gguf_show((struct gguf_str){why.text, strlen(why.text)}).text);
    if (!json_is_object(root)) {
        json_decref(root);
        return error_set(err, ST_FORMAT, "%s: an object in braces is expected, not an array", path);
    }
    *ret_object = root;
    return ST_OK;
}

static int parse_map(const char *path, const struct map *map, json_t **ret_root, struct error *err)
{
    if (map->n_bytes == 0)
        return error_set(err, ST_FORMAT, "%s is empty; JSON is expected", path);
    if (map->n_bytes > LIMIT_MODEL_JSON_BYTES)
        return error_set(err, ST_FORMAT, "%s has %zu bytes; at most %u are read", path,
                         map->n_bytes, LIMIT_MODEL_JSON_BYTES);
    return json_file_parse(path, (const char *)map->bytes, map->n_bytes, ret_root, err);
}

int json_file_open(const char *dir, const char *name, struct json_file *ret_file, struct error *err)
{
    struct json_file file = {map_join(dir, name), NULL};
    struct map map = {0};
    int r;

    if (!file.path)
        return error_set(err, ST_NOMEM, "%s: no memory to open it", dir);
    r = map_exists(file.path) ? map_open(file.path, "a JSON file", &map, err) : ST_NOTFOUND;
    if (r == ST_OK)
        r = parse_map(file.path, &map, &file.root, err);
    map_close(&map);
    if (r == ST_OK)
        *ret_file = file;
    else
        json_file_close(&file);
    return r;
}

void json_file_close(struct json_file *file)
{
    free(file->path);
    json_decref(file->root);
    *file = (struct json_file){0};
}

/* ---- asking ---- */

json_t *json_file_at(const struct json_file *file, const char *field)
{
    json_t *at = file->root;

    for (;;) {
        size_t n = strcspn(field, ".");

        at = json_object_getn(at, field, n);
        if (!at || json_is_null(at))
            return NULL;
        if (!field[n])
            return at;
        field += n + 1;
    }
}

static int expected(const struct json_file *file, const char *field, const char *wanted,
                    struct error *err)
{
    return error_set(err, ST_FORMAT, "%s: %s must be %s", file->path, field, wanted);
}

int json_file_u32(const struct json_file *file, const char *field, uint32_t *ret, struct error *err)
{
    const json_t *value = json_file_at(file, field);
    json_int_t n = json_integer_value(value);

    if (!value)
        return ST_NOTFOUND;
    if (!json_is_integer(value) || n < 0 || n > UINT32_MAX)
        return expected(file, field, "an integer from 0 to 4294967295", err);
    *ret = (uint32_t)n;
    return ST_OK;
}

int json_file_f32(const struct json_file *file, const char *field, float *ret, struct error *err)
{
    const json_t *value = json_file_at(file, field);
    double x = json_number_value(value);

    if (!value)
        return ST_NOTFOUND;
    if (!json_is_number(value) || !(fabs(x) <= (double)FLT_MAX))
        return expected(file, field, "a number that 32 bits hold", err);
    *ret = (float)x;
    return ST_OK;
}

int json_file_bool(const struct json_file *file, const char *field, bool *ret, struct error *err)
{
    const json_t *value = json_file_at(file, field);

    if (!value)
        return ST_NOTFOUND;
    if (!json_is_boolean(value))
        return expected(file, field, "true or false", err);
    *ret = json_is_true(value);
    return ST_OK;
}

int json_file_str(const struct json_file *file, const char *field, const char **ret,
                  struct error *err)
{
    const json_t *value = json_file_at(file, field);

    if (!value)
        return ST_NOTFOUND;
    if (!json_is_string(value))
        return expected(file, field, "a string", err);
    *ret = json_string_value(value);
    return ST_OK;
}

bool json_is(const json_t *value, const char *text)
{
    const char *is = json_string_value(value);

    return is && strcmp(is, text) == 0;
}

struct gguf_shown json_shown(const json_t *value)
{
    struct gguf_str text = {json_string_value(value), json_string_length(value)};

    return gguf_show(text.data ? text : (struct gguf_str){"", 0});
}
