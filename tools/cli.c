#include "tools/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define READ_START_BYTES 65536u
#define READ_MAX_BYTES ((size_t)INT_MAX)

static const char *command = "octet";

void cli_name(const char *name)
{
    command = name;
}

int cli_parse(const struct flag_table *table, int argc, char *const *argv, void *values,
              struct flags_result *ret_result)
{
    struct error err = {{0}};

    flags_defaults(table, values);
    if (flags_parse(table, argc, argv, values, ret_result, &err) != ST_OK)
        return cli_usage(&err);
    switch (ret_result->action) {
    case FLAGS_HELP:
        flags_help(table, stdout);
        return cli_finish();
    case FLAGS_VERSION:
        flags_version(command, stdout);
        return cli_finish();
    case FLAGS_RUN:
        break;
    }
    return CLI_GO_ON;
}

int cli_failed(int status, const struct error *err)
{
    if (err && err->text[0])
        fprintf(stderr, "%s: %s\n", command, err->text);
    else
        fprintf(stderr, "%s: failed: %s\n", command, status_name(status));
    return CLI_FAILED;
}

int cli_usage(const struct error *err)
{
    fprintf(stderr, "%s: %s\n", command, err->text);
    return CLI_USAGE;
}

/* Append what is left of the stream; data grows by doubling. */
static int read_all(FILE *in, const char *what, char **data, size_t *len, struct error *err)
{
    size_t cap = 0;

    for (;;) {
        if (cap - *len < 2) {
            size_t wider = cap ? cap * 2 : READ_START_BYTES;
            char *grown = realloc(*data, wider);
            if (!grown)
                return error_set(err, ST_NOMEM, "%s: out of memory after %zu bytes", what, *len);
            *data = grown;
            cap = wider;
        }
        size_t n = fread(*data + *len, 1, cap - *len - 1, in);
        *len += n;
        if (*len >= READ_MAX_BYTES)
            return error_set(err, ST_TOOLONG, "%s: more than %zu bytes of text: give it in parts",
                             what, READ_MAX_BYTES - 1);
        if (n == 0)
            break;
    }
    (*data)[*len] = '\0';
    if (ferror(in))
        return error_set(err, ST_IO, "%s: cannot be read: %s", what, strerror(errno));
    return ST_OK;
}

int cli_read(const char *path, char **ret_data, size_t *ret_len, struct error *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    const char *what = is_stdin ? "stdin" : path;
    FILE *in = is_stdin ? stdin : fopen(path, "rb");
    char *data = NULL;
    size_t len = 0;
    struct stat info;
    int r;

    if (!in)
        return error_set(err, ST_IO, "%s: cannot be opened: %s", what, strerror(errno));
    if (fstat(fileno(in), &info) == 0 && S_ISDIR(info.st_mode)) {
        r = error_set(err, ST_IO, "%s: is a directory: give it a text file", what);
        goto out;
    }
    r = read_all(in, what, &data, &len, err);
    if (r == ST_OK) {
        *ret_data = data;
        *ret_len = len;
        data = NULL;
    }
out:
    free(data);
    if (!is_stdin)
        fclose(in);
    return r;
}

int cli_json(json_t *doc)
{
    int failed = !doc || json_dumpf(doc, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0;

    json_decref(doc);
    if (failed && !ferror(stdout))
        return cli_failed(ST_NOMEM, NULL);
    fputc('\n', stdout);
    return cli_finish();
}

int cli_finish(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return CLI_OK;
    fprintf(stderr, "%s: stdout cannot be written: %s\n", command, strerror(errno));
    return CLI_FAILED;
}

double cli_now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}
