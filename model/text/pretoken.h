/* pretoken.h - cut a text into the pieces that byte-level BPE merges in, by the patterns GGUF names
 * in tokenizer.ggml.pre.
 *
 * A pre-tokenizer is a list of patterns: the first cuts the text into its matches and what lies
 * between them, the next one cuts each of those, and so on.
 *
 * Owner:   struct pretoken is immutable; struct pretoken_scratch belongs to one call.
 * Memory:  compiled patterns; scratch is a few hundred bytes and what PCRE2 takes while it matches.
 * Errors:  ST_UNSUPPORTED for a name that is not built, ST_NOMEM, ST_INTERNAL when PCRE2 gives up.
 * Threads: any thread may split at once, each with its own scratch. */
#ifndef OCTET_MODEL_TEXT_PRETOKEN_H
#define OCTET_MODEL_TEXT_PRETOKEN_H

#include <stdbool.h>
#include <stddef.h>

#include "config/status.h"
#include "model/format/gguf.h"

struct pretoken;
struct pretoken_scratch;

/* path is for messages. */
int pretoken_open(const char *path, struct gguf_str name, struct pretoken **ret_pretoken,
                  struct error *err);
void pretoken_free(struct pretoken *p);
/* A whole piece that is a token is taken as it is, without merging. */
bool pretoken_whole_first(const struct pretoken *p);
/* Whether BOS goes first where the file does not say. */
bool pretoken_add_bos(const struct pretoken *p);

int pretoken_scratch_new(struct pretoken_scratch **ret_scratch);
void pretoken_scratch_free(struct pretoken_scratch *s);

/* Call piece for each piece of text in order; together they are the text. text must be whole UTF-8
 * characters. Whatever piece returns other than ST_OK ends the split and is returned. */
typedef int pretoken_piece(void *arg, const char *text, size_t len);
int pretoken_split(const struct pretoken *p, struct pretoken_scratch *s, const char *text,
                   size_t len, pretoken_piece *piece, void *arg);

#endif
