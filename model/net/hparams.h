/* hparams.h - the numbers that shape a network, read and checked once from a file's metadata.
 *
 * Owner: plain values.  Memory: none.  Errors: ST_FORMAT, ST_UNSUPPORTED naming file and key.
 * Reads the keys that GGUF documents for architectures `llama` (Llama 2 and 3, Mistral, TinyLlama,
 * SmolLM2) and `qwen2`. What would make the result silently wrong (another architecture, yarn or
 * longrope scaling, experts) is refused by name. */
#ifndef OCTET_MODEL_NET_HPARAMS_H
#define OCTET_MODEL_NET_HPARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "config/status.h"
#include "model/format/gguf.h"

struct hparams {
    char arch[16];
    uint32_t n_layer, d_model, d_ff, n_head, n_kv, head_dim, n_rot, n_ctx, n_vocab;
    float eps, rope_base, rope_scale; /* rope_scale divides positions (linear scaling); 1: none */
    bool rope_halves;                 /* pairs are (i, i + n_rot/2), else neighbours */
};

int hparams_read(const struct gguf *g, struct hparams *ret_hp, struct error *err);

/* The largest power of two up to 64 that divides the head: the Hadamard block of v, o, q and k. */
uint32_t hparams_head_block(const struct hparams *hp);

#endif
