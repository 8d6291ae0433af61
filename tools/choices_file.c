#include "tools/choices_file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "config/json_kind.h"

/* Where we are, for sentences. */
struct place {
    const struct model *model;
    const char *name;
    size_t line;
    struct error *err;
};

/* ---- growing ---- */

static int grow(void *items, size_t *room, size_t n, size_t each)
{
    size_t wider = *room ? *room * 2 : 256, bytes;
    void *grown, **at = items;

    if (n < *room)
        return ST_OK;
    if (__builtin_mul_overflow(wider, each, &bytes) || !(grown = realloc(*at, bytes)))
        return ST_NOMEM;
    *at = grown;
    *room = wider;
    return ST_OK;
}

static int add_text(struct choices *c, const struct eval_text *text, size_t bytes)
{
    size_t room = c->text_room;

    if (grow(&c->texts, &room, c->n_texts, sizeof(*c->texts)) != ST_OK ||
        grow(&c->bytes, &c->text_room, c->n_texts, sizeof(*c->bytes)) != ST_OK)
        return ST_NOMEM;
    c->bytes[c->n_texts] = bytes;
    c->texts[c->n_texts++] = *text;
    c->n_scores += eval_text_scored(text);
    c->n_max = text->n > c->n_max ? text->n : c->n_max;
    return ST_OK;
}

/* ---- tokens ---- */

static bool is_white(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static char *join(const char *question, const char *choice)
{
    size_t n = strlen(question), room = n + strlen(choice) + 2;
    char *text = malloc(room);

    if (text)
        snprintf(text, room, "%s%s%s", question,
                 is_white(question[n - 1]) || is_white(choice[0]) ? "" : " ", choice);
    return text;
}

/* The ids of one pair, held against those of the question alone. */
static int add_pair(struct choices *c, const struct place *at, const char *text, size_t bytes,
                    const int32_t *question, size_t n_question)
{
    uint32_t limit = model_info(at->model)->n_ctx_train;
    int32_t *ids = NULL;
    size_t n, first = 0;
    int r = model_tokenize(at->model, text, strlen(text), MODEL_TEXT_BOS_AUTO, &ids, &n, at->err);

    if (r != ST_OK)
        return r;
    while (first < n_question && first < n && ids[first] == question[first])
        first++;
    if (n < 2 || n > limit) {
        free(ids);
        return error_set(at->err, ST_FORMAT,
                         "%s, line %zu: question and choice are %zu tokens: 2 to %u can be scored",
                         at->name, at->line, n, limit);
    }
    first = first < 1 ? 1 : first > n - 1 ? n - 1 : first;
    r = add_text(c, &(struct eval_text){ids, (uint32_t)n, (uint32_t)first - 1}, bytes);
    if (r != ST_OK) {
        free(ids);
        error_set(at->err, r, "%s, line %zu: out of memory", at->name, at->line);
    }
    return r;
}

static int add_choices(struct choices *c, const struct place *at, const char *question,
                       const json_t *list)
{
    int32_t *ids = NULL;
    size_t n = 0, i;
    json_t *item;
    int r = model_tokenize(at->model, question, strlen(question), MODEL_TEXT_BOS_AUTO, &ids, &n,
                           at->err);

    json_array_foreach(list, i, item)
    {
        char *text;
        if (r != ST_OK)
            break;
        text = join(question, json_string_value(item));
        r = text ? add_pair(c, at, text, json_string_length(item), ids, n)
                 : error_set(at->err, ST_NOMEM, "%s, line %zu: out of memory", at->name, at->line);
        free(text);
    }
    free(ids);
    return r;
}

/* ---- lines ---- */

static int wrong(const struct place *at, const char *what, const char *wanted)
{
    return error_set(at->err, ST_FORMAT, "%s, line %zu: %s must be %s", at->name, at->line, what,
                     wanted);
}

static bool is_text(const json_t *value)
{
    return json_is_string(value) && json_string_length(value) > 0;
}

static int check_line(const struct place *at, const json_t *doc)
{
    const json_t *list = json_object_get(doc, "choices"), *answer = json_object_get(doc, "answer");
    size_t n = json_array_size(list);
    char range[64];

    if (!json_is_object(doc))
        return wrong(at, "a line", "a JSON object with \"question\", \"choices\" and \"answer\"");
    if (!is_text(json_object_get(doc, "question")))
        return wrong(at, "\"question\"", "a string that is not empty");
    if (n < 2 || n > CHOICES_MAX)
        return wrong(at, "\"choices\"", "a list of 2 to 64 strings");
    for (size_t i = 0; i < n; i++)
        if (!is_text(json_array_get(list, i)))
            return wrong(at, "each of \"choices\"", "a string that is not empty");
    snprintf(range, sizeof(range), "the index of the right choice, 0 to %zu", n - 1);
    if (!json_is_integer(answer) || json_integer_value(answer) < 0 ||
        json_integer_value(answer) >= (json_int_t)n)
        return wrong(at, "\"answer\"", range);
    return ST_OK;
}

static int add_line(struct choices *c, const struct place *at, const char *line, size_t len)
{
    json_error_t why;
    json_t *doc = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
    struct choice_question question = {.line = at->line, .first = c->n_texts};
    int r = ST_OK;

    if (!doc)
        return error_set(at->err, ST_FORMAT, "%s, line %zu: column %d: %s", at->name, at->line,
                         why.column, why.text);
    r = check_line(at, doc);
    if (r == ST_OK &&
        grow(&c->questions, &c->question_room, c->n_questions, sizeof(*c->questions)) != ST_OK)
        r = error_set(at->err, ST_NOMEM, "%s, line %zu: out of memory", at->name, at->line);
    if (r == ST_OK)
        r = add_choices(c, at, json_string_value(json_object_get(doc, "question")),
                        json_object_get(doc, "choices"));
    if (r == ST_OK) {
        question.n = (uint32_t)(c->n_texts - question.first);
        question.answer = (uint32_t)json_integer_value(json_object_get(doc, "answer"));
        c->questions[c->n_questions++] = question;
    }
    json_decref(doc);
    return r;
}

int choices_parse(const struct model *model, const char *name, const char *data, size_t len,
                  struct choices *ret_choices, struct error *err)
{
    struct choices c = {0};
    struct place at = {.model = model, .name = name, .err = err};
    int r = ST_OK;

    for (const char *line = data, *end = data + len, *next; line < end && r == ST_OK; line = next) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((stop ? stop : end) - line), white = 0;

        next = stop ? stop + 1 : end;
        at.line++;
        while (white < n && is_white(line[white]))
            white++;
        if (white < n)
            r = add_line(&c, &at, line, n);
    }
    if (r == ST_OK && c.n_questions == 0)
        r = error_set(err, ST_FORMAT,
                      "%s holds no question: give it a line such as {\"question\": \"The sky is\", "
                      "\"choices\": [\"blue\", \"loud\"], \"answer\": 0}",
                      name);
    if (r != ST_OK) {
        choices_done(&c);
        return r;
    }
    *ret_choices = c;
    return ST_OK;
}

void choices_done(struct choices *c)
{
    for (size_t i = 0; i < c->n_texts; i++)
        free((void *)c->texts[i].ids);
    free(c->texts);
    free(c->bytes);
    free(c->questions);
    *c = (struct choices){0};
}
