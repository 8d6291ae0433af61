/* spm.h - SentencePiece-style BPE: characters merge into the tokens of the highest score.
 *
 * Owner:   pure functions over a vocabulary; struct spm_scratch belongs to one call.
 * Memory:  scratch grows to the text, about 50 bytes a character.
 * Errors:  ST_NOMEM.
 * Threads: any thread may encode at once, each with its own scratch.
 * Source:  Kudo and Richardson 2018, the BPE model. */
#ifndef OCTET_MODEL_TEXT_SPM_H
#define OCTET_MODEL_TEXT_SPM_H

#include <stdbool.h>
#include <stddef.h>

#include "model/text/id_list.h"
#include "model/text/merge.h"
#include "model/text/vocab.h"

struct spm_bytes {
    int32_t ids[256]; /* of the tokens <0x00> to <0xFF>; -1: not there */
};

struct spm_scratch {
    struct merge merge;
    char *text;
    size_t cap;
};

void spm_find_bytes(const struct vocab *v, struct spm_bytes *ret_bytes);
void spm_scratch_done(struct spm_scratch *s); /* {0} is an empty one */

/* Text → ids, behind those that are there; space_first: as if a space stood before it. A character
 * that is no token becomes its bytes' tokens or, where one is missing, the unknown token. */
int spm_encode(const struct vocab *v, const struct spm_bytes *bytes, struct spm_scratch *s,
               const char *text, size_t len, bool space_first, struct id_list *ids);

#endif
