#include "api/parse.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/json_body.h"
#include "api/schema.h"
#include "config/escape.h"
#include "config/json_kind.h"
#include "config/limits.h"

#define SHOWN_BYTES 64u /* of a caller's text in a sentence */

void parse_init(void)
{
    json_object_seed(0); /* from the system's random source */
}

static void *field_at(const struct field *field, struct completion_req *req)
{
    return (char *)req + field->offset;
}

static int no_memory(struct api_error *err)
{
    api_error_set(err, API_INTERNAL, NULL, "out of memory reading the request: try again later");
    return ST_NOMEM;
}

static int wrong_type(const struct field *field, const json_t *value, struct api_error *err)
{
    api_error_set(err, API_WRONG_TYPE, field->name, "%s must be %s, not %s", field->name,
                  schema_type_name(field->type), json_kind(value));
    return ST_INVALID;
}

/* was: the value as text, or "" where it can't be shown. */
static int out_of_range(const struct field *field, const char *was, struct api_error *err)
{
    const char *not = was[0] ? ", not " : "";

    if (field->type != FIELD_NUMBER)
        api_error_set(err, API_OUT_OF_RANGE, field->name, "%s must be %lld to %lld%s%s",
                      field->name, (long long)field->imin, (long long)field->imax, not, was);
    else if (field->min_open)
        api_error_set(err, API_OUT_OF_RANGE, field->name, "%s must be above %g and at most %g%s%s",
                      field->name, field->min, field->max, not, was);
    else
        api_error_set(err, API_OUT_OF_RANGE, field->name, "%s must be %g to %g%s%s", field->name,
                      field->min, field->max, not, was);
    return ST_INVALID;
}

/* ---- one reader a type; each writes its field and nothing else ---- */

/* JSON Schema counts 1e3 and 5.0 as integers, so they are; beyond 2^53 a double no longer tells
 * neighbours apart. */
static bool as_integer(const json_t *value, int64_t *ret_value)
{
    double real;

    if (json_is_integer(value)) {
        *ret_value = json_integer_value(value);
        return true;
    }
    if (!json_is_real(value))
        return false;
    real = json_real_value(value);
    if (fabs(real) > 9007199254740992.0 || trunc(real) != real)
        return false;
    *ret_value = (int64_t)real;
    return true;
}

static int read_integer(const struct field *field, const json_t *value, struct completion_req *req,
                        struct api_error *err)
{
    char was[32];
    int64_t number;

    if (!as_integer(value, &number))
        return wrong_type(field, value, err);
    if (number < field->imin || number > field->imax) {
        snprintf(was, sizeof(was), "%lld", (long long)number);
        return out_of_range(field, was, err);
    }
    if (field->type == FIELD_SEED) {
        *(uint64_t *)field_at(field, req) = (uint64_t)number;
        req->has_seed = true;
    } else {
        *(int32_t *)field_at(field, req) = (int32_t)number;
    }
    return ST_OK;
}

static int read_number(const struct field *field, const json_t *value, struct completion_req *req,
                       struct api_error *err)
{
    char was[32];
    double number;

    if (!json_is_number(value))
        return wrong_type(field, value, err);
    number = json_number_value(value);
    if (!(number >= field->min && number <= field->max) ||
        (field->min_open && number <= field->min)) {
        snprintf(was, sizeof(was), "%g", number);
        return out_of_range(field, was, err);
    }
    *(double *)field_at(field, req) = number;
    return ST_OK;
}

static int read_bool(const struct field *field, const json_t *value, struct completion_req *req,
                     struct api_error *err)
{
    if (!json_is_boolean(value))
        return wrong_type(field, value, err);
    *(bool *)field_at(field, req) = json_is_true(value);
    return ST_OK;
}

/* A copy of a JSON string, which must not be empty. name is "stop[2]" or the field's own. */
static int copy_text(const struct field *field, const char *name, const json_t *value,
                     char **ret_text, struct api_error *err)
{
    size_t len = json_string_length(value);
    char *text;

    if (len == 0) {
        api_error_set(err, API_INVALID_VALUE, field->name,
                      "%s is an empty string: give it at least one character", name);
        return ST_INVALID;
    }
    text = malloc(len + 1);
    if (!text)
        return no_memory(err);
    memcpy(text, json_string_value(value), len + 1);
    *ret_text = text;
    return ST_OK;
}

static int read_string(const struct field *field, const json_t *value, struct completion_req *req,
                       struct api_error *err)
{
    if (!json_is_string(value))
        return wrong_type(field, value, err);
    return copy_text(field, field->name, value, field_at(field, req), err);
}

static int read_prompt_ids(const struct field *field, const json_t *value,
                           struct completion_req *req, struct api_error *err)
{
    size_t n = json_array_size(value);

    if (n == 0) {
        api_error_set(err, API_INVALID_VALUE, field->name,
                      "prompt is an empty array: give it at least one token id");
        return ST_INVALID;
    }
    req->prompt_ids = calloc(n, sizeof(*req->prompt_ids)); /* n is bounded by the body's size */
    if (!req->prompt_ids)
        return no_memory(err);
    req->n_prompt_ids = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(value, i);
        int64_t id;
        if (!as_integer(item, &id)) {
            api_error_set(err, API_WRONG_TYPE, field->name,
                          "prompt[%zu] must be a token id, an integer, not %s", i, json_kind(item));
            return ST_INVALID;
        }
        if (id < 0 || id > INT32_MAX) {
            api_error_set(err, API_OUT_OF_RANGE, field->name,
                          "prompt[%zu] must be a token id, 0 to %d, not %lld", i, INT32_MAX,
                          (long long)id);
            return ST_INVALID;
        }
        req->prompt_ids[i] = (int32_t)id;
    }
    return ST_OK;
}

static int read_prompt(const struct field *field, const json_t *value, struct completion_req *req,
                       struct api_error *err)
{
    int r;

    if (json_is_array(value))
        return read_prompt_ids(field, value, req, err);
    if (!json_is_string(value))
        return wrong_type(field, value, err);
    r = copy_text(field, field->name, value, &req->prompt, err);
    if (r == ST_OK)
        req->prompt_len = json_string_length(value);
    return r;
}

static int read_one_stop(const struct field *field, const char *name, const json_t *value,
                         struct completion_req *req, struct api_error *err)
{
    int r;

    if (!json_is_string(value)) {
        api_error_set(err, API_WRONG_TYPE, field->name, "%s must be a string, not %s", name,
                      json_kind(value));
        return ST_INVALID;
    }
    if (json_string_length(value) > LIMIT_STOP_BYTES) {
        api_error_set(err, API_OUT_OF_RANGE, field->name,
                      "%s has %zu bytes: at most %u are allowed", name, json_string_length(value),
                      LIMIT_STOP_BYTES);
        return ST_INVALID;
    }
    r = copy_text(field, name, value, &req->stops[req->n_stops], err);
    if (r == ST_OK)
        req->n_stops++;
    return r;
}

static int read_stop(const struct field *field, const json_t *value, struct completion_req *req,
                     struct api_error *err)
{
    size_t n = json_array_size(value); /* 0 for a string */
    char name[32];
    int r = ST_OK;

    if (!json_is_string(value) && !json_is_array(value))
        return wrong_type(field, value, err);
    if (n > LIMIT_STOP_STRINGS) {
        api_error_set(err, API_OUT_OF_RANGE, field->name,
                      "stop has %zu strings: at most %u are allowed", n, LIMIT_STOP_STRINGS);
        return ST_INVALID;
    }
    req->stops = calloc(LIMIT_STOP_STRINGS, sizeof(*req->stops));
    if (!req->stops)
        return no_memory(err);
    if (json_is_string(value))
        return read_one_stop(field, field->name, value, req, err);
    for (size_t i = 0; i < n && r == ST_OK; i++) {
        snprintf(name, sizeof(name), "stop[%zu]", i);
        r = read_one_stop(field, name, json_array_get(value, i), req, err);
    }
    return r;
}

static int read_field(const struct field *field, const json_t *value, struct completion_req *req,
                      struct api_error *err)
{
    switch (field->type) {
    case FIELD_BOOL:
        return read_bool(field, value, req, err);
    case FIELD_INT:
    case FIELD_SEED:
        return read_integer(field, value, req, err);
    case FIELD_NUMBER:
        return read_number(field, value, req, err);
    case FIELD_STRING:
        return read_string(field, value, req, err);
    case FIELD_PROMPT:
        return read_prompt(field, value, req, err);
    case FIELD_STOP:
        return read_stop(field, value, req, err);
    }
    return ST_INTERNAL;
}

/* ---- the whole ---- */

static void set_defaults(struct completion_req *req)
{
    size_t n;
    const struct field *fields = schema_generate(&n);

    for (size_t i = 0; i < n; i++) {
        void *at = field_at(&fields[i], req);
        if (!fields[i].has_preset)
            continue;
        if (fields[i].type == FIELD_BOOL)
            *(bool *)at = fields[i].preset != 0;
        else if (fields[i].type == FIELD_INT)
            *(int32_t *)at = (int32_t)fields[i].preset;
        else
            *(double *)at = fields[i].preset;
    }
}

static int unknown_field(const char *key, size_t len, struct api_error *err)
{
    char shown[SHOWN_BYTES + 1];
    size_t n = utf8_cut(key, len, SHOWN_BYTES);

    memcpy(shown, key, n);
    shown[n] = '\0';
    api_error_set(err, API_UNKNOWN_FIELD, shown, "unknown field \"%s\"%s: leave it out", shown,
                  n < len ? "..." : "");
    return ST_INVALID;
}

static int read_members(json_t *object, struct completion_req *req, struct api_error *err)
{
    const char *key;
    size_t len;
    json_t *value;
    bool has_prompt = false;

    json_object_keylen_foreach(object, key, len, value)
    {
        const struct field *field = schema_find(key, len);
        int r;

        if (!field)
            return unknown_field(key, len, err);
        if (json_is_null(value)) /* as if it were not there */
            continue;
        r = read_field(field, value, req, err);
        if (r != ST_OK)
            return r;
        has_prompt = has_prompt || field->type == FIELD_PROMPT;
    }
    if (!has_prompt) {
        api_error_set(err, API_MISSING_FIELD, "prompt", "prompt is missing: give it %s",
                      schema_type_name(FIELD_PROMPT));
        return ST_INVALID;
    }
    return ST_OK;
}

int parse_generate(const char *body, size_t len, struct completion_req *ret_req,
                   struct api_error *err)
{
    struct completion_req req = {0};
    json_t *object = NULL;
    int r = json_body_load(body, len, &object, err);

    if (r != ST_OK) {
        const struct field *field = schema_find(err->param, strlen(err->param));
        if (err->code == API_OUT_OF_RANGE && field && field->type <= FIELD_NUMBER)
            out_of_range(field, "", err);
        goto out;
    }
    set_defaults(&req);
    r = read_members(object, &req, err);
    if (r != ST_OK)
        goto out;
    *ret_req = req;
    req = (struct completion_req){0}; /* moved to the caller */
out:
    completion_req_done(&req);
    json_decref(object);
    return r;
}

void completion_req_done(struct completion_req *req)
{
    for (size_t i = 0; i < req->n_stops; i++)
        free(req->stops[i]);
    free(req->stops);
    free(req->prompt);
    free(req->prompt_ids);
    free(req->model);
    *req = (struct completion_req){0};
}

bool parse_is_json(const char *content_type)
{
    size_t len;

    if (!content_type)
        return true;
    content_type += strspn(content_type, " \t");
    len = strcspn(content_type, "; \t");
    if (len == 16 && strncasecmp(content_type, "application/json", 16) == 0)
        return true;
    return len > 17 && strncasecmp(content_type, "application/", 12) == 0 &&
           strncasecmp(content_type + len - 5, "+json", 5) == 0;
}
