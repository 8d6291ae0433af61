/* octet eval - perplexity of a text as llama.cpp's llama-perplexity defines it, the divergence from
 * a reference in FP32, and what is to be kept of both. */
#include <string.h>

#include "tools/choices.h"
#include "tools/cli.h"
#include "tools/eval_run.h"
#include "tools/evaluate.h"

struct values {
    struct evaluate_opts opts;
    const char *choices;
    bool json;
};

#define AT(field) offsetof(struct values, opts.field)

static const struct flag FLAGS[] = {
    SESSION_FLAG_MODEL,
    {.name = "text",
     .type = FLAG_STRING,
     .offset = AT(text),
     .arg = "FILE",
     .help = "the text; - is stdin"},
    {.name = "choices",
     .type = FLAG_STRING,
     .offset = offsetof(struct values, choices),
     .arg = "FILE",
     .help = "instead of a text: JSON lines of question, choices, answer (an index)"},
    {.name = "reference",
     .type = FLAG_STRING,
     .offset = AT(reference),
     .arg = "FILE",
     .help = "model to measure against, in FP32, or what --save-reference stored"},
    {.name = "save-reference",
     .type = FLAG_STRING,
     .offset = AT(save_reference),
     .arg = "FILE",
     .help = "store the reference's logits (without one: the model's own), so that it runs once"},
    {.name = "record",
     .type = FLAG_BOOL,
     .offset = AT(record),
     .help = "write what was measured into the model's file, for octet info and octetd"},
    {.name = "out",
     .type = FLAG_STRING,
     .offset = AT(out),
     .arg = "FILE",
     .help = "a JSON line for each scored token, or choice"},
    {.name = "ctx",
     .type = FLAG_U32,
     .offset = AT(ctx),
     .min = EVAL_MIN_CTX,
     .max = LIMIT_CONTEXT,
     .fallback = EVALUATE_CTX,
     .arg = "N",
     .help = "tokens of a chunk"},
    {.name = "chunks",
     .type = FLAG_U32,
     .offset = AT(chunks),
     .fallback = "0",
     .arg = "N",
     .help = "at most so many chunks; 0: the whole text"},
    SESSION_FLAG_PRECISION,
    SESSION_FLAG_KV,
    SESSION_FLAG_THREADS,
    {.name = "json",
     .type = FLAG_BOOL,
     .offset = offsetof(struct values, json),
     .help = "one JSON document on stdout"},
};

static const struct flag_table TABLE = {
    .usage = "octet eval --model FILE (--text FILE | --choices FILE) [options]",
    .about =
        "Perplexity of a text: chunks of --ctx tokens, the second half of each scored, as "
        "llama-perplexity does. With --reference also the divergence from it. With --choices: how "
        "often the right choice is the likeliest.",
    .flags = FLAGS,
    .n_flags = sizeof(FLAGS) / sizeof(FLAGS[0]),
};

static int check(const struct values *values, struct error *err)
{
    const struct evaluate_opts *opts = &values->opts;

    if (!opts->text == !values->choices)
        return error_set(err, ST_INVALID, "give --text FILE, or --choices FILE with questions");
    if (values->choices && (opts->record || opts->save_reference))
        return error_set(err, ST_INVALID, "--choices: %s is for a --text: leave it out",
                         opts->record ? "--record" : "--save-reference");
    if (values->choices && opts->reference && logits_is_file(opts->reference))
        return error_set(err, ST_INVALID,
                         "--reference: %s stores the logits of a text: --choices need a model",
                         opts->reference);
    if (opts->record && !opts->reference)
        return error_set(err, ST_INVALID,
                         "--record: what is recorded is the divergence from a reference: give "
                         "--reference, the file that the model was made from");
    if (opts->save_reference && !opts->reference &&
        (opts->session.precision != MODEL_FP32 ||
         (opts->session.kv != KV_BY_PRECISION && opts->session.kv != MODEL_KV_F32)))
        return error_set(err, ST_INVALID,
                         "--save-reference: a reference is in FP32: give --reference, or "
                         "--precision fp32 to store the model's own logits");
    return ST_OK;
}

static int eval_choices(const struct values *values, struct error *err)
{
    struct choices_opts opts = {values->opts.session, values->choices, values->opts.reference,
                                values->opts.out};
    struct choices_result result;
    int r = choices_measure(&opts, &result, err);

    if (r != ST_OK)
        return cli_failed(r, err);
    if (values->json)
        return cli_json(choices_json(&opts, &result));
    choices_print(&opts, &result);
    return cli_finish();
}

int cmd_eval(int argc, char *const *argv)
{
    struct values values = {.opts.session = {.kv = KV_BY_PRECISION}};
    struct evaluate_result result;
    struct flags_result given;
    struct error err = {{0}};
    int r, ended;

    ended = cli_parse(&TABLE, argc, argv, &values, &given);
    if (ended != CLI_GO_ON)
        return ended;
    if (check(&values, &err) != ST_OK)
        return cli_usage(&err);
    if (values.choices)
        return eval_choices(&values, &err);
    r = evaluate(&values.opts, &result, &err);
    if (r != ST_OK)
        return cli_failed(r, &err);
    if (values.json)
        return cli_json(evaluate_json(&values.opts, &result));
    evaluate_print(&values.opts, &result);
    return cli_finish();
}
