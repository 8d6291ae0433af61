#include "tools/sweep_file.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"

enum { FORMAT = 1 };

static json_t *text_or_null(const char *text)
{
    return text[0] ? json_string(text) : json_null();
}

static json_t *head_of(const struct sweep_facts *facts)
{
    json_t *ids = json_array();

    for (uint32_t i = 0; i < facts->n_tokens; i++)
        json_array_append_new(ids, json_integer(facts->ids[i]));
    return json_pack("{s:i, s:s, s:s, s:s, s:o, s:b, s:I, s:I, s:o}", "octet_sweep", FORMAT,
                     "version", OCTET_VERSION, "source", facts->source, "text", facts->text,
                     "calibration", text_or_null(facts->calibration), "clip", facts->clip, "tokens",
                     (json_int_t)facts->n_tokens, "ctx", (json_int_t)facts->n_ctx, "ids", ids);
}

/* Is the file's first line that of this sweep? What is not the same is named. */
static int check_head(const struct sweep_file *f, const json_t *head,
                      const struct sweep_facts *facts, struct error *err)
{
    static const struct {
        const char *key, *what;
    } must[] = {{"octet_sweep", "it is in another format, or no sweep"},
                {"version", "it is by another version of octet"},
                {"source", "it is of another model"},
                {"calibration", "its weights were compensated otherwise"},
                {"clip", "its ranges were searched otherwise"},
                {"text", "it is by another text"}};
    json_t *want = head_of(facts);
    int r = want ? ST_OK : error_set(err, ST_NOMEM, "out of memory");

    for (size_t i = 0; r == ST_OK && i < sizeof(must) / sizeof(must[0]); i++)
        if (!json_equal(json_object_get(head, must[i].key), json_object_get(want, must[i].key)))
            r = error_set(err, ST_INVALID,
                          "--sweep %s: does not belong to this sweep: %s; give another name, or "
                          "delete it",
                          f->path, must[i].what);
    json_decref(want);
    return r;
}

static void key_of(const char *unit, const char *choice, char key[static 256])
{
    snprintf(key, 256, "%s %s", unit, choice);
}

/* Lines that are shown. */
static int keep(struct sweep_file *f, json_t *line, struct error *err)
{
    if (!json_object_get(line, "unit") && !json_object_get(line, "plan"))
        return ST_OK;
    return json_array_append(f->lines, line) == 0 ? ST_OK
                                                  : error_set(err, ST_NOMEM, "out of memory");
}

/* A line that names a unit must be whole; of others plans are kept. */
static int take_line(struct sweep_file *f, json_t *line, size_t number, struct error *err)
{
    const char *unit = json_string_value(json_object_get(line, "unit")),
               *choice = json_string_value(json_object_get(line, "choice"));
    const json_t *kld = json_object_get(line, "kld");
    char key[256];

    if (!unit)
        return keep(f, line, err);
    if (!choice || !json_is_number(kld) || !(json_number_value(kld) >= 0.0))
        return error_set(err, ST_FORMAT,
                         "--sweep %s: line %zu names a unit but no choice with a kld of 0 or more",
                         f->path, number);
    key_of(unit, choice, key);
    return json_object_set(f->known, key, line) == 0 ? keep(f, line, err)
                                                     : error_set(err, ST_NOMEM, "out of memory");
}

/* Whole lines of text; ret_whole: bytes of them. */
static int read_lines(struct sweep_file *f, const struct sweep_facts *facts, const char *text,
                      size_t len, size_t *ret_whole, struct error *err)
{
    int r = ST_OK;

    *ret_whole = 0;
    for (size_t number = 1; r == ST_OK; number++) {
        const char *line = text + *ret_whole, *end = memchr(line, '\n', len - *ret_whole);
        if (!end)
            return ST_OK;
        json_t *doc = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES, NULL);
        if (!json_is_object(doc))
            r = error_set(err, ST_FORMAT, "--sweep %s: line %zu is not a JSON object", f->path,
                          number);
        else
            r = number == 1 ? check_head(f, doc, facts, err) : take_line(f, doc, number, err);
        json_decref(doc);
        *ret_whole += (size_t)(end - line) + 1;
    }
    return r;
}

static int cannot(const struct sweep_file *f, const char *what, struct error *err)
{
    return error_set(err, ST_IO, "--sweep %s: cannot be %s: %s", f->path, what, strerror(errno));
}

/* Half a first line must be ours: what is not is somebody else's file, and stays. */
static int check_torn(const struct sweep_file *f, const char *text, size_t len, struct error *err)
{
    static const char begin[] = "{\"octet_sweep\":";

    if (memcmp(text, begin, len < sizeof(begin) - 1 ? len : sizeof(begin) - 1) == 0)
        return ST_OK;
    return error_set(err, ST_FORMAT, "--sweep %s: is no sweep: give another name", f->path);
}

/* What is there is read; half a line at its end, which was being written when it all stopped, goes. */
static int go_on(struct sweep_file *f, const struct sweep_facts *facts, struct error *err)
{
    char *text = NULL;
    size_t len = 0, whole = 0;
    int r = ST_OK;

    if (access(f->path, F_OK) == 0)
        r = cli_read(f->path, &text, &len, err);
    if (r == ST_OK && text)
        r = read_lines(f, facts, text, len, &whole, err);
    if (r == ST_OK && whole == 0 && text)
        r = check_torn(f, text, len, err);
    free(text);
    if (r != ST_OK)
        return r;
    f->file = fopen(f->path, "ae");
    if (!f->file || ftruncate(fileno(f->file), (off_t)whole) != 0)
        return cannot(f, "written", err);
    return whole ? ST_OK : sweep_file_note(f, head_of(facts), err);
}

int sweep_file_open(const char *path, const struct sweep_facts *facts, struct sweep_file *ret_file,
                    struct error *err)
{
    struct sweep_file f = {.path = path, .known = json_object(), .lines = json_array()};
    int r = f.known && f.lines ? ST_OK : error_set(err, ST_NOMEM, "out of memory");

    if (r == ST_OK && path)
        r = go_on(&f, facts, err);
    if (r != ST_OK) {
        sweep_file_close(&f);
        return r;
    }
    *ret_file = f;
    return ST_OK;
}

void sweep_file_close(struct sweep_file *f)
{
    if (f->file)
        fclose(f->file); /* each line has been flushed */
    json_decref(f->known);
    json_decref(f->lines);
    *f = (struct sweep_file){0};
}

const json_t *sweep_file_find(const struct sweep_file *f, const char *unit, const char *choice)
{
    char key[256];

    key_of(unit, choice, key);
    return json_object_get(f->known, key);
}

static json_t *item_json(const struct sweep_item *item)
{
    json_t *modules = json_array();

    for (size_t i = 0; i < 3 && item->modules[i][0]; i++)
        json_array_append_new(modules, json_string(item->modules[i]));
    return json_pack("{s:s, s:o, s:s, s:I, s:I, s:f}", "unit", item->unit, "modules", modules,
                     "choice", item->choice, "weights", (json_int_t)item->n_weights, "bytes",
                     (json_int_t)item->bytes, "kld", item->kld);
}

int sweep_file_add(struct sweep_file *f, const struct sweep_item *item, struct error *err)
{
    json_t *line = item_json(item);
    int r = line ? take_line(f, line, 0, err) : error_set(err, ST_NOMEM, "out of memory");

    if (r == ST_OK)
        return sweep_file_note(f, line, err);
    json_decref(line);
    return r;
}

int sweep_file_note(struct sweep_file *f, json_t *line, struct error *err)
{
    int r = line ? ST_OK : error_set(err, ST_NOMEM, "out of memory");

    if (r == ST_OK && f->file &&
        (json_dumpf(line, f->file, JSON_COMPACT) != 0 || fputc('\n', f->file) == EOF ||
         fflush(f->file) != 0))
        r = cannot(f, "written", err);
    if (r == ST_OK && json_object_get(line, "plan"))
        r = keep(f, line, err);
    json_decref(line);
    return r;
}
