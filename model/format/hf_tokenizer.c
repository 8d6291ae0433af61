/* hf_tokenizer.c - tokenizer.json and its neighbours → the keys of the tokenizer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "model/format/hf_priv.h"
#include "model/format/map.h"

/* Token types by GGUF's own numbers. */
enum { TYPE_NORMAL = 1, TYPE_CONTROL = 3, TYPE_USER = 4, TYPE_UNUSED = 5 };

struct vocabulary {
    struct gguf_str *tokens; /* by id; data NULL: a hole */
    int32_t *types;
    uint32_t n;
    char (*pads)[16]; /* names of holes */
};

static int wrong(const struct hf *hf, const char *field, const char *wanted)
{
    return error_set(hf->err, ST_FORMAT, "%s: %s must be %s", hf->tokenizer.path, field, wanted);
}

/* ---- the vocabulary ---- */

static bool is_id(const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) >= 0 &&
           json_integer_value(value) < LIMIT_VOCAB;
}

static int put_token(const struct hf *hf, struct vocabulary *v, uint32_t id, struct gguf_str name,
                     int32_t type)
{
    struct gguf_str *old = &v->tokens[id];

    if (old->data && (old->len != name.len || memcmp(old->data, name.data, name.len) != 0))
        return error_set(hf->err, ST_FORMAT, "%s: tokens '%s' and '%s' both have id %u",
                         hf->tokenizer.path, gguf_show(*old).text, gguf_show(name).text, id);
    *old = name;
    v->types[id] = type;
    return ST_OK;
}

/* Checks every id, so that what follows need not. */
static int count_tokens(const struct hf *hf, const json_t *vocab, const json_t *added,
                        uint32_t *ret_n)
{
    uint32_t n = hf->n_vocab;
    const char *name;
    const json_t *value;
    size_t i;

    if (json_object_size(vocab) == 0)
        return wrong(hf, "model.vocab", "an object with tokens");
    if (added && !json_is_array(added))
        return wrong(hf, "added_tokens", "an array");
    json_object_foreach((json_t *)vocab, name, value)
    {
        if (!is_id(value))
            return error_set(hf->err, ST_FORMAT,
                             "%s: model.vocab of '%s' must be an id, an integer from 0 to %u",
                             hf->tokenizer.path,
                             gguf_show((struct gguf_str){name, strlen(name)}).text,
                             LIMIT_VOCAB - 1);
        if (json_integer_value(value) >= n)
            n = (uint32_t)json_integer_value(value) + 1;
    }
    json_array_foreach(added, i, value)
    {
        const json_t *id = json_object_get(value, "id");

        if (!is_id(id) || !json_is_string(json_object_get(value, "content")))
            return error_set(hf->err, ST_FORMAT,
                             "%s: added_tokens[%zu] must have a string as content and an integer "
                             "from 0 to %u as id",
                             hf->tokenizer.path, i, LIMIT_VOCAB - 1);
        if (json_integer_value(id) >= n)
            n = (uint32_t)json_integer_value(id) + 1;
    }
    *ret_n = n;
    return ST_OK;
}

/* The converter takes what looks like a control token for one, whatever its flag says. */
static int32_t type_of_added(const json_t *token, struct gguf_str name)
{
    bool looks = name.len > 4 && memcmp(name.data, "<|", 2) == 0 &&
                 memcmp(name.data + name.len - 2, "|>", 2) == 0;

    return looks || json_is_true(json_object_get(token, "special")) ? TYPE_CONTROL : TYPE_USER;
}

static int fill_vocabulary(const struct hf *hf, const json_t *vocab, const json_t *added,
                           struct vocabulary *v)
{
    const char *name;
    const json_t *value;
    size_t i;
    int r;

    json_object_foreach((json_t *)vocab, name, value)
    {
        if ((r = put_token(hf, v, (uint32_t)json_integer_value(value),
                           (struct gguf_str){name, strlen(name)}, TYPE_NORMAL)))
            return r;
    }
    json_array_foreach(added, i, value)
    {
        const json_t *content = json_object_get(value, "content");
        struct gguf_str text = {json_string_value(content), json_string_length(content)};

        if ((r = put_token(hf, v, (uint32_t)json_integer_value(json_object_get(value, "id")), text,
                           type_of_added(value, text))))
            return r;
    }
    for (uint32_t id = 0; id < v->n; id++) {
        if (v->tokens[id].data)
            continue;
        int len = snprintf(v->pads[id], sizeof(v->pads[id]), "[PAD%u]", id);
        if ((r = put_token(hf, v, id, (struct gguf_str){v->pads[id], (size_t)len}, TYPE_UNUSED)))
            return r;
    }
    return ST_OK;
}

static int write_vocabulary(struct hf *hf)
{
    const json_t *vocab = json_file_at(&hf->tokenizer, "model.vocab");
    const json_t *added = json_file_at(&hf->tokenizer, "added_tokens");
    struct vocabulary v = {0};
    int r = count_tokens(hf, vocab, added, &v.n);

    if (r)
        return r;
    v.tokens = calloc(v.n, sizeof(*v.tokens));
    v.types = calloc(v.n, sizeof(*v.types));
    v.pads = calloc(v.n, sizeof(*v.pads));
    r = v.tokens && v.types && v.pads ? fill_vocabulary(hf, vocab, added, &v) : ST_NOMEM;
    if (r == ST_OK)
        r = gguf_write_strs(hf->keys, "tokenizer.ggml.tokens", v.tokens, v.n);
    if (r == ST_OK)
        r = gguf_write_i32s(hf->keys, "tokenizer.ggml.token_type", v.types, v.n);
    free(v.tokens);
    free(v.types);
    free(v.pads);
    return r;
}

/* ---- merges ---- */

/* "left right", or ["left", "right"] as newer files have it, joined into buf. */
static int read_merge(const struct hf *hf, size_t i, const json_t *merge, char **buf,
                      struct gguf_str *ret_merge)
{
    const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
    size_t n_left = json_string_length(left), n_right = json_string_length(right);

    if (json_is_string(merge)) {
        *ret_merge = (struct gguf_str){json_string_value(merge), json_string_length(merge)};
        return ST_OK;
    }
    if (json_array_size(merge) != 2 || n_left == 0 || n_right == 0 ||
        strchr(json_string_value(left), ' ') || strchr(json_string_value(right), ' '))
        return error_set(hf->err, ST_FORMAT,
                         "%s: model.merges[%zu] must be two tokens without spaces in them, as one "
                         "string or as two",
                         hf->tokenizer.path, i);
    memcpy(*buf, json_string_value(left), n_left);
    (*buf)[n_left] = ' ';
    memcpy(*buf + n_left + 1, json_string_value(right), n_right);
    *ret_merge = (struct gguf_str){*buf, n_left + 1 + n_right};
    *buf += ret_merge->len;
    return ST_OK;
}

/* Room for all pairs once joined: no more than the file's own bytes. */
static size_t joined_bytes(const json_t *merges)
{
    size_t i, n = 1;
    const json_t *merge;

    json_array_foreach(merges, i, merge) n += json_string_length(json_array_get(merge, 0)) + 1 +
                                              json_string_length(json_array_get(merge, 1));
    return n;
}

static int write_merges(struct hf *hf)
{
    const json_t *merges = json_file_at(&hf->tokenizer, "model.merges"), *merge;
    size_t i, n = json_array_size(merges);
    struct gguf_str *list = calloc(n + 1, sizeof(*list));
    char *joined = malloc(joined_bytes(merges)), *end = joined;
    int r = list && joined ? ST_OK : ST_NOMEM;

    if (r == ST_OK && !json_is_array(merges))
        r = wrong(hf, "model.merges", "an array");
    json_array_foreach(merges, i, merge)
    {
        if (r == ST_OK)
            r = read_merge(hf, i, merge, &end, &list[i]);
    }
    if (r == ST_OK)
        r = gguf_write_strs(hf->keys, "tokenizer.ggml.merges", list, n);
    free(list);
    free(joined);
    return r;
}

/* ---- which token begins, ends, … ---- */

/* ST_NOTFOUND: no such token. */
static int find_token(const struct hf *hf, const json_t *name, uint32_t *ret_id)
{
    const json_t *added = json_file_at(&hf->tokenizer, "added_tokens"), *token;
    const json_t *id = NULL;
    size_t i;

    if (json_is_object(name)) /* {"content": "<s>", "lstrip": …} */
        name = json_object_get(name, "content");
    if (!json_is_string(name))
        return ST_NOTFOUND;
    json_array_foreach(
        added, i, token) if (json_is(json_object_get(token, "content"), json_string_value(name)))
        id = json_object_get(token, "id");
    if (!id)
        id = json_object_get(json_file_at(&hf->tokenizer, "model.vocab"), json_string_value(name));
    if (!id)
        return ST_NOTFOUND;
    *ret_id = (uint32_t)json_integer_value(id);
    return ST_OK;
}

/* The id that two kinds of files name: by its text, or by number (the first of a list). */
static int find_role(const struct hf *hf, const char *role, uint32_t *ret_id)
{
    const struct json_file *const named[] = {&hf->tokenizer_config, &hf->special_map};
    const struct json_file *const numbered[] = {&hf->generation, &hf->config};
    char field[32];

    snprintf(field, sizeof(field), "%s_token", role);
    for (size_t i = 0; i < 2; i++)
        if (find_token(hf, json_file_at(named[i], field), ret_id) == ST_OK)
            return ST_OK;
    snprintf(field, sizeof(field), "%s_token_id", role);
    for (size_t i = 0; i < 2; i++) {
        const json_t *id = json_file_at(numbered[i], field);

        if (json_is_array(id))
            id = json_array_get(id, 0);
        if (is_id(id)) {
            *ret_id = (uint32_t)json_integer_value(id);
            return ST_OK;
        }
    }
    return ST_NOTFOUND;
}

/* Files that list several end tokens: two more have a key of their own. The usual names of end
 * tokens are known without one (text/vocab.c). */
static int write_more_ends(struct hf *hf, uint32_t eos)
{
    static const char *const keys[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    const struct json_file *const files[] = {&hf->generation, &hf->config};
    uint32_t seen[3] = {eos};
    size_t n = 1, i;
    const json_t *value;
    int r;

    for (size_t f = 0; f < 2; f++) {
        const json_t *list = json_file_at(files[f], "eos_token_id");

        json_array_foreach(list, i, value)
        {
            uint32_t id = (uint32_t)json_integer_value(value);

            if (n == 3 || !is_id(value) || id == seen[0] || (n > 1 && id == seen[1]))
                continue;
            if ((r = gguf_write_u32(hf->keys, keys[n - 1], id)))
                return r;
            seen[n++] = id;
        }
    }
    return ST_OK;
}

/* Does the post-processor put this token before a text? -1: none says so or not. */
static int puts_first(const struct hf *hf, uint32_t bos)
{
    const json_t *post = json_file_at(&hf->tokenizer, "post_processor");
    const json_t *list = json_object_get(post, "processors");
    size_t n = json_is(json_object_get(post, "type"), "Sequence") ? json_array_size(list) : 1;

    for (size_t i = 0; i < n; i++) {
        const json_t *step = list && n ? json_array_get(list, i) : post;
        const json_t *first = json_array_get(json_object_get(step, "single"), 0);
        uint32_t id;

        if (!json_is(json_object_get(step, "type"), "TemplateProcessing"))
            continue;
        return find_token(hf, json_object_get(json_object_get(first, "SpecialToken"), "id"), &id) ==
                   ST_OK &&
               id == bos;
    }
    return -1;
}

static int write_roles(struct hf *hf)
{
    static const struct {
        const char *role, *key;
    } roles[] = {{"bos", "tokenizer.ggml.bos_token_id"},
                 {"eos", "tokenizer.ggml.eos_token_id"},
                 {"unk", "tokenizer.ggml.unknown_token_id"},
                 {"pad", "tokenizer.ggml.padding_token_id"}};
    uint32_t ids[4];
    bool known[4], add_bos = false;
    int r;

    for (size_t i = 0; i < 4; i++) {
        known[i] = find_role(hf, roles[i].role, &ids[i]) == ST_OK;
        if (known[i] && (r = gguf_write_u32(hf->keys, roles[i].key, ids[i])))
            return r;
    }
    if (known[1] && (r = write_more_ends(hf, ids[1])))
        return r;
    if (known[0])
        add_bos = puts_first(hf, ids[0]) == 1;
    r = json_file_bool(&hf->tokenizer_config, "add_bos_token", &add_bos, hf->err);
    if (r && r != ST_NOTFOUND)
        return r;
    return gguf_write_bool(hf->keys, "tokenizer.ggml.add_bos_token", add_bos);
}

/* ---- the chat template ---- */

static int write_template_file(struct hf *hf)
{
    char *path = map_join(hf->dir, "chat_template.jinja");
    struct map map = {0};
    int r = ST_OK;

    if (!path)
        return ST_NOMEM;
    if (map_exists(path))
        r = map_open(path, "a chat template", &map, hf->err);
    if (r == ST_OK && map.n_bytes > LIMIT_MODEL_JSON_BYTES)
        r = error_set(hf->err, ST_FORMAT, "%s has %zu bytes; at most %u are read", path,
                      map.n_bytes, LIMIT_MODEL_JSON_BYTES);
    if (r == ST_OK && map.n_bytes)
        r = gguf_write_str(hf->keys, "tokenizer.chat_template", (const char *)map.bytes,
                           map.n_bytes);
    map_close(&map);
    free(path);
    return r;
}

/* One string, or a list of which one is named "default"; newer models have a file of its own. */
static int write_template(struct hf *hf)
{
    const json_t *field = json_file_at(&hf->tokenizer_config, "chat_template"), *one;
    const json_t *text = field;
    size_t i;

    json_array_foreach(field, i, one) if (json_is(json_object_get(one, "name"), "default")) text =
        json_object_get(one, "template");
    if (!json_is_string(text))
        return write_template_file(hf);
    return gguf_write_str(hf->keys, "tokenizer.chat_template", json_string_value(text),
                          json_string_length(text));
}

/* ---- all of it ---- */

static int check_model(const struct hf *hf)
{
    static const char *const marks[] = {"model.continuing_subword_prefix",
                                        "model.end_of_word_suffix"};
    const json_t *type = json_file_at(&hf->tokenizer, "model.type");

    for (size_t i = 0; i < 2; i++) {
        const json_t *mark = json_file_at(&hf->tokenizer, marks[i]);

        if (json_string_length(mark))
            return error_set(hf->err, ST_UNSUPPORTED, "%s: %s is '%s', which is not built; none is",
                             hf->tokenizer.path, marks[i], json_shown(mark).text);
    }
    if (type && !json_is(type, "BPE")) /* the oldest files don't name it */
        return error_set(hf->err, ST_UNSUPPORTED,
                         "%s: model.type is '%s', which is not built; BPE is", hf->tokenizer.path,
                         json_shown(type).text);
    if (json_is_true(json_file_at(&hf->tokenizer, "model.byte_fallback")))
        return error_set(hf->err, ST_UNSUPPORTED,
                         "%s: model.byte_fallback is true (a SentencePiece vocabulary), which is "
                         "not built; byte-level BPE is",
                         hf->tokenizer.path);
    return ST_OK;
}

int hf_write_tokenizer(struct hf *hf)
{
    const char *pre;
    int r;

    if ((r = check_model(hf)) || (r = hf_read_pretokenizer(hf, &pre)) ||
        (r = gguf_write_str(hf->keys, "tokenizer.ggml.model", "gpt2", 4)) ||
        (r = gguf_write_str(hf->keys, "tokenizer.ggml.pre", pre, strlen(pre))) ||
        (r = write_vocabulary(hf)) || (r = write_merges(hf)) || (r = write_roles(hf)))
        return r;
    return write_template(hf);
}
