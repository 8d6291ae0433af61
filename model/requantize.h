/* requantize.h - what to do with a source that is quantized already: keep it, or lose once more.
 *
 * Owner:   pure functions over what the caller holds.
 * Memory:  none.
 * Errors:  none.
 * Threads: any. */
#ifndef OCTET_MODEL_REQUANTIZE_H
#define OCTET_MODEL_REQUANTIZE_H

#include "model/format/gguf.h"
#include "model/model.h"
#include "model/quant/plan.h"

/* Do the matrices of a compressed-tensors directory stay as they are? */
bool requantize_keeps(const struct model_quantize_opts *opts, const struct gguf *g);
/* Is the key of no use in the file that is made, or written anew? kept: of the above. */
bool requantize_drops(struct gguf_str key, bool kept);
/* A sentence for those who quantize what is quantized already; text stays as it is if they don't. */
void requantize_warn(const struct gguf *g, const struct quant_plan *plan, char text[static 256]);

#endif
