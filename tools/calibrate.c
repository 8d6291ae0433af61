#include "tools/calibrate.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "tools/cli.h"

static int run_pass(const struct calibrate *c, const struct model_quantize_opts *opts,
                    struct observations **ret_observations, struct error *err)
{
    struct model_observe_opts observe = {.in = opts->in,
                                         .text_name = c->text,
                                         .n_tokens = c->tokens,
                                         .seed = c->seed,
                                         .threads = opts->threads,
                                         .progress = opts->progress};
    struct observations *o = NULL;
    char *text = NULL;
    int r = ST_OK;

    if (c->text) {
        r = cli_read(c->text, &text, &observe.text_len, err);
        observe.text = text;
    }
    if (r == ST_OK)
        r = model_observe(&observe, &o, err);
    free(text);
    if (r == ST_OK && c->observations)
        r = observations_write(o, c->observations, err);
    if (r != ST_OK) {
        observations_free(o);
        return r;
    }
    *ret_observations = o;
    return ST_OK;
}

int calibrate_get(const struct calibrate *c, const struct model_quantize_opts *opts,
                  struct observations **ret_observations, struct error *err)
{
    struct stat st;

    if (!c->wanted && !c->text && !c->observations) {
        *ret_observations = NULL;
        return ST_OK;
    }
    if (!c->observations || stat(c->observations, &st) != 0)
        return run_pass(c, opts, ret_observations, err);
    if (c->text)
        return error_set(err, ST_INVALID,
                         "%s: is there already, so that --calibrate %s would not be read: leave "
                         "--calibrate out, or give another --observations",
                         c->observations, c->text);
    return observations_read(c->observations, ret_observations, err);
}
