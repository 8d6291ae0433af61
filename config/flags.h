/* flags.h - a table of named values, read from `--name value` or `--name=value`; settings and
 * subcommands use it.
 *
 * Owner:   the caller's table (static const) and the caller's plain struct that the values land
 *          in.
 * Memory:  nothing is allocated; a FLAG_STRING field borrows the text it was given (argv,
 *          usually).
 * Errors:  ST_INVALID with a sentence that names the flag and says what would be right (exit
 *          status 2); ST_UNSUPPORTED for a reserved name, which is exit status 2 too.
 * Threads: no shared state. */
#ifndef OCTET_CONFIG_FLAGS_H
#define OCTET_CONFIG_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "config/status.h"

#define FLAGS_MAX 64u     /* flags of one table; `seen` has a bit for each */
#define FLAGS_MAX_ARGS 4u /* plain arguments, such as IN and OUT */

/* What a flag holds, and the type of the field at its offset. */
enum flag_type {
    FLAG_STRING, /* const char *: not empty */
    FLAG_BOOL,   /* bool: `--json`, `--json=true`, `--json=false` */
    FLAG_U32,    /* uint32_t: min .. max */
    FLAG_U64,    /* uint64_t: min .. max */
    FLAG_DOUBLE, /* double: fmin .. fmax, finite */
    FLAG_CHOICE, /* int: index into choices */
    FLAG_BYTES,  /* uint64_t: a number, or one with K, M or G behind it (1024-based): min .. max */
    FLAG_RESERVED, /* no field: the name is known and refused as not built yet */
};

struct flag {
    const char *name; /* without the dashes: "max-batch" */
    enum flag_type type;
    size_t offset;        /* of the field in the caller's struct */
    uint64_t min, max;    /* of U32, U64 and BYTES; max 0: all the type can hold */
    double fmin, fmax;    /* of DOUBLE */
    const char *fallback; /* the default as it would be typed; NULL: the field is left alone */
    bool required;        /* flags_parse() insists on it */
    const char *const *choices; /* of CHOICE; ends with NULL */
    const char *arg;            /* what the help calls the value: "FILE", "N" */
    const char *help;           /* half a sentence; NULL: the table's tail tells of it */
};

struct flag_table {
    const char *usage; /* "octet eval --model FILE --text FILE [options]" */
    const char *about; /* one or two sentences */
    const char *tail;  /* printed after the options; NULL: nothing */
    const struct flag *flags;
    size_t n_flags;
    size_t min_args, max_args; /* plain arguments taken */
};

enum flags_action { FLAGS_RUN, FLAGS_HELP, FLAGS_VERSION };

struct flags_result {
    enum flags_action
        action; /* HELP and VERSION as soon as one is met: nothing later was looked at */
    const char *args[FLAGS_MAX_ARGS];
    size_t n_args;
    uint64_t seen; /* bit i: table->flags[i] was given */
};

/* Write every default of the table into values. A default its own flag refuses is a bug: it
 * asserts. */
void flags_defaults(const struct flag_table *table, void *values);

/* Read argv[1] .. argv[argc-1] into values (defaults are not written: call flags_defaults() first).
 * `--` ends the flags. A flag given twice: the last one counts. On failure values may be half
 * written. */
int flags_parse(const struct flag_table *table, int argc, char *const *argv, void *values,
                struct flags_result *ret_result, struct error *err);

/* Set one field from text; where names the source in the sentence ("--port", "OCTET_PORT", …). */
int flag_set(const struct flag *flag, const char *where, const char *text, void *values,
             struct error *err);

/* How a name is written: `max-batch`, in JSON `max_batch` too, in the environment MAX_BATCH
 * (without OCTET_). */
enum flags_spelling { FLAGS_DASHES, FLAGS_JSON, FLAGS_ENV };

/* The table's flag of that name, or NULL. */
const struct flag *flags_find(const struct flag_table *table, const char *name,
                              enum flags_spelling spelling);

/* The flag that a mistyped name probably meant, or NULL. */
const struct flag *flags_nearest(const struct flag_table *table, const char *name,
                                 enum flags_spelling spelling);

/* Flag i was given on the command line: flags_seen(&t, &r, "kv"). The name must be in the table. */
bool flags_seen(const struct flag_table *table, const struct flags_result *result,
                const char *name);

/* Usage, about, one line a flag with its default, tail: within 80 columns. */
void flags_help(const struct flag_table *table, FILE *out);

/* "octet eval 0.1.0": first is the program's and subcommand's name. */
void flags_version(const char *name, FILE *out);

#endif
