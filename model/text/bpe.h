/* bpe.h - byte-level BPE: pieces of text are bytes that merge by a list of ranked pairs.
 *
 * Owner:   immutable after bpe_open; struct bpe_scratch belongs to one call.
 * Memory:  a table of the merges; the vocabulary is borrowed and must outlive it.
 * Errors:  ST_FORMAT, ST_UNSUPPORTED, ST_NOMEM with a sentence at open; ST_NOMEM, ST_INTERNAL
 *          later.
 * Threads: any thread may encode at once, each with its own scratch.
 * Source:  Sennrich et al. 2016 (merges), Radford et al. 2019 (over bytes). */
#ifndef OCTET_MODEL_TEXT_BPE_H
#define OCTET_MODEL_TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>

#include "config/status.h"
#include "model/format/gguf.h"
#include "model/text/id_list.h"
#include "model/text/vocab.h"

struct bpe;
struct bpe_scratch;

/* A merge is used if its two parts and what they make are tokens; others are passed over. */
int bpe_open(const struct gguf *g, const struct vocab *v, struct bpe **ret_bpe, struct error *err);
void bpe_free(struct bpe *b);
/* Whether BOS goes first where the file does not say. */
bool bpe_add_bos(const struct bpe *b);

int bpe_scratch_new(const struct bpe *b, struct bpe_scratch **ret_scratch);
void bpe_scratch_free(struct bpe_scratch *s);

/* Text → ids, behind those that are there. A byte that is no character's is a piece of its own; a
 * byte that is no token is left out, as the model has no word for it. */
int bpe_encode(const struct bpe *b, struct bpe_scratch *s, const char *text, size_t len,
               struct id_list *ids);

#endif
