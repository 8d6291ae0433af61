/* octet info - what is in a model file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/progress.h"
#include "model/model.h"
#include "tools/cli.h"

struct values {
    bool json, check;
};

static const struct flag FLAGS[] = {
    {.name = "check",
     .type = FLAG_BOOL,
     .offset = offsetof(struct values, check),
     .help = "hold the recorded quality against the tensors: were they changed since?"},
    {.name = "json",
     .type = FLAG_BOOL,
     .offset = offsetof(struct values, json),
     .help = "one JSON document on stdout"},
};

static const struct flag_table TABLE = {
    .usage = "octet info FILE [--check] [--json]",
    .about = "Show a model file's architecture, tensors, quantization and recorded quality.",
    .flags = FLAGS,
    .n_flags = sizeof(FLAGS) / sizeof(FLAGS[0]),
    .min_args = 1,
    .max_args = 1,
};

int cmd_info(int argc, char *const *argv)
{
    struct values values = {0};
    struct model_describe_opts opts;
    struct progress progress;
    struct flags_result given;
    struct error err = {{0}};
    char *text = NULL;
    size_t len;
    int r, ended;

    ended = cli_parse(&TABLE, argc, argv, &values, &given);
    if (ended != CLI_GO_ON)
        return ended;
    progress_init(&progress);
    opts = (struct model_describe_opts){
        .json = values.json, .check = values.check, .progress = {progress_update, &progress}};
    r = model_describe(given.args[0], &opts, &text, &err);
    progress_end(&progress);
    if (r != ST_OK)
        return cli_failed(r, &err);
    len = fputs(text, stdout) < 0 ? 0 : strlen(text);
    if (len && text[len - 1] != '\n')
        fputc('\n', stdout);
    free(text);
    return cli_finish();
}
