/* vocab.h - the tokens of a file: names, kinds, scores, the bytes they stand for, and a lookup by
 * name.
 *
 * Owner:   immutable after vocab_open.
 * Memory:  everything is copied out of the file; vocab_done gives it back.
 * Errors:  ST_FORMAT, ST_NOMEM with a sentence naming the file and the key.
 * Threads: any thread may read. */
#ifndef OCTET_MODEL_TEXT_VOCAB_H
#define OCTET_MODEL_TEXT_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/status.h"
#include "model/format/gguf.h"

enum vocab_family {
    VOCAB_BYTES, /* byte-level BPE ("gpt2") */
    VOCAB_PIECES /* SentencePiece-style BPE ("llama") */
};

/* tokenizer.ggml.token_type by GGUF's own numbers. */
enum token_kind {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3,
    TOKEN_USER = 4, /* user-defined: found in any text before all else */
    TOKEN_UNUSED = 5,
    TOKEN_BYTE = 6,
};

/* Bytes of one token's name: bounds the time that looking for one takes. */
#define VOCAB_NAME_BYTES 65535u

/* n strings in one block: string i is data[at[i]] up to data[at[i + 1]]. */
struct strings {
    char *data;
    uint32_t *at;
};

struct vocab {
    enum vocab_family family;
    uint32_t n;
    struct strings names;
    struct strings bytes; /* what a token adds to a text: nothing for control and unknown */
    uint8_t *kinds;       /* enum token_kind */
    bool *ends;           /* ends a text */
    uint32_t *orders;     /* VOCAB_PIECES: by falling score, see merge.h; else NULL */
    uint32_t *slots;      /* hash of names → id + 1; 0 is free */
    uint32_t mask;
    uint32_t longest; /* bytes of the longest name */
    int32_t bos, unk; /* -1: none */
};

int vocab_open(const struct gguf *g, enum vocab_family family, struct vocab *ret_vocab,
               struct error *err);
void vocab_done(struct vocab *v); /* half-built is fine */

/* -1: no token of that name. */
int32_t vocab_find(const struct vocab *v, const char *name, size_t len);
/* The same for what plain text may become: control, unknown and byte tokens are not found, so no
 * text turns into one by its spelling. */
int32_t vocab_find_plain(const struct vocab *v, const char *name, size_t len);

static inline const char *vocab_name(const struct vocab *v, int32_t id, size_t *ret_len)
{
    *ret_len = v->names.at[id + 1] - v->names.at[id];
    return v->names.data + v->names.at[id];
}

#endif
