/* hf.h - a Hugging Face directory as the same facts that a GGUF file gives.
 *
 * config.json, tokenizer.json and what stands beside them become keys, the tensors of
 * model.safetensors (or of the shards of model.safetensors.index.json) get GGUF's names, by the rules
 * of llama.cpp's convert_hf_to_gguf.py. So nothing above gguf.h knows where a model came from.
 *
 * Owner:   as in gguf.h.
 * Memory:  weights stay in the mapped files, but for the rows of q and k of a llama, which are turned
 *          into GGUF's order of RoPE in memory.
 * Errors:  one sentence naming the file and the field or tensor; ST_UNSUPPORTED names what is read.
 * Threads: one opens; after that nothing changes. */
#ifndef OCTET_MODEL_FORMAT_HF_H
#define OCTET_MODEL_FORMAT_HF_H

#include "model/format/gguf.h"

struct hf_parts;

/* gguf_open of a directory comes here. With vocab_only the weights are not looked at, config.json may
 * be missing, and the architecture may be any. */
int hf_open(const char *dir, const struct gguf_opts *opts, struct gguf **ret_gguf,
            struct error *err);
void hf_parts_free(struct hf_parts *parts); /* NULL is fine; gguf_close calls it */

#endif
