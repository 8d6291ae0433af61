#include "model/text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "model/format/gguf.h"
#include "model/model.h"
#include "model/text/bpe.h"
#include "model/text/special.h"
#include "model/text/spm.h"
#include "model/text/utf8.h"

#define KEY_MODEL "tokenizer.ggml.model"

/* Scratch takes up to three bytes of text and one symbol a byte, all numbered in 32 bits. */
#define TEXT_MAX_BYTES ((size_t)INT32_MAX / 4)

struct tokenizer {
    struct vocab vocab;
    struct bpe *bpe;               /* VOCAB_BYTES */
    struct spm_bytes spm_bytes;    /* VOCAB_PIECES */
    struct special always, parsed; /* found without and with MODEL_TEXT_SPECIAL */
    bool space_first;
    bool add_bos;
    size_t longest;
};

/* ---- opening ---- */

static int read_family(const struct gguf *g, enum vocab_family *ret_family, struct error *err)
{
    struct gguf_str model;
    int r;

    if (!gguf_key(g, KEY_MODEL))
        return error_set(err, ST_UNSUPPORTED,
                         "%s: the file holds no tokenizer (key '%s' is missing); octet needs one "
                         "of gpt2 or llama",
                         gguf_path(g), KEY_MODEL);
    if ((r = gguf_get_str(g, KEY_MODEL, &model, err)))
        return r;
    if (model.len == 4 && memcmp(model.data, "gpt2", 4) == 0) {
        *ret_family = VOCAB_BYTES;
        return ST_OK;
    }
    if (model.len == 5 && memcmp(model.data, "llama", 5) == 0) {
        *ret_family = VOCAB_PIECES;
        return ST_OK;
    }
    if ((model.len == 8 && memcmp(model.data, "no_vocab", 8) == 0) ||
        (model.len == 4 && memcmp(model.data, "none", 4) == 0))
        return error_set(err, ST_UNSUPPORTED,
                         "%s: the file says that it has no vocabulary (%s is '%s'); octet needs "
                         "one of gpt2 or llama",
                         gguf_path(g), KEY_MODEL, gguf_show(model).text);
    return error_set(err, ST_UNSUPPORTED, "%s: %s is '%s', which is not built; gpt2 and llama are",
                     gguf_path(g), KEY_MODEL, gguf_show(model).text);
}

/* A bool that stays as it is where the key is absent. */
static int read_flag(const struct gguf *g, const char *key, bool *flag, struct error *err)
{
    return gguf_key(g, key) ? gguf_get_bool(g, key, flag, err) : ST_OK;
}

static int read_flags(const struct gguf *g, struct tokenizer *t, struct error *err)
{
    bool pieces = t->vocab.family == VOCAB_PIECES;
    int r;

    t->add_bos = pieces || bpe_add_bos(t->bpe);
    t->space_first = pieces;
    if ((r = read_flag(g, "tokenizer.ggml.add_bos_token", &t->add_bos, err)))
        return r;
    if (pieces && (r = read_flag(g, "tokenizer.ggml.add_space_prefix", &t->space_first, err)))
        return r;
    t->add_bos = t->add_bos && t->vocab.bos >= 0;
    return ST_OK;
}

static void measure(struct tokenizer *t)
{
    const struct vocab *v = &t->vocab;

    t->longest = t->parsed.longest;
    if (t->longest < UTF8_MAX) /* the unknown token stands for any character */
        t->longest = UTF8_MAX;
    for (uint32_t i = 0; i < v->n; i++) {
        size_t len = v->bytes.at[i + 1] - v->bytes.at[i];

        if (len > t->longest)
            t->longest = len;
    }
}

int tokenizer_open(const struct gguf *gguf, struct tokenizer **ret_tokenizer, struct error *err)
{
    enum vocab_family family = VOCAB_BYTES;
    struct tokenizer *t = NULL;
    int r = read_family(gguf, &family, err);

    if (r)
        return r;
    t = calloc(1, sizeof(*t));
    if (!t) {
        r = error_set(err, ST_NOMEM, "%s: no memory for the tokenizer", gguf_path(gguf));
        goto out;
    }
    if ((r = vocab_open(gguf, family, &t->vocab, err)))
        goto out;
    if (family == VOCAB_BYTES && (r = bpe_open(gguf, &t->vocab, &t->bpe, err)))
        goto out;
    if (family == VOCAB_PIECES)
        spm_find_bytes(&t->vocab, &t->spm_bytes);
    if ((r = read_flags(gguf, t, err)))
        goto out;
    if ((r = special_open(&t->vocab, false, &t->always)) ||
        (r = special_open(&t->vocab, true, &t->parsed))) {
        error_set(err, r, "%s: no memory for the special tokens", gguf_path(gguf));
        goto out;
    }
    measure(t);
    *ret_tokenizer = t;
    t = NULL;
out:
    tokenizer_free(t);
    return r;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    special_done(&t->always);
    special_done(&t->parsed);
    bpe_free(t->bpe);
    vocab_done(&t->vocab);
    free(t);
}

/* ---- encoding ---- */

struct encoder {
    const struct tokenizer *t;
    struct bpe_scratch *bpe;
    struct spm_scratch spm;
    struct id_list ids;
};

/* Text between special tokens. Pieces are written as if a space stood before each such text. */
static int encode_text(struct encoder *e, const char *text, size_t len)
{
    const struct tokenizer *t = e->t;

    if (t->vocab.family == VOCAB_BYTES)
        return bpe_encode(t->bpe, e->bpe, text, len, &e->ids);
    return spm_encode(&t->vocab, &t->spm_bytes, &e->spm, text, len, t->space_first, &e->ids);
}

static int encode_parts(struct encoder *e, const char *text, size_t len, unsigned flags)
{
    const struct vocab *v = &e->t->vocab;
    const struct special *special = flags & MODEL_TEXT_SPECIAL ? &e->t->parsed : &e->t->always;
    int r;

    for (size_t at = 0; at < len;) {
        size_t end, n;
        int32_t id = special_find(special, v, text, len, at, &end);

        if (end > at && (r = encode_text(e, text + at, end - at)))
            return r;
        at = end;
        if (id < 0)
            continue;
        if ((r = id_list_push(&e->ids, id)))
            return r;
        vocab_name(v, id, &n);
        at += n;
    }
    return ST_OK;
}

static int put_bos(struct encoder *e, unsigned flags)
{
    int32_t bos = e->t->vocab.bos;
    int r;

    if (!(flags & MODEL_TEXT_BOS) &&
        !(flags & MODEL_TEXT_BOS_AUTO && e->t->add_bos && (e->ids.n == 0 || *e->ids.ids != bos)))
        return ST_OK;
    if ((r = id_list_push(&e->ids, bos)))
        return r;
    memmove(e->ids.ids + 1, e->ids.ids, (e->ids.n - 1) * sizeof(*e->ids.ids));
    e->ids.ids[0] = bos;
    return ST_OK;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
                     int32_t **ret_ids, size_t *ret_n, struct error *err)
{
    struct encoder e = {.t = t};
    int r;

    if (len > TEXT_MAX_BYTES)
        return error_set(err, ST_TOOLONG,
                         "the text has %zu bytes; at most %zu are tokenized at once", len,
                         TEXT_MAX_BYTES);
    if (flags & MODEL_TEXT_BOS && t->vocab.bos < 0)
        return error_set(err, ST_INVALID, "the vocabulary has no BOS token to put first");
    if (t->bpe && (r = bpe_scratch_new(t->bpe, &e.bpe)))
        goto out;
    if ((r = encode_parts(&e, text, len, flags)) || (r = put_bos(&e, flags)))
        goto out;
    *ret_ids = e.ids.ids;
    *ret_n = e.ids.n;
    e.ids.ids = NULL;
out:
    if (r == ST_NOMEM)
        error_set(err, r, "no memory to tokenize a text of %zu bytes", len);
    else if (r)
        error_set(err, r, "the pre-tokenizer's pattern gave up on this text");
    bpe_scratch_free(e.bpe);
    spm_scratch_done(&e.spm);
    free(e.ids.ids);
    return r;
}

/* ---- facts ---- */

uint32_t tokenizer_n_vocab(const struct tokenizer *t)
{
    return t->vocab.n;
}

static bool is_token(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->vocab.n;
}

int tokenizer_bytes(const struct tokenizer *t, int32_t id, const char **ret_bytes, size_t *ret_len)
{
    const struct strings *bytes = &t->vocab.bytes;

    if (!is_token(t, id))
        return ST_INVALID;
    *ret_bytes = bytes->data + bytes->at[id];
    *ret_len = bytes->at[id + 1] - bytes->at[id];
    return ST_OK;
}

int tokenizer_name(const struct tokenizer *t, int32_t id, const char **ret_name, size_t *ret_len)
{
    if (!is_token(t, id))
        return ST_INVALID;
    *ret_name = vocab_name(&t->vocab, id, ret_len);
    return ST_OK;
}

size_t tokenizer_longest(const struct tokenizer *t)
{
    return t->longest;
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id)
{
    return is_token(t, id) && t->vocab.ends[id];
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->vocab.bos;
}

bool tokenizer_add_bos(const struct tokenizer *t)
{
    return t->add_bos;
}

bool tokenizer_strips_first_space(const struct tokenizer *t)
{
    return t->space_first;
}
