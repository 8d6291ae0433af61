/* tokenizer.h - text → token ids, and the bytes a token stands for.
 *
 * Two families, as GGUF names them in tokenizer.ggml.model: "gpt2" (byte-level BPE with merges;
 * pre-tokenizers gpt-2, smollm, llama-bpe, qwen2, default) and "llama" (SentencePiece-style BPE by
 * scores, byte fallback, space prefix).
 *
 * Special tokens: user-defined ones are found by name in any text, control and unknown ones only
 * with MODEL_TEXT_SPECIAL; the leftmost name wins, and of those that begin there the longest. No
 * spelling turns plain text into a control token. An end token's name (vocab.c) that the file calls
 * user-defined, or to which it gives no type, is a control token here.
 *
 * Round trip: byte-level ids give back the text byte for byte, broken UTF-8 too, as far as the
 * vocabulary has the bytes: one that is no token is left out. SentencePiece ids give back the text
 * with the space that was put first, and U+2581 as a space; a character it can't write is the
 * unknown token, which is nothing. No Unicode normalization: GGUF does not say which.
 *
 * Owner:   immutable after open; any thread may tokenize at once (scratch is per call).
 * Memory:  everything needed is copied out of the file, so the map may be closed. Scratch: up to
 *          50 bytes for each byte of the longest piece (byte-level) or of the text
 *          (SentencePiece).
 * Errors:  ST_FORMAT/ST_UNSUPPORTED at open, naming the key; later ST_NOMEM, ST_TOOLONG (512
 *          MiB), ST_INVALID (BOS where there is none), ST_INTERNAL (PCRE2 gave up on a pattern).
 * Cost:    merging is O(n log n). */
#ifndef OCTET_MODEL_TEXT_TOKENIZER_H
#define OCTET_MODEL_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/status.h"

struct gguf;
struct tokenizer;

/* Flags are MODEL_TEXT_* of model.h, by value. */
int tokenizer_open(const struct gguf *gguf, struct tokenizer **ret_tokenizer, struct error *err);
void tokenizer_free(struct tokenizer *t);

uint32_t tokenizer_n_vocab(const struct tokenizer *t);
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
                     int32_t **ret_ids, size_t *ret_n, struct error *err);
/* Bytes that id adds to a text (control and unknown tokens: none). Owned by t. ST_INVALID: no
 * token. */
int tokenizer_bytes(const struct tokenizer *t, int32_t id, const char **ret_bytes, size_t *ret_len);
/* The name as the vocabulary writes it, control tokens too. */
int tokenizer_name(const struct tokenizer *t, int32_t id, const char **ret_name, size_t *ret_len);
/* The most bytes of text that one token stands for, special tokens' names included. */
size_t tokenizer_longest(const struct tokenizer *t);
bool tokenizer_is_end(const struct tokenizer *t, int32_t id);
int32_t tokenizer_bos(const struct tokenizer *t);  /* -1: none */
bool tokenizer_add_bos(const struct tokenizer *t); /* false where there is none */
/* SentencePiece: the first piece of a text starts with a space that is not part of it. */
bool tokenizer_strips_first_space(const struct tokenizer *t);

#endif
