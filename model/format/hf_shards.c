/* hf_shards.c - which files hold the weights: model.safetensors, or the shards of an index. */
#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "model/format/hf_priv.h"
#include "model/format/map.h"

#define ONE_FILE "model.safetensors"
#define INDEX "model.safetensors.index.json"

/* name: of a file in the directory, without a way out of it. */
static int open_shard(struct hf *hf, const char *name, struct hf_parts *parts)
{
    char *path = map_join(hf->dir, name);
    int r = ST_NOMEM;

    if (path)
        r = safetensors_open(path, &parts->shards[parts->n_shards], hf->err);
    if (r == ST_OK)
        parts->n_shards++;
    free(path);
    return r;
}

/* The index names files; each tensor of them must be in its weight_map, and the other way round. */
struct index {
    struct json_file file;
    const json_t *map;  /* tensor → file */
    const char **names; /* of the files, each once, in the order of the shards */
    size_t n_names;
};

static int check_name(const struct index *index, const char *tensor, const json_t *value,
                      struct error *err)
{
    const char *name = json_string_value(value);

    if (name && *name && *name != '.' && !strchr(name, '/'))
        return ST_OK;
    return error_set(err, ST_FORMAT,
                     "%s: weight_map of '%s' must name a file of the directory, it is '%s'",
                     index->file.path, gguf_show((struct gguf_str){tensor, strlen(tensor)}).text,
                     json_shown(value).text);
}

static bool is_listed(const struct index *index, const char *name)
{
    for (size_t i = index->n_names; i-- > 0;) /* neighbours are in one file */
        if (strcmp(index->names[i], name) == 0)
            return true;
    return false;
}

static int list_files(struct index *index, struct error *err)
{
    const char *tensor;
    const json_t *value;
    int r;

    index->names = calloc(LIMIT_SHARDS, sizeof(*index->names));
    if (!index->names)
        return ST_NOMEM;
    json_object_foreach((json_t *)index->map, tensor, value)
    {
        if ((r = check_name(index, tensor, value, err)))
            return r;
        if (is_listed(index, json_string_value(value)))
            continue;
        if (index->n_names == LIMIT_SHARDS)
            return error_set(err, ST_FORMAT, "%s: weight_map names more than %u files",
                             index->file.path, LIMIT_SHARDS);
        index->names[index->n_names++] = json_string_value(value);
    }
    return ST_OK;
}

static int check_shard(const struct index *index, size_t i, const struct safetensors *shard,
                       struct error *err)
{
    for (size_t j = 0; j < safetensors_n(shard); j++) {
        const char *tensor = safetensors_at(shard, j)->name;
        const json_t *file = json_object_get(index->map, tensor);

        if (!json_is(file, index->names[i]))
            return error_set(err, ST_FORMAT, "%s: weight_map puts '%s' into '%s', but %s holds it",
                             index->file.path,
                             gguf_show((struct gguf_str){tensor, strlen(tensor)}).text,
                             json_shown(file).text, index->names[i]);
    }
    return ST_OK;
}

static int open_listed(struct hf *hf, struct index *index, struct hf_parts *parts)
{
    size_t n = 0;
    int r = list_files(index, hf->err);

    if (r)
        return r;
    parts->shards = calloc(index->n_names + 1, sizeof(*parts->shards));
    if (!parts->shards)
        return ST_NOMEM;
    for (size_t i = 0; i < index->n_names; i++) {
        if ((r = open_shard(hf, index->names[i], parts)) ||
            (r = check_shard(index, i, parts->shards[i], hf->err)))
            return r;
        n += safetensors_n(parts->shards[i]);
    }
    if (n != json_object_size(index->map))
        return error_set(hf->err, ST_FORMAT,
                         "%s: weight_map has %zu tensors, the files that it names hold %zu",
                         index->file.path, json_object_size(index->map), n);
    return ST_OK;
}

static int open_index(struct hf *hf, struct hf_parts *parts)
{
    struct index index = {0};
    int r = json_file_open(hf->dir, INDEX, &index.file, hf->err);

    if (r == ST_NOTFOUND)
        return error_set(hf->err, ST_IO, "%s holds neither " ONE_FILE " nor " INDEX, hf->dir);
    if (r)
        return r;
    index.map = json_file_at(&index.file, "weight_map");
    if (json_object_size(index.map) == 0)
        r = error_set(hf->err, ST_FORMAT, "%s: weight_map must be an object with tensors",
                      index.file.path);
    else
        r = open_listed(hf, &index, parts);
    free(index.names);
    json_file_close(&index.file);
    return r;
}

int hf_open_shards(struct hf *hf, struct hf_parts *parts)
{
    char *path = map_join(hf->dir, ONE_FILE);
    bool one = path && map_exists(path);

    free(path);
    if (!path)
        return ST_NOMEM;
    if (!one)
        return open_index(hf, parts);
    parts->shards = calloc(1, sizeof(*parts->shards));
    return parts->shards ? open_shard(hf, ONE_FILE, parts) : ST_NOMEM;
}
