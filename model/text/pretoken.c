#include "model/text/pretoken.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Unicode's White_Space, written out: PCRE2's own \s also takes U+180E. */
#define SPACE                                                                                      \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"
#define ENDINGS "'(?:[sdmt]|ll|ve|re)"
/* White space up to the last one before a word, which belongs to the word; else all of it. */
#define SPACES "[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+"

#define GPT2 ENDINGS "| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE "\\p{L}\\p{N}]+|" SPACES
#define LINES(digits)                                                                              \
    "(?i:" ENDINGS ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^" SPACE                         \
    "\\p{L}\\p{N}]+[\\r\\n]*|[" SPACE "]*[\\r\\n]+|" SPACES

#define MAX_PATTERNS 4

struct family {
    const char *names[3]; /* how GGUF files call it */
    const char *patterns[MAX_PATTERNS];
    bool whole_first;
    bool add_bos;
};

static const struct family families[] = {
    {.names = {"gpt-2"}, .patterns = {GPT2}},
    {.names = {"smollm"}, .patterns = {"\\p{N}", GPT2}},
    {.names = {"llama-bpe", "llama3", "llama-v3"},
     .patterns = {LINES("\\p{N}{1,3}")},
     .whole_first = true,
     .add_bos = true},
    {.names = {"qwen2"}, .patterns = {LINES("\\p{N}")}},
    {.names = {"default"}, .patterns = {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
};

struct pretoken {
    const struct family *family;
    pcre2_code *codes[MAX_PATTERNS]; /* NULL after the last */
};

struct pretoken_scratch {
    pcre2_match_data *match;
    pcre2_match_context *context;
};

static const struct family *find_family(struct gguf_str name)
{
    for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++) {
        for (size_t j = 0; j < sizeof(families[i].names) / sizeof(*families[i].names); j++) {
            const char *known = families[i].names[j];

            if (known && strlen(known) == name.len && memcmp(known, name.data, name.len) == 0)
                return &families[i];
        }
    }
    return NULL;
}

static int compile(struct pretoken *p)
{
    for (size_t i = 0; i < MAX_PATTERNS && p->family->patterns[i]; i++) {
        int code;
        PCRE2_SIZE at;

        p->codes[i] = pcre2_compile((PCRE2_SPTR)p->family->patterns[i], PCRE2_ZERO_TERMINATED,
                                    PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
        if (!p->codes[i]) {
            assert(code == PCRE2_ERROR_HEAP_FAILED); /* our own patterns are well-formed */
            return ST_NOMEM;
        }
        /* Where no JIT can be had the interpreter gives the same matches. */
        (void)pcre2_jit_compile(p->codes[i], PCRE2_JIT_COMPLETE);
    }
    return ST_OK;
}

int pretoken_open(const char *path, struct gguf_str name, struct pretoken **ret_pretoken,
                  struct error *err)
{
    const struct family *family = find_family(name);
    struct pretoken *p;

    if (!family)
        return error_set(err, ST_UNSUPPORTED,
                         "%s: tokenizer.ggml.pre is '%s', which is not built; gpt-2, smollm, "
                         "llama-bpe, qwen2 and default are",
                         path, gguf_show(name).text);
    p = calloc(1, sizeof(*p));
    if (p)
        p->family = family;
    if (!p || compile(p)) {
        pretoken_free(p);
        return error_set(err, ST_NOMEM, "%s: no memory for the pre-tokenizer", path);
    }
    *ret_pretoken = p;
    return ST_OK;
}

void pretoken_free(struct pretoken *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < MAX_PATTERNS; i++)
        pcre2_code_free(p->codes[i]);
    free(p);
}

bool pretoken_whole_first(const struct pretoken *p)
{
    return p->family->whole_first;
}

bool pretoken_add_bos(const struct pretoken *p)
{
    return p->family->add_bos;
}

int pretoken_scratch_new(struct pretoken_scratch **ret_scratch)
{
    struct pretoken_scratch *s = calloc(1, sizeof(*s));

    if (!s)
        return ST_NOMEM;
    s->match = pcre2_match_data_create(1, NULL);
    s->context = pcre2_match_context_create(NULL);
    if (!s->match || !s->context) {
        pretoken_scratch_free(s);
        return ST_NOMEM;
    }
    /* Our patterns need neither depth nor memory; whatever asked for them would be a bug. */
    pcre2_set_depth_limit(s->context, 1000);
    pcre2_set_heap_limit(s->context, 16 * 1024); /* KiB */
    *ret_scratch = s;
    return ST_OK;
}

void pretoken_scratch_free(struct pretoken_scratch *s)
{
    if (!s)
        return;
    pcre2_match_data_free(s->match);
    pcre2_match_context_free(s->context);
    free(s);
}

/* Bytes at which the next match starts and ends, or ST_NOTFOUND. */
static int next_match(const pcre2_code *code, struct pretoken_scratch *s, const char *text,
                      size_t len, size_t from, size_t *ret_start, size_t *ret_end)
{
    /* The caller has checked the characters. Checking again here would be quadratic. */
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int n = pcre2_match(code, (PCRE2_SPTR)text, len, from, options, s->match, s->context);

    if (n == PCRE2_ERROR_JIT_STACKLIMIT)
        n = pcre2_match(code, (PCRE2_SPTR)text, len, from, options | PCRE2_NO_JIT, s->match,
                        s->context);
    if (n == PCRE2_ERROR_NOMATCH)
        return ST_NOTFOUND;
    if (n == PCRE2_ERROR_NOMEMORY)
        return ST_NOMEM;
    if (n < 0)
        return ST_INTERNAL;
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(s->match);
    assert(ends[0] >= from && ends[1] > ends[0] && ends[1] <= len);
    *ret_start = ends[0];
    *ret_end = ends[1];
    return ST_OK;
}

/* Cut text by pattern `level` and those after it. The depth of recursion is the number of patterns.
 */
static int split_from(const struct pretoken *p, struct pretoken_scratch *s, size_t level,
                      const char *text, size_t len, pretoken_piece *piece, void *arg)
{
    size_t at = 0, start, end;
    int r = ST_OK;

    if (level == MAX_PATTERNS || !p->codes[level])
        return piece(arg, text, len);
    while (at < len) {
        r = next_match(p->codes[level], s, text, len, at, &start, &end);
        if (r == ST_NOTFOUND)
            start = end = len;
        else if (r)
            return r;
        if (start > at && (r = split_from(p, s, level + 1, text + at, start - at, piece, arg)))
            return r;
        if (end > start && (r = split_from(p, s, level + 1, text + start, end - start, piece, arg)))
            return r;
        at = end;
    }
    return ST_OK;
}

int pretoken_split(const struct pretoken *p, struct pretoken_scratch *s, const char *text,
                   size_t len, pretoken_piece *piece, void *arg)
{
    /* A match backs out of at most each character of the text, once for each of a few repeats. */
    uint64_t steps = 1000000 + 16 * (uint64_t)len;

    pcre2_set_match_limit(s->context, steps > UINT32_MAX ? UINT32_MAX : (uint32_t)steps);
    return split_from(p, s, 0, text, len, piece, arg);
}
