#include "api/json_body.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "config/limits.h"

/* Walks over JSON without understanding it: only strings, brackets and colons, which is enough to
 * count. */
struct walk {
    bool in_string, escaped;
    size_t depth, containers, members;
    size_t string_at, string_end; /* quotes of the latest whole string of depth 1 */
    size_t key_at, key_end;       /* of the latest that a colon followed */
};

static void walk_step(struct walk *w, const char *body, size_t at)
{
    char c = body[at];

    if (w->in_string) {
        if (w->escaped)
            w->escaped = false;
        else if (c == '\\')
            w->escaped = true;
        else if (c == '"')
            w->in_string = false;
        if (!w->in_string && w->depth == 1)
            w->string_end = at;
        return;
    }
    switch (c) {
    case '"':
        w->in_string = true;
        if (w->depth == 1)
            w->string_at = at;
        break;
    case '{':
    case '[':
        w->depth++;
        w->containers++;
        break;
    case '}':
    case ']':
        w->depth -= w->depth > 0;
        break;
    case ':':
        w->members++;
        if (w->depth == 1) {
            w->key_at = w->string_at;
            w->key_end = w->string_end;
        }
        break;
    default:
        break;
    }
}

/* The parser builds a tree whose nodes cost up to 80 times their bytes, and recurses: count first.
 */
static int check_shape(const char *body, size_t len, struct api_error *err)
{
    struct walk w = {0};

    for (size_t i = 0; i < len; i++) {
        if (body[i] == '\0') {
            api_error_set(err, API_INVALID_JSON, NULL,
                          "byte %zu of the body is a NUL: JSON has none", i);
            return ST_INVALID;
        }
        walk_step(&w, body, i);
        if (w.depth > LIMIT_JSON_DEPTH) {
            api_error_set(err, API_INVALID_JSON, NULL,
                          "at byte %zu the body is nested deeper than %u levels", i,
                          LIMIT_JSON_DEPTH);
            return ST_INVALID;
        }
        if (w.containers > LIMIT_JSON_CONTAINERS || w.members > LIMIT_JSON_MEMBERS) {
            api_error_set(err, API_INVALID_JSON, NULL,
                          "up to byte %zu the body has more than %u arrays and objects or %u keys",
                          i, LIMIT_JSON_CONTAINERS, LIMIT_JSON_MEMBERS);
            return ST_INVALID;
        }
    }
    return ST_OK;
}

/* The latest key of the outer object before a byte, "" if it is not a plain name. With its colon
 * not yet read the latest string is it. */
static void key_before(const char *body, size_t before, bool colon_read, char *out, size_t cap)
{
    struct walk w = {0};
    size_t at, n;

    out[0] = '\0';
    for (size_t i = 0; i < before; i++)
        walk_step(&w, body, i);
    at = colon_read ? w.key_at : w.string_at;
    n = (colon_read ? w.key_end : w.string_end) - at;
    if (n < 2 || n > cap) /* the first quote is counted */
        return;
    for (size_t i = 1; i < n; i++)
        if (!isalnum((unsigned char)body[at + i]) && body[at + i] != '_')
            return;
    memcpy(out, body + at + 1, n - 1);
    out[n - 1] = '\0';
}

/* jansson's own words without the piece of the body that it quotes: errors are logged, prompts
 * never. */
static int plain_words(const json_error_t *why)
{
    const char *near = strstr(why->text, " near ");

    return near ? (int)(near - why->text) : (int)strlen(why->text);
}

static int explain(const char *body, size_t len, const json_error_t *why, struct api_error *err)
{
    size_t at = why->position > 0 ? (size_t)why->position : 0;
    enum json_error_code code = json_error_code(why);
    char key[64];

    key_before(body, at < len ? at : len, code != json_error_duplicate_key, key, sizeof(key));
    if (code == json_error_null_byte_in_key)
        key[0] = '\0'; /* that would be the one before */
    switch (code) {
    case json_error_unknown: /* jansson says nothing where an allocation failed */
    case json_error_out_of_memory:
        api_error_set(err, API_INTERNAL, NULL, "out of memory reading the body: try again later");
        return ST_NOMEM;
    case json_error_invalid_utf8:
        api_error_set(err, API_INVALID_JSON, NULL, "the body is not valid UTF-8 at byte %zu", at);
        break;
    case json_error_null_character:
    case json_error_null_byte_in_key:
        api_error_set(err, API_INVALID_VALUE, key,
                      "U+0000 near byte %zu: no text here may hold it, leave it out", at);
        break;
    case json_error_duplicate_key:
        api_error_set(err, API_DUPLICATE_FIELD, key,
                      "%s appears twice near byte %zu: give each key once", key[0] ? key : "a key",
                      at);
        break;
    case json_error_numeric_overflow:
        api_error_set(err, API_OUT_OF_RANGE, key,
                      "%s is out of range: the number near byte %zu is too large",
                      key[0] ? key : "a value", at);
        break;
    case json_error_premature_end_of_input:
        api_error_set(err, API_INVALID_JSON, NULL,
                      "the body ends at byte %zu in the middle of its JSON", len);
        break;
    case json_error_end_of_input_expected:
        api_error_set(err, API_INVALID_JSON, NULL,
                      "something follows the JSON object at byte %zu: leave it out", at);
        break;
    default:
        api_error_set(err, API_INVALID_JSON, NULL, "the body is not valid JSON at byte %zu: %.*s",
                      at, plain_words(why), why->text);
        break;
    }
    return ST_INVALID;
}

int json_body_load(const char *body, size_t len, json_t **ret_object, struct api_error *err)
{
    json_error_t why = {0}; /* jansson leaves the code unset in some failures */
    json_t *object;
    size_t start = 0;
    int r;

    while (start < len && strchr(" \t\r\n", body[start]) && body[start])
        start++;
    if (start == len) {
        api_error_set(err, API_INVALID_JSON, NULL,
                      "the body is empty: send a JSON object such as "
                      "{\"prompt\":\"Hello\"}");
        return ST_INVALID;
    }
    if (body[start] != '{') {
        api_error_set(
            err, API_INVALID_JSON, NULL,
            "the body must be a JSON object such as {\"prompt\":\"Hello\"}: it must begin with {");
        return ST_INVALID;
    }
    r = check_shape(body, len, err);
    if (r != ST_OK)
        return r;
    object = json_loadb(body, len, JSON_REJECT_DUPLICATES, &why);
    if (!object)
        return explain(body, len, &why, err);
    *ret_object = object;
    return ST_OK;
}
