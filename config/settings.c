#include "config/settings.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/escape.h"
#include "config/json_kind.h"
#include "config/limits.h"

#define KV_BY_PRECISION (-1) /* nobody chose: int8, or f32 with precision fp32 */
#define ENV_PREFIX "OCTET_"

static const char *const PRECISIONS[] = {"int8", "fp32", NULL};
static const char *const KVS[] = {"int8", "f16", "f32", NULL};

#define AT(field) offsetof(struct settings, field)

/* Adding one? Also struct settings and config/octetd.json; a test holds the three together. */
static const struct flag FLAGS[] = {
    {.name = "model",
     .type = FLAG_STRING,
     .offset = AT(model),
     .arg = "FILE",
     .help = "GGUF file or Hugging Face directory to serve"},
    {.name = "alias",
     .type = FLAG_STRING,
     .offset = AT(alias),
     .arg = "NAME",
     .help = "name it is served under (the file's own)"},
    {.name = "host",
     .type = FLAG_STRING,
     .offset = AT(host),
     .arg = "ADDRESS",
     .fallback = "127.0.0.1",
     .help = "address to listen on"},
    {.name = "port",
     .type = FLAG_U32,
     .offset = AT(port),
     .arg = "N",
     .max = 65535,
     .fallback = "8080",
     .help = "port to listen on; 0: any free one"},
    {.name = "threads",
     .type = FLAG_U32,
     .offset = AT(threads),
     .arg = "N",
     .max = LIMIT_THREADS,
     .fallback = "0",
     .help = "compute threads; 0: by CPU quota and affinity"},
    {.name = "precision",
     .type = FLAG_CHOICE,
     .offset = AT(precision),
     .arg = "P",
     .choices = PRECISIONS,
     .fallback = "int8",
     .help = "int8 or fp32"},
    {.name = "kv",
     .type = FLAG_CHOICE,
     .offset = AT(kv),
     .arg = "TYPE",
     .choices = KVS,
     .help = "keys and values: int8, f16, f32 (int8; fp32: f32)"},
    {.name = "ctx",
     .type = FLAG_U32,
     .offset = AT(ctx),
     .arg = "N",
     .max = LIMIT_CONTEXT,
     .fallback = "0",
     .help = "longest sequence in tokens; 0: the model's own"},
    {.name = "max-batch",
     .type = FLAG_U32,
     .offset = AT(max_batch),
     .arg = "N",
     .min = 1,
     .max = LIMIT_MAX_BATCH,
     .fallback = "32",
     .help = "sequences that run at once"},
    {.name = "max-queue",
     .type = FLAG_U32,
     .offset = AT(max_queue),
     .arg = "N",
     .min = 1,
     .max = LIMIT_MAX_QUEUE,
     .fallback = "128",
     .help = "requests that wait; one more is refused"},
    {.name = "kv-cache",
     .type = FLAG_BYTES,
     .offset = AT(kv_cache),
     .arg = "BYTES",
     .fallback = "0",
     .help = "key/value pages, such as 2G; 0: by memory"},
    {.name = "prefix-cache",
     .type = FLAG_BYTES,
     .offset = AT(prefix_cache),
     .arg = "BYTES",
     .fallback = "12M",
     .help = "kept of earlier prompts, more once found; 0: off"},
    {.name = "itl-target-ms",
     .type = FLAG_U32,
     .offset = AT(itl_target_ms),
     .arg = "N",
     .max = LIMIT_TIMEOUT_MS,
     .fallback = "0",
     .help = "a token waits no longer for prompts; 0: by its pace"},
    {.name = "draft-max",
     .type = FLAG_U32,
     .offset = AT(draft_max),
     .arg = "N",
     .max = LIMIT_DRAFT,
     .fallback = "15",
     .help = "tokens guessed ahead by prompt lookup; 0: none"},
    {.name = "timeout-ms",
     .type = FLAG_U32,
     .offset = AT(timeout_ms),
     .arg = "N",
     .max = LIMIT_TIMEOUT_MS,
     .fallback = "0",
     .help = "deadline of a request that names none; 0: none"},
    {.name = "max-timeout-ms",
     .type = FLAG_U32,
     .offset = AT(max_timeout_ms),
     .arg = "N",
     .max = LIMIT_TIMEOUT_MS,
     .fallback = "0",
     .help = "most a request may ask for; 0: no bound"},
    {.name = "drain-delay-ms",
     .type = FLAG_U32,
     .offset = AT(drain_delay_ms),
     .arg = "N",
     .max = LIMIT_TIMEOUT_MS,
     .fallback = "0",
     .help = "new work is taken so long after SIGTERM"},
    {.name = "drain-timeout-ms",
     .type = FLAG_U32,
     .offset = AT(drain_timeout_ms),
     .arg = "N",
     .max = LIMIT_TIMEOUT_MS,
     .fallback = "25000",
     .help = "then running requests may finish so long"},
    {.name = "require-kld",
     .type = FLAG_DOUBLE,
     .offset = AT(require.max_kld),
     .arg = "X",
     .fmax = 1e6,
     .help = "recorded mean KL divergence at most X, or no start"},
    {.name = "require-same-top",
     .type = FLAG_DOUBLE,
     .offset = AT(require.min_same_top),
     .arg = "X",
     .fmax = 1,
     .help = "recorded share of same top tokens at least X"},
    {.name = "require-ppl-ratio",
     .type = FLAG_DOUBLE,
     .offset = AT(require.max_ppl_ratio),
     .arg = "X",
     .fmax = 1e6,
     .help = "recorded ratio of perplexities at most X"},
    {.name = "config",
     .type = FLAG_STRING,
     .offset = AT(config),
     .arg = "FILE",
     .help = "JSON object with these names as keys"},
    {.name = "api-key-file", .type = FLAG_RESERVED, .arg = "FILE"},
    {.name = "price-per-hour", .type = FLAG_RESERVED, .arg = "X"},
};

static const struct flag_table TABLE = {
    .usage = "octetd --model FILE [options]",
    .about = "An option --a-b is OCTET_A_B in the environment and \"a-b\" in the --config file.",
    .flags = FLAGS,
    .n_flags = sizeof(FLAGS) / sizeof(FLAGS[0]),
};

const struct flag_table *settings_table(void)
{
    return &TABLE;
}

static void warn(struct settings *s, const char *name, const char *what)
{
    size_t len = strlen(s->warnings);

    snprintf(s->warnings + len, sizeof(s->warnings) - len, "%s%.64s %s", len ? "\n" : "", name,
             what);
}

/* ---- the config file ---- */

/* A key's value as the text a flag would have; NULL if its type does not fit. Borrows value or
 * scratch. */
static const char *json_as_text(const struct flag *flag, const json_t *value, char scratch[64])
{
    bool word = flag->type == FLAG_STRING || flag->type == FLAG_CHOICE || flag->type == FLAG_BYTES;

    if (flag->type == FLAG_RESERVED)
        return "";
    if (json_is_string(value))
        return word ? json_string_value(value) : NULL;
    if (json_is_boolean(value))
        return flag->type != FLAG_BOOL ? NULL : json_is_true(value) ? "true" : "false";
    if (flag->type == FLAG_STRING || flag->type == FLAG_CHOICE || flag->type == FLAG_BOOL)
        return NULL;
    if (json_is_integer(value))
        snprintf(scratch, 64, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(scratch, 64, "%.17g", json_real_value(value));
    else
        return NULL;
    return scratch;
}

static const char *wanted_kind(enum flag_type type)
{
    switch (type) {
    case FLAG_BOOL:
        return "true or false";
    case FLAG_STRING:
    case FLAG_CHOICE:
        return "a string";
    default:
        return "a number";
    }
}

static int apply_key(const char *path, const char *key, const json_t *value, struct settings *s,
                     struct error *err)
{
    const struct flag *flag = flags_find(&TABLE, key, FLAGS_JSON);
    char scratch[64], where[320];
    const char *text;

    if (!flag) {
        flag = flags_nearest(&TABLE, key, FLAGS_JSON);
        return error_set(err, ST_INVALID, "%.200s: unknown key \"%.64s\"%s%s%s", path, key,
                         flag ? ": did you mean \"" : "; octetd --help lists all",
                         flag ? flag->name : "", flag ? "\"?" : "");
    }
    if (flag->offset == AT(config) && flag->type == FLAG_STRING)
        return error_set(err, ST_INVALID,
                         "%.200s: key \"config\": a config file can't name another", path);
    if (json_is_null(value)) /* null: as if the key were not there */
        return ST_OK;
    snprintf(where, sizeof(where), "%.200s: key \"%.64s\"", path, key);
    text = json_as_text(flag, value, scratch);
    if (!text)
        return error_set(err, ST_INVALID, "%s is %s: it must be %s", where, json_kind(value),
                         wanted_kind(flag->type));
    return flag_set(flag, where, text, s, err);
}

static int read_file(const char *path, char **ret_text, size_t *ret_len, struct error *err)
{
    int r = ST_OK;
    char *text = malloc(LIMIT_CONFIG_BYTES + 1);
    FILE *file = fopen(path, "rbe");
    size_t len = 0;

    if (!text)
        r = error_set(err, ST_NOMEM, "out of memory reading the config file");
    else if (!file)
        r = error_set(err, ST_IO, "--config %.200s: %s", path, strerror(errno));
    if (r != ST_OK)
        goto out;
    len = fread(text, 1, LIMIT_CONFIG_BYTES + 1, file);
    if (ferror(file))
        r = error_set(err, ST_IO, "--config %.200s: %s", path, strerror(errno));
    else if (len > LIMIT_CONFIG_BYTES)
        r = error_set(err, ST_TOOLONG, "--config %.200s: larger than %u bytes", path,
                      LIMIT_CONFIG_BYTES);
    if (r != ST_OK)
        goto out;
    *ret_text = text;
    *ret_len = len;
    text = NULL;
out:
    if (file)
        fclose(file);
    free(text);
    return r;
}

static int apply_doc(const char *path, json_t *doc, struct settings *s, struct error *err)
{
    const char *key;
    json_t *value;
    uint64_t seen = 0;

    json_object_foreach(doc, key, value)
    {
        const struct flag *flag = flags_find(&TABLE, key, FLAGS_JSON);
        uint64_t bit = flag ? UINT64_C(1) << (flag - FLAGS) : 0;
        int r;

        if (seen & bit) /* max-batch and max_batch: jansson can't see that they are one */
            return error_set(err, ST_INVALID, "%.200s: key \"%s\" is given twice", path, key);
        seen |= bit;
        r = apply_key(path, key, value, s, err);
        if (r != ST_OK)
            return r;
    }
    return ST_OK;
}

static int apply_file(const char *path, struct settings *s, struct error *err)
{
    char *text = NULL;
    size_t len = 0;
    json_error_t why;
    json_t *doc = NULL;
    int r = read_file(path, &text, &len, err);

    if (r != ST_OK)
        goto out;
    doc = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (!doc)
        r = error_set(err, ST_FORMAT, "--config %.200s: line %d, column %d: %s", path, why.line,
                      why.column, why.text);
    else if (!json_is_object(doc))
        r = error_set(err, ST_FORMAT, "--config %.200s: not a JSON object", path);
    else
        r = apply_doc(path, doc, s, err);
    if (r != ST_OK)
        goto out;
    s->_config_doc = doc; /* its strings are borrowed from now on */
    doc = NULL;
out:
    json_decref(doc);
    free(text);
    return r;
}

/* ---- the environment ---- */

static bool is_service_link(const char *value)
{
    return strncmp(value, "tcp://", 6) == 0 || strncmp(value, "udp://", 6) == 0;
}

static void warn_unknown(struct settings *s, const char *where, const struct flag *near)
{
    char hint[160] = "is not a setting of octetd: ignored";
    size_t len = strlen(hint);

    if (near) {
        len += (size_t)snprintf(hint + len, sizeof(hint) - len, "; did you mean " ENV_PREFIX);
        for (const char *c = near->name; *c && len + 2 < sizeof(hint); c++)
            hint[len++] = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
        hint[len++] = '?';
        hint[len] = '\0';
    }
    warn(s, where, hint);
}

/* name: without the prefix. An empty value counts as not set, as container files often leave one.
 */
static int apply_variable(const char *name, const char *value, struct settings *s,
                          struct error *err)
{
    const struct flag *flag = flags_find(&TABLE, name, FLAGS_ENV);
    char where[128];

    snprintf(where, sizeof(where), ENV_PREFIX "%.64s", name);
    if (strcmp(name, "CPU") == 0 || strcmp(name, "HOME") == 0)
        return ST_OK; /* read where they are used: kernels and quickstart */
    if (!flag) {
        warn_unknown(s, where, flags_nearest(&TABLE, name, FLAGS_ENV));
        return ST_OK;
    }
    if (*value == '\0')
        return ST_OK;
    if (strcmp(name, "PORT") == 0 && is_service_link(value)) {
        warn(s, where, "looks like a Kubernetes service link, not a port: ignored");
        return ST_OK;
    }
    return flag_set(flag, where, value, s, err);
}

static int apply_environment(char *const *environ_list, struct settings *s, struct error *err)
{
    int r = ST_OK;

    for (size_t i = 0; environ_list && environ_list[i] && r == ST_OK; i++) {
        const char *equals = strchr(environ_list[i], '=');
        char name[64];
        size_t len;

        if (!equals || strncmp(environ_list[i], ENV_PREFIX, strlen(ENV_PREFIX)) != 0)
            continue;
        len = (size_t)(equals - environ_list[i]) - strlen(ENV_PREFIX);
        snprintf(name, sizeof(name), "%.*s", (int)(len < 64 ? len : 63),
                 environ_list[i] + strlen(ENV_PREFIX));
        r = apply_variable(name, equals + 1, s, err);
    }
    return r;
}

static const char *variable(char *const *environ_list, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; environ_list && environ_list[i]; i++)
        if (strncmp(environ_list[i], name, len) == 0 && environ_list[i][len] == '=')
            return environ_list[i][len + 1] ? environ_list[i] + len + 1 : NULL;
    return NULL;
}

/* ---- all of it ---- */

/* The alias becomes a model's id in JSON and in metric labels. */
static bool is_name(const char *text)
{
    const char *end = text + strlen(text);

    if (end - text > 256)
        return false;
    while (text < end) {
        size_t len = utf8_len(text, end);
        if (len == 0 || (unsigned char)*text < 0x20 || *text == 0x7F)
            return false;
        text += len;
    }
    return true;
}

static int check(struct settings *s, struct error *err)
{
    if (!s->model)
        return error_set(err, ST_INVALID,
                         "--model is missing: give it the GGUF file or Hugging Face directory to "
                         "serve (or OCTET_MODEL, or key "
                         "\"model\" of --config)");
    if (s->alias && !is_name(s->alias))
        return error_set(err, ST_INVALID,
                         "--alias: at most 256 bytes of UTF-8 without control characters");
    if (s->timeout_ms && s->max_timeout_ms && s->timeout_ms > s->max_timeout_ms)
        return error_set(err, ST_INVALID,
                         "--timeout-ms %u is more than --max-timeout-ms %u: lower it",
                         s->timeout_ms, s->max_timeout_ms);
    if (s->kv == KV_BY_PRECISION)
        s->kv = s->precision == SETTINGS_FP32 ? SETTINGS_KV_F32 : SETTINGS_KV_INT8;
    return ST_OK;
}

int settings_load(int argc, char *const *argv, char *const *environ_list,
                  struct settings *ret_settings, enum flags_action *ret_action, struct error *err)
{
    struct settings s = {.kv = KV_BY_PRECISION, .require = {-1, -1, -1}}, probe;
    struct flags_result result;
    const char *path;
    int r;

    flags_defaults(&TABLE, &s);
    /* Flags count last but are looked at first: they may ask for help, or name the file. */
    probe = s;
    r = flags_parse(&TABLE, argc, argv, &probe, &result, err);
    if (r != ST_OK)
        goto out;
    if (result.action != FLAGS_RUN) {
        *ret_action = result.action;
        return ST_OK;
    }
    path = probe.config ? probe.config : variable(environ_list, ENV_PREFIX "CONFIG");
    if (path)
        r = apply_file(path, &s, err);
    if (r == ST_OK)
        r = apply_environment(environ_list, &s, err);
    if (r == ST_OK)
        r = flags_parse(&TABLE, argc, argv, &s, &result, err);
    if (r == ST_OK)
        r = check(&s, err);
    if (r != ST_OK)
        goto out;
    *ret_settings = s;
    *ret_action = FLAGS_RUN;
    s._config_doc = NULL; /* moved to the caller */
out:
    settings_done(&s);
    return r;
}

void settings_done(struct settings *settings)
{
    json_decref(settings->_config_doc);
    settings->_config_doc = NULL;
}
