#include "tools/session.h"

#include "config/cpus.h"

const char *const SESSION_PRECISIONS[] = {"int8", "fp32", NULL};
const char *const SESSION_KVS[] = {"int8", "f16", "f32", NULL};

static int open_model(struct session *session, const struct model_opts *opts, struct error *err)
{
    struct model_opts with_progress = *opts;
    int r;

    progress_init(&session->progress);
    with_progress.progress.fn = progress_update;
    with_progress.progress.arg = &session->progress;
    r = model_open(&with_progress, &session->model, err);
    progress_end(&session->progress);
    return r;
}

int session_open(struct session *session, const char *path, enum model_precision precision,
                 struct error *err)
{
    return open_model(session, &(struct model_opts){.path = path, .precision = precision}, err);
}

int session_open_vocab(struct session *session, const char *path, struct error *err)
{
    return open_model(session, &(struct model_opts){.path = path, .vocab_only = true}, err);
}

int session_run(struct session *session, const struct session_flags *flags,
                const struct runner_opts *opts, struct error *err)
{
    struct runner_opts filled = *opts;
    struct cpus cpus;

    filled.threads = flags->threads;
    if (filled.threads == 0) {
        cpus_read(NULL, 0, &cpus);
        filled.threads = cpus.threads;
    }
    if (flags->kv == KV_BY_PRECISION)
        filled.kv = flags->precision == MODEL_FP32 ? MODEL_KV_F32 : MODEL_KV_INT8;
    else
        filled.kv = (enum model_kv)flags->kv;
    return runner_open(session->model, &filled, &session->runner, err);
}

void session_done(struct session *session)
{
    runner_free(session->runner);
    model_free(session->model);
    session->runner = NULL;
    session->model = NULL;
}
