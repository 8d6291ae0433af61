#include "model/format/plan_json.h"

#include <string.h>

#include "config/limits.h"
#include "model/format/json_file.h"
#include "model/format/map.h"

static int wrong(const char *name, const char *field, const char *wanted, struct error *err)
{
    return error_set(err, ST_FORMAT, "%s: %s must be %s", name, field, wanted);
}

static int check_fields(const char *name, json_t *root, struct error *err)
{
    const json_t *version = json_object_get(root, "version"),
                 *fallback = json_object_get(root, "default"),
                 *modules = json_object_get(root, "modules");
    const char *key;
    json_t *value;

    json_object_foreach(root, key, value)
    {
        const struct gguf_str shown = {key, strlen(key)};
        if (value != version && value != fallback && value != modules)
            return error_set(err, ST_FORMAT,
                             "%s: \"%s\" is no field of a plan; version, default and modules are",
                             name, gguf_show(shown).text);
    }
    if (!json_is_integer(version) || json_integer_value(version) != 1)
        return wrong(name, "version", "1", err);
    if (fallback && !json_is_string(fallback))
        return wrong(name, "default", "a scheme, as \"int8\"", err);
    if (modules && !json_is_object(modules))
        return wrong(name, "modules", "an object, as {\"blk.0.ffn_down\": \"f16\"}", err);
    if (json_object_size(modules) > LIMIT_PLAN_MODULES)
        return error_set(err, ST_TOOLONG, "%s: %zu modules; at most %u are read", name,
                         json_object_size(modules), LIMIT_PLAN_MODULES);
    return ST_OK;
}

int plan_json_parse(const char *name, const char *text, size_t len,
                    const struct plan_json_reader *reader, struct error *err)
{
    json_t *root, *value;
    const char *module;
    int r;

    if (len > LIMIT_PLAN_BYTES)
        return error_set(err, ST_TOOLONG, "%s has %zu bytes; a plan has at most %u", name, len,
                         LIMIT_PLAN_BYTES);
    r = json_file_parse(name, text, len, &root, err);
    if (r != ST_OK)
        return r;
    r = check_fields(name, root, err);
    if (r == ST_OK)
        r = reader->fn(reader->arg, NULL, json_string_value(json_object_get(root, "default")), err);
    json_object_foreach(json_object_get(root, "modules"), module, value)
    {
        const struct gguf_str shown = {module, strlen(module)};
        if (r == ST_OK && !json_is_string(value))
            r = wrong(name, gguf_show(shown).text, "a choice, as \"int8-g32\" or \"f16\"", err);
        if (r == ST_OK)
            r = reader->fn(reader->arg, module, json_string_value(value), err);
    }
    json_decref(root);
    return r;
}

int plan_json_read(const char *path, const struct plan_json_reader *reader, struct error *err)
{
    struct map map = {0};
    int r = map_open(path, "a plan (JSON)", &map, err);

    if (r == ST_OK && map.n_bytes == 0)
        r = error_set(err, ST_FORMAT, "%s is empty; a plan is JSON, as {\"version\": 1}", path);
    if (r == ST_OK)
        r = plan_json_parse(path, (const char *)map.bytes, map.n_bytes, reader, err);
    map_close(&map);
    return r;
}
