/* schema_dump.c - what api/ knows, as JSON on stdout, for test_openapi.py. With --parse: one body a
 * line on stdin, for each "ok" or the error's code on stdout. */
#include <stdio.h>
#include <string.h>

#include "api/error.h"
#include "api/parse.h"
#include "api/render.h"
#include "api/schema.h"
#include "config/limits.h"

static const char *type_word(enum field_type type)
{
    static const char *const words[] = {
        [FIELD_BOOL] = "boolean",  [FIELD_INT] = "integer",   [FIELD_SEED] = "integer",
        [FIELD_NUMBER] = "number", [FIELD_STRING] = "string", [FIELD_PROMPT] = "prompt",
        [FIELD_STOP] = "stop"};

    return words[type];
}

static void dump_field(struct buf *out, const struct field *f)
{
    buf_printf(out, "{\"name\":\"%s\",\"type\":\"%s\",\"required\":%s", f->name, type_word(f->type),
               f->required ? "true" : "false");
    if (f->type == FIELD_INT || f->type == FIELD_SEED)
        buf_printf(out, ",\"minimum\":%lld,\"maximum\":%lld", (long long)f->imin,
                   (long long)f->imax);
    if (f->type == FIELD_NUMBER)
        buf_printf(out, ",\"%s\":%g,\"maximum\":%g", f->min_open ? "exclusiveMinimum" : "minimum",
                   f->min, f->max);
    if (f->has_preset && f->type == FIELD_BOOL)
        buf_printf(out, ",\"default\":%s", f->preset != 0 ? "true" : "false");
    else if (f->has_preset)
        buf_printf(out, ",\"default\":%g", f->preset);
    buf_puts(out, "}");
}

static void dump_tables(struct buf *out)
{
    size_t n;
    const struct field *fields = schema_generate(&n);

    buf_puts(out, "\"fields\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(out, i ? "," : "");
        dump_field(out, &fields[i]);
    }
    buf_puts(out, "],\"codes\":[");
    for (int code = 0; code < API_N_CODES; code++)
        buf_printf(out, "%s{\"code\":\"%s\",\"type\":\"%s\",\"status\":%d}", code ? "," : "",
                   api_code_name((enum api_code)code), api_code_type((enum api_code)code),
                   api_code_status((enum api_code)code));
    buf_puts(out, "],\"finish_reasons\":[");
    for (int finish = FINISH_STOP; finish <= FINISH_DEADLINE; finish++)
        buf_printf(out, "%s\"%s\"", finish ? "," : "",
                   finish_reason_name((enum finish_reason)finish));
    buf_printf(out, "],\"stop_strings\":%u,\"stop_bytes\":%u,\"error_content_type\":\"%s\"",
               LIMIT_STOP_STRINGS, LIMIT_STOP_BYTES, API_ERROR_CONTENT_TYPE);
}

/* One of each document, to be held against its schema. */
static void dump_rendered(struct buf *out)
{
    const struct generate_result result = {.id = "gen-1",
                                           .created = 1,
                                           .model = "m",
                                           .text = "t",
                                           .text_len = 1,
                                           .stop_kind = STOP_TOKEN,
                                           .stop_token = 2};
    const struct quality quality = {.precision = "int8", .kv = "int8"};
    const struct model_entry entry = {"m", 1, 8192, "llama", "int8-h64-g64", "int8", &quality};
    struct api_error err;

    api_error_queue_full(&err, 1, 1);
    buf_puts(out, "\"rendered\":{\"GenerateResponse\":");
    render_generate(out, &result);
    buf_puts(out, ",\"LastStreamPiece\":");
    render_last_piece(out, &result);
    buf_puts(out, ",\"StreamPiece\":");
    render_piece(out, "gen-1", "t", 1);
    buf_puts(out, ",\"ModelList\":");
    render_models(out, &entry, 1);
    buf_puts(out, ",\"Status\":");
    render_status(out, "ok");
    buf_puts(out, ",\"Problem\":");
    api_error_render(&err, out);
    buf_puts(out, ",\"StreamError\":");
    api_error_render_event(&err, out);
    buf_puts(out, "}");
}

static int parse_lines(void)
{
    static char line[65536];

    while (fgets(line, sizeof(line), stdin)) {
        struct completion_req req = {0};
        struct api_error err;
        int r = parse_generate(line, strcspn(line, "\n"), &req, &err);
        puts(r == ST_OK ? "ok" : api_code_name(err.code));
        completion_req_done(&req);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct buf out;

    if (argc == 2 && strcmp(argv[1], "--parse") == 0)
        return parse_lines();
    buf_init(&out, 65536);
    buf_puts(&out, "{");
    dump_tables(&out);
    buf_puts(&out, ",");
    dump_rendered(&out);
    if (buf_puts(&out, "}") == ST_OK)
        puts(out.data);
    buf_done(&out);
    return 0;
}
