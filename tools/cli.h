/* cli.h - what every subcommand does alike: flags, the sentence on failure, reading, JSON on
 * stdout.
 *
 * Owner:   the one subcommand that this process runs.
 * Memory:  what cli_read() gives is freed with free().
 * Errors:  functions that end a command return its exit status; the others an enum status.
 * Threads: the main thread only. */
#ifndef OCTET_TOOLS_CLI_H
#define OCTET_TOOLS_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "config/flags.h"

enum { CLI_GO_ON = -1, CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* The subcommands, one file each; argv[0] is the subcommand's own name. Adding one? Also the table
 * in main.c. */
int cmd_quantize(int argc, char *const *argv);
int cmd_info(int argc, char *const *argv);
int cmd_tokenize(int argc, char *const *argv);
int cmd_generate(int argc, char *const *argv);
int cmd_eval(int argc, char *const *argv);
int cmd_bench(int argc, char *const *argv);
int cmd_bench_engine(int argc, char *const *argv);

/* How the command was called, "octet eval": sentences begin with it. Set before anything below. */
void cli_name(const char *name);

/* Defaults, then argv, into values. CLI_GO_ON, or the exit status: help, version or the sentence
 * about a wrong flag has been printed. */
int cli_parse(const struct flag_table *table, int argc, char *const *argv, void *values,
              struct flags_result *ret_result);

/* Print the sentence on stderr; status only fills in where err is empty. Returns CLI_FAILED, or
 * CLI_USAGE. */
int cli_failed(int status, const struct error *err);
int cli_usage(const struct error *err);

/* All bytes of a file, or of stdin for "-". *ret_data is never NULL and ends in a NUL not counted
 * in *ret_len. ST_IO, ST_TOOLONG (2 GiB or more), ST_NOMEM. */
int cli_read(const char *path, char **ret_data, size_t *ret_len, struct error *err);

/* One JSON document on a line of stdout; takes doc over. NULL is out of memory. */
int cli_json(json_t *doc);

/* Last act of a command: CLI_OK if all of stdout has gone out, else a sentence and CLI_FAILED. */
int cli_finish(void);

/* Seconds of the monotonic clock. */
double cli_now_s(void);

#endif
