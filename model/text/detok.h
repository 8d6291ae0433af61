/* detok.h - the detokenizer behind detok_* of model.h: ids → whole characters, stop strings held
 * back.
 *
 * Text: the bytes of the tokens in a row; control and end tokens add nothing, and a character may
 * come in several tokens. Each maximal subpart of an ill-formed character becomes one U+FFFD, also
 * at the end. The space that a SentencePiece text begins with is kept: what is generated continues
 * a prompt.
 *
 * Stop strings: looked for in that text, across tokens and inside them. The token with which one
 * becomes whole ends the text. If several become whole with it, the one that begins first counts;
 * of those that begin together, the shortest. Text that may turn out to be the beginning of a stop
 * string is held back.
 *
 * Owner:   one sequence's thread.
 * Memory:  copies of the stop strings and one buffer, sized at detok_new: nothing is allocated
 *          later.
 * Errors:  detok_new: ST_NOMEM; ST_INVALID for more than LIMIT_STOP_STRINGS stops, and for one
 *          that is empty, longer than LIMIT_STOP_BYTES or not UTF-8. detok_push: ST_INVALID for
 *          an id outside the vocabulary.  The other functions are declared in model.h.
 * Cost:    each byte is looked at once for each stop string. */
#ifndef OCTET_MODEL_TEXT_DETOK_H
#define OCTET_MODEL_TEXT_DETOK_H

#include "model/model.h"
#include "model/text/tokenizer.h"

/* What detok_open (model.c) calls with the model's tokenizer, which must outlive the detok. */
int detok_new(const struct tokenizer *t, const char *const *stops, size_t n_stops,
              struct detok **ret_detok);

#endif
