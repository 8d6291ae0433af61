/* session.h - opening a model and a runner the way the command line asks for it.
 *
 * Owner:   the subcommand.
 * Memory:  session_done() gives everything back; a zeroed struct is fine.
 * Errors:  an enum status and a sentence.
 * Threads: the main thread only. */
#ifndef OCTET_TOOLS_SESSION_H
#define OCTET_TOOLS_SESSION_H

#include <stddef.h>

#include "config/flags.h"
#include "config/limits.h"
#include "config/progress.h"
#include "model/model.h"

#define KV_BY_PRECISION (-1) /* nobody chose: int8, or f32 with FP32 */

/* First member of a subcommand's values, so that the flags below fit every table. */
struct session_flags {
    const char *model;
    int precision;    /* enum model_precision */
    int kv;           /* enum model_kv; set it to KV_BY_PRECISION before the flags are read */
    uint32_t threads; /* 0: by quota and affinity */
};

/* In the order of enum model_precision and enum model_kv. */
extern const char *const SESSION_PRECISIONS[];
extern const char *const SESSION_KVS[];

#define SESSION_FLAG_MODEL                                                                         \
    {                                                                                              \
        .name = "model", .type = FLAG_STRING, .offset = offsetof(struct session_flags, model),     \
        .required = true, .arg = "FILE", .help = "GGUF file or Hugging Face directory"             \
    }
#define SESSION_FLAG_PRECISION                                                                     \
    {                                                                                              \
        .name = "precision", .type = FLAG_CHOICE,                                                  \
        .offset = offsetof(struct session_flags, precision), .choices = SESSION_PRECISIONS,        \
        .fallback = "int8", .arg = "P", .help = "int8 or fp32"                                     \
    }
#define SESSION_FLAG_KV                                                                            \
    {                                                                                              \
        .name = "kv", .type = FLAG_CHOICE, .offset = offsetof(struct session_flags, kv),           \
        .choices = SESSION_KVS, .arg = "T",                                                        \
        .help = "keys and values: int8, f16, f32 (int8; fp32: f32)"                                \
    }
#define SESSION_FLAG_THREADS                                                                       \
    {                                                                                              \
        .name = "threads", .type = FLAG_U32, .offset = offsetof(struct session_flags, threads),    \
        .max = LIMIT_THREADS, .fallback = "0", .arg = "N",                                         \
        .help = "compute threads; 0: by CPU quota and affinity"                                    \
    }

struct session {
    struct model *model;
    struct runner *runner;
    struct progress progress;
};

/* Open the file; a terminal sees how far it is. */
int session_open(struct session *session, const char *path, enum model_precision precision,
                 struct error *err);
int session_open_vocab(struct session *session, const char *path, struct error *err);

/* Open the runner: opts, with kv and threads filled in from flags. */
int session_run(struct session *session, const struct session_flags *flags,
                const struct runner_opts *opts, struct error *err);

void session_done(struct session *session);

#endif
