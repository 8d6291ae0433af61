/* octet tokenize - text on stdin, byte for byte, to token ids. */
#include <stdio.h>
#include <stdlib.h>

#include "config/escape.h"
#include "tools/cli.h"
#include "tools/session.h"

struct values {
    struct session_flags session;
    bool json, special, bos;
};

#define AT(field) offsetof(struct values, field)

static const struct flag FLAGS[] = {
    SESSION_FLAG_MODEL,
    {.name = "special",
     .type = FLAG_BOOL,
     .offset = AT(special),
     .help = "names of special tokens count as these tokens, not as text"},
    {.name = "bos",
     .type = FLAG_BOOL,
     .offset = AT(bos),
     .help = "put the beginning-of-text token first"},
    {.name = "json", .type = FLAG_BOOL, .offset = AT(json), .help = "{\"ids\":[...]} on stdout"},
};

static const struct flag_table TABLE = {
    .usage = "octet tokenize --model FILE [options] <TEXT",
    .about = "Turn the text on stdin into token ids, one a line with its piece. A file that holds "
             "only a vocabulary will do.",
    .flags = FLAGS,
    .n_flags = sizeof(FLAGS) / sizeof(FLAGS[0]),
};

/* The piece on one line whatever it holds: control characters, backslashes and bytes that are not
 * UTF-8 as \n, \\ or \xNN. */
static void print_piece(const char *piece, size_t len)
{
    const char *at = piece, *end = piece + len;

    while (at < end) {
        size_t n = utf8_len(at, end);
        unsigned char c = (unsigned char)*at;
        if (c == '\n')
            fputs("\\n", stdout);
        else if (c == '\\')
            fputs("\\\\", stdout);
        else if (n == 0 || c < 0x20 || c == 0x7f)
            printf("\\x%02x", c);
        else
            fwrite(at, 1, n, stdout);
        at += n ? n : 1;
    }
}

static void print_lines(const struct model *model, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *piece = "";
        size_t len = 0;
        if (model_token_bytes(model, ids[i], &piece, &len) != ST_OK)
            len = 0;
        printf("%d\t", ids[i]);
        print_piece(piece, len);
        putchar('\n');
    }
}

/* Written by hand: a jansson integer costs 32 bytes, and a text may hold millions. */
static void print_json(const int32_t *ids, size_t n)
{
    fputs("{\"ids\":[", stdout);
    for (size_t i = 0; i < n; i++)
        printf("%s%d", i ? "," : "", ids[i]);
    fputs("]}\n", stdout);
}

int cmd_tokenize(int argc, char *const *argv)
{
    struct values values = {.session = {.kv = KV_BY_PRECISION}};
    struct flags_result given;
    struct session session = {0};
    struct error err = {{0}};
    char *text = NULL;
    int32_t *ids = NULL;
    size_t len = 0, n = 0;
    unsigned flags;
    int r, ended;

    ended = cli_parse(&TABLE, argc, argv, &values, &given);
    if (ended != CLI_GO_ON)
        return ended;
    flags = (values.special ? MODEL_TEXT_SPECIAL : 0u) | (values.bos ? MODEL_TEXT_BOS : 0u);
    r = session_open_vocab(&session, values.session.model, &err);
    if (r != ST_OK)
        goto out;
    if (values.bos && model_bos(session.model) < 0) {
        r = error_set(&err, ST_INVALID, "--bos: %s has no beginning-of-text token: leave it out",
                      values.session.model);
        goto out;
    }
    r = cli_read("-", &text, &len, &err);
    if (r != ST_OK)
        goto out;
    r = model_tokenize(session.model, text, len, flags, &ids, &n, &err);
    if (r != ST_OK)
        goto out;
    if (values.json)
        print_json(ids, n);
    else
        print_lines(session.model, ids, n);
out:
    free(ids);
    free(text);
    session_done(&session);
    return r == ST_OK ? cli_finish() : cli_failed(r, &err);
}
