/* fuzz_tokenizer.c - any text under good vocabularies, and any vocabulary that can be written in a
 * file.
 *
 * Byte 0 chooses: 0 to 5 one of the good vocabularies, then flags, up to three stop strings, a
 * text; else a vocabulary is made of what follows. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "model/text/detok.h"
#include "model/text/utf8.h"
#include "tests/unit/text/vocab_build.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define N_BYTE_LEVEL 5
#define N_GOOD (N_BYTE_LEVEL + 1)
#define MAX_TEXT 4096

struct input {
    const uint8_t *at;
    size_t left;
};

static uint8_t next(struct input *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->at++;
}

/* Up to 15 bytes, NUL-terminated. */
static void next_str(struct input *in, char ret_text[16])
{
    size_t len = next(in) % 16, n = 0;

    while (n < len && in->left)
        ret_text[n++] = (char)next(in);
    ret_text[n] = '\0';
}

/* ---- good vocabularies ---- */

static struct tokenizer *open_file(struct vocab_file *f)
{
    struct tokenizer *t = NULL;
    int r = file_open(f, &t, NULL);

    assert(r == ST_OK);
    return t;
}

static struct tokenizer *open_good(size_t which)
{
    static const char *const pres[N_BYTE_LEVEL] = {"gpt-2", "smollm", "llama-bpe", "qwen2",
                                                   "default"};
    static const struct token words[] = {
        {"<s>", CONTROL, 0},
        {"<|im_end|>", CONTROL, 0},
        {"<u>", USER, 0},
        {"aa", NORMAL, 0},
        {"aaaa", NORMAL, 0},
        {"ab", NORMAL, 0},
        {"\xc4\xa0\xc4\xa0", NORMAL, 0},
        {"\xc4\xa0"
         "a",
         NORMAL, 0},
        {"12", NORMAL, 0},
        {"<s", NORMAL, 0},
        {"\xc3\xb0\xc5\x81", NORMAL, 0},
        {"whole", NORMAL, 0},
    };
    static const char *const merges[] = {"a a", "aa aa", "a b",  "\xc4\xa0 \xc4\xa0", "\xc4\xa0 a",
                                         "1 2", "< s",   "<s >", "\xc3\xb0 \xc5\x81"};
    static const struct token some_pieces[] = {
        {"\xe2\x96\x81", NORMAL, -1},
        {"a", NORMAL, -1},
        {"b", NORMAL, -1},
        {"aa", NORMAL, -2},
        {"aaa", NORMAL, -2},
        {"ab", NORMAL, -3},
        {"\xe2\x96\x81"
         "a",
         NORMAL, -2},
        {"<", NORMAL, -1},
        {"s", NORMAL, -1},
        {"<s", NORMAL, -1},
        {">", NORMAL, -1},
        {"\xe2\x96\x81\xe2\x96\x81", NORMAL, -4},
        {"\xc3\xa9", NORMAL, -5},
    };
    struct vocab_file f = {0};

    if (which < N_BYTE_LEVEL)
        byte_level(&f, pres[which], words, sizeof(words) / sizeof(*words), merges,
                   sizeof(merges) / sizeof(*merges));
    else
        pieces(&f, some_pieces, sizeof(some_pieces) / sizeof(*some_pieces));
    return open_file(&f);
}

/* ---- what must hold ---- */

/* The ids' text, control tokens by name, is the text that was tokenized. */
static void check_round_trip(const struct tokenizer *t, const char *text, size_t len,
                             const int32_t *ids, size_t n)
{
    size_t at = 0;

    for (size_t i = 0; i < n; i++) {
        const char *bytes;
        size_t n_bytes;
        int r = tokenizer_bytes(t, ids[i], &bytes, &n_bytes);

        assert(r == ST_OK);
        if (n_bytes == 0)
            tokenizer_name(t, ids[i], &bytes, &n_bytes);
        assert(n_bytes <= len - at && memcmp(text + at, bytes, n_bytes) == 0);
        assert(n_bytes <= tokenizer_longest(t));
        at += n_bytes;
    }
    assert(at == len);
}

/* The same for pieces without special tokens: a space before all, U+2581 is a space. */
static void check_pieces(const struct tokenizer *t, const char *text, size_t len,
                         const int32_t *ids, size_t n)
{
    char want[MAX_TEXT + 1];
    size_t n_want = 0, at = 0;

    if (len)
        want[n_want++] = ' ';
    for (size_t i = 0; i < len; i++) {
        bool mark = len - i >= 3 && memcmp(text + i, "\xe2\x96\x81", 3) == 0;

        want[n_want++] = mark ? ' ' : text[i];
        i += mark ? 2 : 0;
    }
    for (size_t i = 0; i < n; i++) {
        const char *bytes;
        size_t n_bytes;

        tokenizer_bytes(t, ids[i], &bytes, &n_bytes);
        assert(n_bytes <= n_want - at && memcmp(want + at, bytes, n_bytes) == 0);
        at += n_bytes;
    }
    assert(at == n_want);
}

/* Shown in pieces of whole characters, without a stop string, and all of it unless one appeared. */
static void check_detok(const struct tokenizer *t, const int32_t *ids, size_t n,
                        const char *const *stops, size_t n_stops)
{
    struct detok *d = NULL;
    size_t longest = tokenizer_longest(t), n_all = 0, max = 3 * (n + 2) * (longest + 1);
    char *all = malloc(max);
    const char *text;
    size_t len;
    int stop = -1;

    if (detok_new(t, stops, n_stops, &d)) {
        free(all);
        return;
    }
    for (size_t i = 0; i <= n; i++) {
        int r = i < n ? detok_push(d, ids[i], &text, &len, &stop) : detok_finish(d, &text, &len);

        assert(r == ST_OK && utf8_span(text, len) == len && n_all + len <= max);
        memcpy(all + n_all, text, len);
        n_all += len;
    }
    for (size_t i = 0; i < n_stops; i++)
        assert(!memmem(all, n_all, stops[i], strlen(stops[i])));
    assert(stop < (int)n_stops);
    detok_free(d);
    free(all);
}

/* ---- the two ways ---- */

static void run_text(const struct tokenizer *t, bool byte_family, struct input *in)
{
    unsigned flags = next(in) & 7;
    size_t n_stops = next(in) % 4, n = 0;
    char stops[3][16];
    const char *const stop_list[3] = {stops[0], stops[1], stops[2]};
    int32_t *ids = NULL;

    for (size_t i = 0; i < n_stops; i++)
        next_str(in, stops[i]);
    size_t len = in->left < MAX_TEXT ? in->left : MAX_TEXT;
    const char *text = (const char *)in->at;
    int r = tokenizer_encode(t, text, len, flags, &ids, &n, NULL);
    if (flags & MODEL_TEXT_BOS && tokenizer_bos(t) < 0) {
        assert(r == ST_INVALID);
        return;
    }
    assert(r == ST_OK);
    if (byte_family)
        check_round_trip(t, text, len, ids, n);
    else if (flags == 0)
        check_pieces(t, text, len, ids, n);
    check_detok(t, ids, n, stop_list, n_stops);
    free(ids);
}

static void run_vocab(struct input *in)
{
    static const char *const pres[] = {"gpt-2", "smollm", "llama-bpe", "qwen2", "default", "x"};
    static const char *const id_keys[] = {"bos", "eos", "eot", "eom", "unknown"};
    uint8_t choice = next(in);
    size_t n = next(in) % 64, n_merges = next(in) % 32;
    char text[64];
    struct vocab_file f = {0};
    struct tokenizer *t = NULL;

    key_str(&f, "tokenizer.ggml.model", choice & 1 ? "gpt2" : "llama");
    key_str(&f, "tokenizer.ggml.pre", pres[(choice >> 1) % 6]);
    key_array(&f, "tokenizer.ggml.tokens", GGUF_V_STRING, n);
    for (size_t i = 0; i < n; i++) {
        next_str(in, text);
        put_str(&f, text);
    }
    key_array(&f, "tokenizer.ggml.token_type", GGUF_V_I32, n);
    for (size_t i = 0; i < n; i++) {
        uint8_t kind = next(in);

        put_u32(&f, kind <= BYTE ? kind : NORMAL);
    }
    key_array(&f, "tokenizer.ggml.scores", GGUF_V_F32, n);
    for (size_t i = 0; i < n; i++)
        put_u32(&f, (uint32_t)next(in) << 24 | next(in));
    key_array(&f, "tokenizer.ggml.merges", GGUF_V_STRING, n_merges);
    for (size_t i = 0; i < n_merges; i++) {
        next_str(in, text);
        put_str(&f, text);
    }
    for (size_t i = 0; i < 5 && choice & 128; i++) {
        snprintf(text, sizeof(text), "tokenizer.ggml.%s_token_id", id_keys[i]);
        key_u32(&f, text, next(in));
    }
    if (file_open(&f, &t, NULL))
        return;
    for (unsigned flags = 0; flags < 8; flags += 2) {
        int32_t *ids = NULL;

        size_t len = in->left < MAX_TEXT ? in->left : MAX_TEXT;
        int r = tokenizer_encode(t, (const char *)in->at, len, flags, &ids, &n, NULL);
        assert(r == ST_OK);
        check_detok(t, ids, n, NULL, 0);
        free(ids);
    }
    tokenizer_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *good[N_GOOD];
    struct input in = {data, size};
    uint8_t which = next(&in);

    if (which >= N_GOOD) {
        run_vocab(&in);
        return 0;
    }
    if (!good[which])
        good[which] = open_good(which);
    run_text(good[which], which < N_BYTE_LEVEL, &in);
    return 0;
}
