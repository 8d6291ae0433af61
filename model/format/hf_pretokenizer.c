/* hf_pretokenizer.c - how tokenizer.json cuts text → the name that GGUF has for it.
 *
 * A pre-tokenizer is a list of steps; each cuts by a pattern what the ones before it left whole. What
 * the list comes to, pattern by pattern, is compared with what the known names stand for. */
#include <stdlib.h>
#include <string.h>

#include "model/format/hf_priv.h"

#define MAX_STEPS 4

/* The patterns as the published tokenizer.json files spell them. */
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define LINES(digits)                                                                              \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits                           \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct {
    const char *pre;
    const char *patterns[MAX_STEPS];
    bool whole_first; /* a piece that is a token is taken as it is, merges or not */
} known[] = {{"gpt-2", {GPT2}, false},
             {"smollm", {"\\p{N}", GPT2}, false},
             {"llama-bpe", {LINES("\\p{N}{1,3}")}, true},
             {"qwen2", {LINES("\\p{N}")}, false}};

struct steps {
    const char *patterns[MAX_STEPS];
    size_t n;
    bool bytes; /* the last step turned the text into byte letters */
};

static bool is_false(const json_t *step, const char *field)
{
    const json_t *value = json_object_get(step, field);

    return !value || json_is_false(value);
}

/* false: a step that no known name has. */
static bool read_step(const json_t *step, struct steps *steps)
{
    const json_t *type = json_object_get(step, "type");
    const char *pattern = NULL;

    if (steps->bytes || steps->n == MAX_STEPS)
        return false;
    if (json_is(type, "Digits")) {
        pattern = is_false(step, "individual_digits") ? "\\p{N}+" : "\\p{N}";
    } else if (json_is(type, "Split")) {
        pattern = json_string_value(json_object_get(json_object_get(step, "pattern"), "Regex"));
        if (!pattern || !json_is(json_object_get(step, "behavior"), "Isolated") ||
            !is_false(step, "invert"))
            return false;
    } else if (json_is(type, "ByteLevel")) {
        const json_t *use_regex = json_object_get(step, "use_regex");

        if (!json_is_false(json_object_get(step, "add_prefix_space")))
            return false; /* absent: true */
        steps->bytes = true;
        if (json_is_false(use_regex))
            return true;
        pattern = GPT2;
    } else {
        return false;
    }
    steps->patterns[steps->n++] = pattern;
    return true;
}

static bool is_known(size_t k, const struct steps *steps)
{
    for (size_t i = 0; i < MAX_STEPS; i++) {
        const char *want = known[k].patterns[i], *is = i < steps->n ? steps->patterns[i] : NULL;

        if (!want != !is || (want && strcmp(want, is) != 0))
            return false;
    }
    return true;
}

static int refuse(const struct hf *hf, const char *what, const json_t *field)
{
    char *text =
        field ? json_dumps(field, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : NULL;
    int r = error_set(
        hf->err, ST_UNSUPPORTED,
        "%s: %s is %s, which is not built; those of GPT-2, SmolLM, Llama 3 and Qwen2 "
        "are",
        hf->tokenizer.path, what,
        gguf_show((struct gguf_str){text ? text : "missing", strlen(text ? text : "missing")})
            .text);
    free(text);
    return r;
}

/* Unicode's NFC is what Qwen2 asks for; engines that read GGUF leave it out, and so do we. */
static int check_normalizer(const struct hf *hf)
{
    const json_t *normalizer = json_file_at(&hf->tokenizer, "normalizer");

    if (!normalizer || json_is(json_object_get(normalizer, "type"), "NFC"))
        return ST_OK;
    return refuse(hf, "normalizer", normalizer);
}

int hf_read_pretokenizer(const struct hf *hf, const char **ret_pre)
{
    json_t *pre = json_file_at(&hf->tokenizer, "pre_tokenizer"), *step;
    json_t *list = json_object_get(pre, "pretokenizers");
    bool sequence = json_is(json_object_get(pre, "type"), "Sequence"), ok = true;
    struct steps steps = {0};
    int r = check_normalizer(hf);
    size_t i;

    if (r)
        return r;
    if (!sequence)
        ok = read_step(pre, &steps);
    json_array_foreach(sequence ? list : NULL, i, step) ok = ok && read_step(step, &steps);
    for (size_t k = 0; ok && steps.bytes && k < sizeof(known) / sizeof(*known); k++) {
        if (!is_known(k, &steps))
            continue;
        if (!known[k].whole_first &&
            json_is_true(json_file_at(&hf->tokenizer, "model.ignore_merges")))
            return error_set(hf->err, ST_UNSUPPORTED,
                             "%s: model.ignore_merges is true beside the pre-tokenizer '%s', which "
                             "is not built",
                             hf->tokenizer.path, known[k].pre);
        *ret_pre = known[k].pre;
        return ST_OK;
    }
    return refuse(hf, "pre_tokenizer", pre);
}
