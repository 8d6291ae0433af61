#include "model/text/vocab.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "model/text/alphabet.h"

#define KEY_TOKENS "tokenizer.ggml.tokens"
#define KEY_TYPES "tokenizer.ggml.token_type"
#define KEY_SCORES "tokenizer.ggml.scores"
#define WORD_MARK "\xe2\x96\x81" /* U+2581: how pieces write a space */

/* Names that end a text whichever id the file calls eos. */
static const char *const end_names[] = {
    "<|endoftext|>", "<|im_end|>",      "<|eot_id|>",    "<|eom_id|>",
    "<|end|>",       "<|end_of_text|>", "<end_of_turn>", "</s>",
};

/* ---- lookup ---- */

static uint32_t hash_name(const char *name, size_t len)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ len;

    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)name[i]) * 0x100000001b3u;
    return (uint32_t)(h ^ h >> 32);
}

/* The slot that holds the name, or the free one where it belongs. */
static uint32_t *find_slot(const struct vocab *v, const char *name, size_t len)
{
    for (uint32_t i = hash_name(name, len) & v->mask;; i = (i + 1) & v->mask) {
        size_t n;

        if (v->slots[i] == 0)
            return &v->slots[i];
        const char *other = vocab_name(v, (int32_t)(v->slots[i] - 1), &n);
        if (n == len && memcmp(other, name, len) == 0)
            return &v->slots[i];
    }
}

int32_t vocab_find(const struct vocab *v, const char *name, size_t len)
{
    return (int32_t)*find_slot(v, name, len) - 1;
}

int32_t vocab_find_plain(const struct vocab *v, const char *name, size_t len)
{
    int32_t id = vocab_find(v, name, len);

    if (id < 0 || v->kinds[id] == TOKEN_CONTROL || v->kinds[id] == TOKEN_UNKNOWN ||
        v->kinds[id] == TOKEN_BYTE)
        return -1;
    return id;
}

/* ---- opening ---- */

static int read_names(const struct gguf *g, struct vocab *v, struct error *err)
{
    struct gguf_array a;
    uint64_t total = 0;
    int r = gguf_get_strs(g, KEY_TOKENS, &a, err);

    if (r)
        return r == ST_NOTFOUND ? ST_FORMAT : r;
    if (a.n == 0 || a.n > LIMIT_VOCAB)
        return error_set(err, ST_FORMAT, "%s: %s holds %" PRIu64 " tokens; 1 to %u are possible",
                         gguf_path(g), KEY_TOKENS, a.n, LIMIT_VOCAB);
    v->n = (uint32_t)a.n;
    for (uint32_t i = 0; i < v->n; i++) {
        if (a.strs[i].len > VOCAB_NAME_BYTES)
            return error_set(err, ST_FORMAT,
                             "%s: token %u of %s has %zu bytes; at most %u are possible",
                             gguf_path(g), i, KEY_TOKENS, a.strs[i].len, VOCAB_NAME_BYTES);
        total += a.strs[i].len;
    }
    if (total > UINT32_MAX)
        return error_set(err, ST_FORMAT, "%s: the tokens of %s have more than 4 GiB", gguf_path(g),
                         KEY_TOKENS);
    v->names.data = malloc(total ? total : 1);
    v->names.at = calloc((size_t)v->n + 1, sizeof(*v->names.at));
    if (!v->names.data || !v->names.at)
        return ST_NOMEM;
    for (uint32_t i = 0; i < v->n; i++) {
        uint32_t at = v->names.at[i], len = (uint32_t)a.strs[i].len;

        if (len)
            memcpy(v->names.data + at, a.strs[i].data, len);
        v->names.at[i + 1] = at + len;
        if (len > v->longest)
            v->longest = len;
    }
    return ST_OK;
}

static int index_names(const struct gguf *g, struct vocab *v, struct error *err)
{
    uint32_t n_slots = 4;

    while (n_slots < 2 * v->n)
        n_slots *= 2;
    v->mask = n_slots - 1;
    v->slots = calloc(n_slots, sizeof(*v->slots));
    if (!v->slots)
        return ST_NOMEM;
    for (uint32_t i = 0; i < v->n; i++) {
        size_t len;
        const char *name = vocab_name(v, (int32_t)i, &len);
        uint32_t *slot = find_slot(v, name, len);

        /* Padding may repeat the empty name; it never matches anything. */
        if (len == 0)
            continue;
        if (*slot)
            return error_set(err, ST_FORMAT, "%s: tokens %u and %u of %s are both '%s'",
                             gguf_path(g), *slot - 1, i, KEY_TOKENS,
                             gguf_show((struct gguf_str){name, len}).text);
        *slot = i + 1;
    }
    return ST_OK;
}

/* An array of one number a token. Absent: ST_NOTFOUND, and err is left alone. */
static int get_per_token(const struct gguf *g, const struct vocab *v, const char *key,
                         int (*get)(const struct gguf *, const char *, struct gguf_array *,
                                    struct error *),
                         struct gguf_array *ret, struct error *err)
{
    struct gguf_array a;
    int r;

    if (!gguf_key(g, key))
        return ST_NOTFOUND;
    if ((r = get(g, key, &a, err)))
        return r;
    if (a.n != v->n)
        return error_set(err, ST_FORMAT, "%s: %s holds %" PRIu64 " values for %u tokens",
                         gguf_path(g), key, a.n, v->n);
    *ret = a;
    return ST_OK;
}

/* "<0xXX>" → XX, else -1. */
static int byte_of_name(const char *name, size_t len)
{
    int value = 0;

    if (len != 6 || memcmp(name, "<0x", 3) != 0 || name[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        char c = name[i];

        if (c >= '0' && c <= '9')
            value = value * 16 + (c - '0');
        else if (c >= 'A' && c <= 'F')
            value = value * 16 + (c - 'A' + 10);
        else
            return -1;
    }
    return value;
}

static int read_kinds(const struct gguf *g, struct vocab *v, struct error *err)
{
    struct gguf_array a;
    int r = get_per_token(g, v, KEY_TYPES, gguf_get_ints, &a, err);

    if (r && r != ST_NOTFOUND)
        return r;
    v->kinds = calloc(v->n, sizeof(*v->kinds));
    if (!v->kinds)
        return ST_NOMEM;
    for (uint32_t i = 0; i < v->n; i++) {
        size_t len;
        const char *name = vocab_name(v, (int32_t)i, &len);
        bool is_byte = byte_of_name(name, len) >= 0;
        int32_t kind;

        if (r == ST_NOTFOUND)
            kind = is_byte && v->family == VOCAB_PIECES ? TOKEN_BYTE : TOKEN_NORMAL;
        else
            kind = gguf_array_i32(&a, i);
        if (kind == 0)
            kind = TOKEN_UNUSED; /* GGUF's "undefined" */
        if (kind < TOKEN_NORMAL || kind > TOKEN_BYTE)
            return error_set(err, ST_FORMAT, "%s: %s of token %u is %d; 0 to %d are possible",
                             gguf_path(g), KEY_TYPES, i, kind, TOKEN_BYTE);
        if (kind == TOKEN_BYTE && !is_byte)
            return error_set(err, ST_FORMAT,
                             "%s: %s calls token %u '%s' a byte; those are named <0x00> to <0xFF>",
                             gguf_path(g), KEY_TYPES, i,
                             gguf_show((struct gguf_str){name, len}).text);
        v->kinds[i] = (uint8_t)kind;
    }
    return ST_OK;
}

/* Floats as integers that fall while the score rises. */
static uint32_t order_of(float score)
{
    uint32_t bits;

    score += 0.0f; /* -0 is 0 */
    memcpy(&bits, &score, sizeof(bits));
    return bits >> 31 ? bits : ~(bits | 0x80000000u);
}

static int read_scores(const struct gguf *g, struct vocab *v, struct error *err)
{
    struct gguf_array a;
    int r;

    if (v->family != VOCAB_PIECES)
        return ST_OK;
    r = get_per_token(g, v, KEY_SCORES, gguf_get_floats, &a, err);
    if (r == ST_NOTFOUND)
        return error_set(err, ST_FORMAT, "%s: key '%s' is missing, which this vocabulary needs",
                         gguf_path(g), KEY_SCORES);
    if (r)
        return r;
    v->orders = calloc(v->n, sizeof(*v->orders));
    if (!v->orders)
        return ST_NOMEM;
    for (uint32_t i = 0; i < v->n; i++) {
        float score = gguf_array_f32(&a, i);

        if (!isfinite(score))
            return error_set(err, ST_FORMAT, "%s: %s of token %u is not a finite number",
                             gguf_path(g), KEY_SCORES, i);
        v->orders[i] = order_of(score);
    }
    return ST_OK;
}

/* A token's id by key: fallback where the key is absent, -1 where it says "none". */
static int read_id(const struct gguf *g, const struct vocab *v, const char *key, int32_t fallback,
                   int32_t *ret_id, struct error *err)
{
    int64_t id;
    int r;

    if (!gguf_key(g, key)) {
        *ret_id = fallback >= 0 && (uint32_t)fallback < v->n ? fallback : -1;
        return ST_OK;
    }
    if ((r = gguf_get_i64(g, key, &id, err)))
        return r;
    if (id == -1 || id == UINT32_MAX) {
        *ret_id = -1;
        return ST_OK;
    }
    if (id < 0 || id >= v->n)
        return error_set(err, ST_FORMAT, "%s: %s is %" PRId64 "; the vocabulary ends at %u",
                         gguf_path(g), key, id, v->n - 1);
    *ret_id = (int32_t)id;
    return ST_OK;
}

/* Without a key SentencePiece's own numbers hold (unk 0, bos 1, eos 2); byte-level files have none.
 */
static int read_ids(const struct gguf *g, struct vocab *v, struct error *err)
{
    static const char *const end_keys[] = {"tokenizer.ggml.eos_token_id",
                                           "tokenizer.ggml.eot_token_id",
                                           "tokenizer.ggml.eom_token_id"};
    bool pieces = v->family == VOCAB_PIECES;
    int r;

    v->ends = calloc(v->n, sizeof(*v->ends));
    if (!v->ends)
        return ST_NOMEM;
    if ((r = read_id(g, v, "tokenizer.ggml.bos_token_id", pieces ? 1 : -1, &v->bos, err)) ||
        (r = read_id(g, v, "tokenizer.ggml.unknown_token_id", pieces ? 0 : -1, &v->unk, err)))
        return r;
    for (size_t i = 0; i < sizeof(end_keys) / sizeof(*end_keys); i++) {
        int32_t id;

        if ((r = read_id(g, v, end_keys[i], pieces && i == 0 ? 2 : -1, &id, err)))
            return r;
        if (id >= 0)
            v->ends[id] = true;
    }
    return ST_OK;
}

/* An end's name counts when the token is a control token; files of chat models often call it
 * user-defined, and files without types call it nothing: it is then made a control token. */
static void mark_end_names(const struct gguf *g, struct vocab *v)
{
    bool typed = gguf_key(g, KEY_TYPES);

    for (size_t i = 0; i < sizeof(end_names) / sizeof(*end_names); i++) {
        int32_t id = vocab_find(v, end_names[i], strlen(end_names[i]));

        if (id < 0 || (typed && v->kinds[id] != TOKEN_CONTROL && v->kinds[id] != TOKEN_USER))
            continue;
        v->kinds[id] = TOKEN_CONTROL;
        v->ends[id] = true;
    }
}

static size_t copy_bytes(char *to, const char *from, size_t n)
{
    memcpy(to, from, n);
    return n;
}

/* The bytes of token id → to, at most as many as its name has. */
static size_t write_bytes(const struct vocab *v, int32_t id, char *to)
{
    size_t len, n = 0;
    const char *name = vocab_name(v, id, &len);

    switch (v->kinds[id]) {
    case TOKEN_CONTROL:
    case TOKEN_UNKNOWN:
        return 0;
    case TOKEN_USER:
        return copy_bytes(to, name, len);
    case TOKEN_BYTE:
        *to = (char)byte_of_name(name, len);
        return 1;
    default:
        break;
    }
    if (v->family == VOCAB_BYTES)
        return alphabet_read(name, len, to, &n) ? n : copy_bytes(to, name, len);
    for (size_t i = 0; i < len; i++) {
        if (len - i >= 3 && memcmp(name + i, WORD_MARK, 3) == 0) {
            to[n++] = ' ';
            i += 2;
        } else {
            to[n++] = name[i];
        }
    }
    return n;
}

static int make_bytes(struct vocab *v)
{
    size_t total = v->names.at[v->n];

    v->bytes.data = malloc(total ? total : 1);
    v->bytes.at = calloc((size_t)v->n + 1, sizeof(*v->bytes.at));
    if (!v->bytes.data || !v->bytes.at)
        return ST_NOMEM;
    for (uint32_t i = 0; i < v->n; i++) {
        uint32_t at = v->bytes.at[i];

        v->bytes.at[i + 1] = at + (uint32_t)write_bytes(v, (int32_t)i, v->bytes.data + at);
    }
    return ST_OK;
}

int vocab_open(const struct gguf *g, enum vocab_family family, struct vocab *ret_vocab,
               struct error *err)
{
    struct vocab v = {.family = family, .bos = -1, .unk = -1};
    int r;

    if ((r = read_names(g, &v, err)) || (r = index_names(g, &v, err)) ||
        (r = read_kinds(g, &v, err)) || (r = read_scores(g, &v, err)) || (r = read_ids(g, &v, err)))
        goto out;
    mark_end_names(g, &v);
    if ((r = make_bytes(&v)))
        goto out;
    *ret_vocab = v;
    v = (struct vocab){0};
out:
    if (r == ST_NOMEM)
        error_set(err, r, "%s: no memory for the vocabulary", gguf_path(g));
    vocab_done(&v);
    return r;
}

void vocab_done(struct vocab *v)
{
    free(v->names.data);
    free(v->names.at);
    free(v->bytes.data);
    free(v->bytes.at);
    free(v->kinds);
    free(v->ends);
    free(v->orders);
    free(v->slots);
    *v = (struct vocab){0};
}
