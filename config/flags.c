#include "config/flags.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SCREEN_COLUMNS 80u

static void *field_of(const struct flag *flag, void *values)
{
    return (char *)values + flag->offset;
}

/* A whole decimal number and nothing else: no sign, no space, no more than 64 bits. *ret_rest: what
 * follows. */
static bool parse_digits(const char *text, uint64_t *ret_value, const char **ret_rest)
{
    uint64_t value = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
            return false;
    if (at == text)
        return false;
    *ret_value = value;
    *ret_rest = at;
    return true;
}

static bool parse_bytes(const char *text, uint64_t *ret_value)
{
    uint64_t value, unit = 1;
    const char *rest;

    if (!parse_digits(text, &value, &rest))
        return false;
    if (*rest == 'K' || *rest == 'k')
        unit = UINT64_C(1) << 10;
    else if (*rest == 'M' || *rest == 'm')
        unit = UINT64_C(1) << 20;
    else if (*rest == 'G' || *rest == 'g')
        unit = UINT64_C(1) << 30;
    if (unit > 1)
        rest++;
    return *rest == '\0' && !__builtin_mul_overflow(value, unit, ret_value);
}

static int set_whole(const struct flag *flag, const char *where, const char *text, void *field,
                     struct error *err)
{
    uint64_t most = flag->type == FLAG_U32 ? UINT32_MAX : UINT64_MAX;
    uint64_t value = 0;
    const char *rest = "";
    bool ok;

    if (flag->max)
        most = flag->max;
    if (flag->type == FLAG_BYTES)
        ok = parse_bytes(text, &value);
    else
        ok = parse_digits(text, &value, &rest) && *rest == '\0';
    if (!ok || value < flag->min || value > most)
        return error_set(err, ST_INVALID, "%s: \"%.64s\" is not %s, %llu to %llu", where, text,
                         flag->type == FLAG_BYTES
                             ? "a number of bytes such as 1073741824, 512M or 2G"
                             : "a whole number",
                         (unsigned long long)flag->min, (unsigned long long)most);
    if (flag->type == FLAG_U32)
        *(uint32_t *)field = (uint32_t)value;
    else
        *(uint64_t *)field = value;
    return ST_OK;
}

static int set_double(const struct flag *flag, const char *where, const char *text, double *field,
                      struct error *err)
{
    char *end = NULL;
    double value;

    errno = 0;
    value = strtod(text, &end);
    if (*text == '\0' || isspace((unsigned char)*text) || *end != '\0' || !isfinite(value) ||
        value < flag->fmin || value > flag->fmax)
        return error_set(err, ST_INVALID, "%s: \"%.64s\" is not a number, %g to %g", where, text,
                         flag->fmin, flag->fmax);
    *field = value;
    return ST_OK;
}

/* "a, b or c" */
static void list_choices(const char *const *choices, char *out, size_t cap)
{
    size_t len = 0;

    out[0] = '\0';
    for (size_t i = 0; choices[i] && len < cap; i++) {
        const char *join = i == 0 ? "" : choices[i + 1] ? ", " : " or ";
        len += (size_t)snprintf(out + len, cap - len, "%s%s", join, choices[i]);
    }
}

static int set_choice(const struct flag *flag, const char *where, const char *text, int *field,
                      struct error *err)
{
    char list[160];

    for (int i = 0; flag->choices[i]; i++)
        if (strcmp(flag->choices[i], text) == 0) {
            *field = i;
            return ST_OK;
        }
    list_choices(flag->choices, list, sizeof(list));
    return error_set(err, ST_INVALID, "%s: \"%.64s\" is not one of %s", where, text, list);
}

static int set_bool(const char *where, const char *text, bool *field, struct error *err)
{
    if (strcmp(text, "true") == 0 || strcmp(text, "1") == 0)
        *field = true;
    else if (strcmp(text, "false") == 0 || strcmp(text, "0") == 0)
        *field = false;
    else
        return error_set(err, ST_INVALID, "%s: \"%.64s\" is not true or false", where, text);
    return ST_OK;
}

int flag_set(const struct flag *flag, const char *where, const char *text, void *values,
             struct error *err)
{
    void *field = field_of(flag, values);

    switch (flag->type) {
    case FLAG_STRING:
        if (*text == '\0')
            return error_set(err, ST_INVALID, "%s is empty: give it a %s", where, flag->arg);
        *(const char **)field = text;
        return ST_OK;
    case FLAG_BOOL:
        return set_bool(where, text, field, err);
    case FLAG_U32:
    case FLAG_U64:
    case FLAG_BYTES:
        return set_whole(flag, where, text, field, err);
    case FLAG_DOUBLE:
        return set_double(flag, where, text, field, err);
    case FLAG_CHOICE:
        return set_choice(flag, where, text, field, err);
    case FLAG_RESERVED:
        return error_set(err, ST_UNSUPPORTED, "%s is not built yet: leave it out", where);
    }
    return ST_INTERNAL;
}

void flags_defaults(const struct flag_table *table, void *values)
{
    assert(table->n_flags <= FLAGS_MAX && table->max_args <= FLAGS_MAX_ARGS);
    for (size_t i = 0; i < table->n_flags; i++) {
        const struct flag *flag = &table->flags[i];
        if (flag->fallback) {
            int r = flag_set(flag, flag->name, flag->fallback, values, NULL);
            assert(r == ST_OK);
            (void)r;
        }
    }
}

/* One letter of a table's name as the source would write it. */
static char spell(char c, enum flags_spelling spelling)
{
    if (spelling == FLAGS_ENV)
        return c == '-' ? '_' : (char)toupper((unsigned char)c);
    return c;
}

static bool same_letter(char in_table, char given, enum flags_spelling spelling)
{
    return spell(in_table, spelling) == given ||
           (spelling == FLAGS_JSON && in_table == '-' && given == '_');
}

const struct flag *flags_find(const struct flag_table *table, const char *name,
                              enum flags_spelling spelling)
{
    for (size_t i = 0; i < table->n_flags; i++) {
        const char *a = table->flags[i].name, *b = name;
        while (*a && same_letter(*a, *b, spelling))
            a++, b++;
        if (*a == '\0' && *b == '\0')
            return &table->flags[i];
    }
    return NULL;
}

#define NEAR_MAX 40u

/* Levenshtein distance (insert, delete, replace a letter), or NEAR_MAX for long names. */
static unsigned distance(const char *in_table, const char *given, enum flags_spelling spelling)
{
    unsigned row[NEAR_MAX];
    size_t n = strlen(given);

    if (n >= NEAR_MAX)
        return NEAR_MAX;
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (unsigned i = 1; in_table[i - 1]; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            unsigned best = diagonal + !same_letter(in_table[i - 1], given[j - 1], spelling);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

const struct flag *flags_nearest(const struct flag_table *table, const char *name,
                                 enum flags_spelling spelling)
{
    const struct flag *nearest = NULL;
    unsigned best = 3; /* more than two letters off is another word */

    for (size_t i = 0; i < table->n_flags; i++) {
        unsigned d = distance(table->flags[i].name, name, spelling);
        if (d < best && d < strlen(table->flags[i].name)) {
            best = d;
            nearest = &table->flags[i];
        }
    }
    return nearest;
}

bool flags_seen(const struct flag_table *table, const struct flags_result *result, const char *name)
{
    const struct flag *flag = flags_find(table, name, FLAGS_DASHES);

    assert(flag);
    return result->seen >> (flag - table->flags) & 1;
}

static int unknown_flag(const struct flag_table *table, const char *arg, const char *name,
                        struct error *err)
{
    const struct flag *near = flags_nearest(table, name, FLAGS_DASHES);

    if (near)
        return error_set(err, ST_INVALID,
                         "unknown flag %.64s: did you mean --%s? (--help lists all)", arg,
                         near->name);
    return error_set(err, ST_INVALID, "unknown flag %.64s: --help lists all", arg);
}

/* argv[*i] is a flag: set its field; takes the next argument as its value where it has none of its
 * own. */
static int parse_one(const struct flag_table *table, char *const *argv, int *i, void *values,
                     struct flags_result *result, struct error *err)
{
    const char *arg = argv[*i], *equals = strchr(arg, '=');
    size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
    const char *text = equals ? equals + 1 : NULL;
    char name[64];
    const struct flag *flag;

    if (len >= sizeof(name))
        return error_set(err, ST_INVALID, "unknown flag %.40s...: --help lists all", arg);
    memcpy(name, arg, len);
    name[len] = '\0';
    if (name[1] != '-')
        return unknown_flag(table, name, name + 1, err);
    flag = flags_find(table, name + 2, FLAGS_DASHES);
    if (!flag)
        return unknown_flag(table, name, name + 2, err);
    if (!text && flag->type == FLAG_BOOL)
        text = "true";
    else if (!text && flag->type == FLAG_RESERVED)
        text = "";
    else if (!text)
        text = argv[++*i];
    if (!text)
        return error_set(err, ST_INVALID, "%s has no value: give it a %s", name, flag->arg);
    result->seen |= UINT64_C(1) << (flag - table->flags);
    return flag_set(flag, name, text, values, err);
}

static int check_complete(const struct flag_table *table, const struct flags_result *result,
                          struct error *err)
{
    if (result->n_args < table->min_args)
        return error_set(err, ST_INVALID, "%zu argument%s given, %zu needed: %s", result->n_args,
                         result->n_args == 1 ? "" : "s", table->min_args, table->usage);
    for (size_t i = 0; i < table->n_flags; i++)
        if (table->flags[i].required && !(result->seen >> i & 1))
            return error_set(err, ST_INVALID, "--%s is missing: give it a %s", table->flags[i].name,
                             table->flags[i].arg);
    return ST_OK;
}

int flags_parse(const struct flag_table *table, int argc, char *const *argv, void *values,
                struct flags_result *ret_result, struct error *err)
{
    struct flags_result result = {.action = FLAGS_RUN};
    bool only_args = false;
    int r = ST_OK;

    for (int i = 1; i < argc && r == ST_OK; i++) {
        const char *arg = argv[i];
        if (!only_args && strcmp(arg, "--") == 0) {
            only_args = true;
        } else if (!only_args && (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)) {
            result.action = FLAGS_HELP;
            goto out;
        } else if (!only_args && strcmp(arg, "--version") == 0) {
            result.action = FLAGS_VERSION;
            goto out;
        } else if (!only_args && arg[0] == '-' && arg[1] != '\0') {
            r = parse_one(table, argv, &i, values, &result, err);
        } else if (result.n_args < table->max_args) {
            result.args[result.n_args++] = arg;
        } else {
            r = error_set(err, ST_INVALID, "\"%.64s\" is one argument too many: %s", arg,
                          table->usage);
        }
    }
    if (r == ST_OK)
        r = check_complete(table, &result, err);
out:
    if (r == ST_OK)
        *ret_result = result;
    return r;
}

/* Words of text from the given column on, broken before SCREEN_COLUMNS; later lines begin at column
 * indent. */
static void print_wrapped(FILE *out, const char *text, size_t column, size_t indent)
{
    bool first = true;

    while (*text) {
        size_t len = strcspn(text, " ");
        if (!first && column + 1 + len > SCREEN_COLUMNS) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
            first = true;
        }
        fprintf(out, "%s%.*s", first ? "" : " ", (int)len, text);
        column += len + !first;
        first = false;
        text += len;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static size_t left_width(const struct flag *flag)
{
    return strlen("  --") + strlen(flag->name) + (flag->arg ? 1 + strlen(flag->arg) : 0);
}

static void print_flag(FILE *out, const struct flag *flag, size_t indent)
{
    char help[512];

    fprintf(out, "  --%s%s%s%*s", flag->name, flag->arg ? " " : "", flag->arg ? flag->arg : "",
            (int)(indent - left_width(flag)), "");
    if (flag->fallback)
        snprintf(help, sizeof(help), "%s (%s)", flag->help, flag->fallback);
    else
        snprintf(help, sizeof(help), "%s", flag->help);
    print_wrapped(out, help, indent, indent);
}

static bool is_listed(const struct flag *flag)
{
    return flag->type != FLAG_RESERVED && flag->help;
}

void flags_help(const struct flag_table *table, FILE *out)
{
    char usage[256];
    size_t indent = 0;

    snprintf(usage, sizeof(usage), "%s | --help | --version", table->usage);
    fputs("usage: ", out);
    print_wrapped(out, usage, 7, 7);
    print_wrapped(out, table->about, 0, 0);
    for (size_t i = 0; i < table->n_flags; i++)
        if (is_listed(&table->flags[i]) && left_width(&table->flags[i]) + 2 > indent)
            indent = left_width(&table->flags[i]) + 2;
    for (size_t i = 0; i < table->n_flags; i++)
        if (is_listed(&table->flags[i]))
            print_flag(out, &table->flags[i], indent);
    if (table->tail)
        print_wrapped(out, table->tail, 0, 0);
}

void flags_version(const char *name, FILE *out)
{
    fprintf(out, "%s %s\n", name, OCTET_VERSION);
}
