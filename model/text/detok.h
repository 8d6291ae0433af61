/* detok.h - the detokenizer behind detok_* of model.h: ids → whole characters, stop strings held
 * back.
 *
 * Owner:   one sequence's thread.  Memory: a small buffer bounded by the longest stop string and
 * token. Errors:  ST_NOMEM, ST_INVALID (an id outside the vocabulary).  The functions are declared
 * in model.h. */
#ifndef OCTET_MODEL_TEXT_DETOK_H
#define OCTET_MODEL_TEXT_DETOK_H

#include "model/model.h"
#include "model/text/tokenizer.h"

/* What detok_open (model.c) calls with the model's tokenizer, which must outlive the detok. */
int detok_new(const struct tokenizer *t, const char *const *stops, size_t n_stops,
              struct detok **ret_detok);

#endif
