#include "server/routes.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "api/render.h"
#include "server/exchange.h"
#include "server/generate.h"
#include "server/life.h"
#include "server/server.h"

#define JSON_TYPE "application/json"
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

static void done(struct exchange *x, int status, const char *content_type)
{
    request_finish(x->request, FINISH_STOP);
    exchange_answer(x, status, content_type);
}

/* The loop answers, so it lives. */
static void get_health(struct exchange *x)
{
    render_status(&x->answer.body, "ok");
    done(x, 200, JSON_TYPE);
}

static void get_ready(struct exchange *x)
{
    render_status(&x->answer.body, life_name(x->server));
    done(x, x->server->life == LIFE_READY ? 200 : 503, JSON_TYPE);
}

static void get_models(struct exchange *x)
{
    const struct server *server = x->server;
    struct model_entry entry = {0};

    if (server->name) {
        const struct model_info *info = model_info(engine_model(server->engine));
        entry = (struct model_entry){
            .id = server->name,
            .created = server->loaded_unix,
            .max_model_len = engine_info(server->engine)->n_ctx,
            .arch = info->arch,
            .scheme = info->scheme,
            .precision = engine_precision(server->engine),
            .quality = info->quality,
        };
    }
    render_models(&x->answer.body, &entry, server->name ? 1 : 0);
    done(x, 200, JSON_TYPE);
}

static void get_metrics(struct exchange *x)
{
    const struct server *server = x->server;
    struct metrics_build build = {0};

    if (server->name) {
        const struct model_info *info = model_info(engine_model(server->engine));
        build = (struct metrics_build){
            .kernels = info->kernels,
            .precision = engine_precision(server->engine),
            .kv = engine_kv(server->engine),
            .model = server->name,
            .quality = info->quality,
        };
    }
    metrics_render(&server->metrics, &build, &x->answer.body);
    done(x, 200, METRICS_TYPE);
}

/* Adding one? Also openapi.yaml. */
static const struct route routes[] = {
    {"POST", "/v1/generate", "POST", generate_handle, false},
    {"GET", "/health", "GET, HEAD", get_health, true},
    {"GET", "/ready", "GET, HEAD", get_ready, true},
    {"GET", "/metrics", "GET, HEAD", get_metrics, true},
    {"GET", "/v1/models", "GET, HEAD", get_models, false},
};

/* RFC 9112 section 3.2.2: a server takes the absolute form too. */
static const char *without_authority(const char *path)
{
    if (strncasecmp(path, "http://", 7) != 0)
        return path;
    const char *slash = strchr(path + 7, '/');
    return slash ? slash : "/";
}

const struct route *route_find(const char *method, const char *path, const struct route **ret_known)
{
    path = without_authority(path);
    method = strcmp(method, "HEAD") == 0 ? "GET" : method;
    *ret_known = NULL;
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (strcmp(path, routes[i].path) != 0)
            continue;
        *ret_known = &routes[i];
        if (strcmp(method, routes[i].method) == 0)
            return &routes[i];
    }
    return NULL;
}
