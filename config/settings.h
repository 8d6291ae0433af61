/* settings.h - everything octetd can be told: defaults < --config FILE < environment OCTET_* <
 * flags.
 *
 * One table in settings.c drives all four sources; config/octetd.json shows every key.
 * Owner:   main, which loads once and hands out const pointers.
 * Memory:  texts borrow argv, the environment or `_config_doc`; valid until settings_done().
 * Errors:  a sentence that names the flag, key or variable; main prints it and exits with status 2.
 * Threads: settings_load() reads the environment: call it before threads start; afterwards it is
 * constant. */
#ifndef OCTET_CONFIG_SETTINGS_H
#define OCTET_CONFIG_SETTINGS_H

#include <stdint.h>

#include "config/flags.h"
#include "config/quality.h"

/* Same order as model_precision and model_kv in model/model.h, which config can't include. */
enum settings_precision { SETTINGS_INT8, SETTINGS_FP32 };
enum settings_kv { SETTINGS_KV_INT8, SETTINGS_KV_F16, SETTINGS_KV_F32 };

struct settings {
    const char *model; /* path of the file to serve */
    const char *alias; /* name it is served under; NULL: the model's own */
    const char *host;
    uint32_t port;         /* 0: any free one */
    uint32_t threads;      /* 0: as many as affinity and CPU quota allow (config/cpus.h) */
    int precision;         /* enum settings_precision */
    int kv;                /* enum settings_kv; unless given, int8, or f32 with precision fp32 */
    uint32_t ctx;          /* longest sequence in tokens; 0: the model's own */
    uint32_t max_batch;    /* sequences that run at once */
    uint32_t max_queue;    /* requests that wait; one more is 429 */
    uint64_t kv_cache;     /* bytes of key/value pages; 0: the lesser of ctx x max_batch and half of
                            what is left */
    uint64_t prefix_cache; /* bytes that prompts computed earlier may keep in memory; 0: off */
    uint32_t itl_target_ms; /* the most that prompts of others may make a token wait; 0: under twice
                               the usual time */
    uint32_t draft_max;     /* tokens guessed ahead of a sequence; 0: none */
    uint32_t timeout_ms;    /* deadline of a request that names none; 0: none */
    uint32_t max_timeout_ms;       /* the most a request may ask for; 0: no bound */
    uint32_t drain_delay_ms;       /* after SIGTERM new work is still taken for that long */
    uint32_t drain_timeout_ms;     /* then running requests may finish for that long */
    struct quality_bounds require; /* what the model's record must promise */
    const char *config;            /* file the settings came from; NULL: none */

    char warnings[2048]; /* a sentence a line, "" if none; for the caller to log */
    void *_config_doc;   /* keeps the texts of the file alive */
};

/* Read all sources. environ_list: NULL-terminated "NAME=value" strings (environ). *ret_action says
 * whether
 * --help or --version was met, in which case nothing else was checked and ret_settings is
 * untouched. ST_INVALID, ST_UNSUPPORTED (reserved), ST_IO or ST_FORMAT (the config file), ST_NOMEM.
 */
int settings_load(int argc, char *const *argv, char *const *environ_list,
                  struct settings *ret_settings, enum flags_action *ret_action, struct error *err);
void settings_done(struct settings *settings); /* a zeroed struct is fine */

/* The table, for --help and for the test that holds octetd.json against it. */
const struct flag_table *settings_table(void);

#endif
