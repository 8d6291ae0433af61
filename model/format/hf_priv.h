/* hf_priv.h - what the hf*.c files share; nobody else includes it.
 *
 * Owner:   hf_open, for as long as it runs.
 * Memory:  struct hf's own is freed by hf_open; struct hf_parts goes over to the struct gguf.
 * Errors:  ST_OK or a negative enum status with one sentence in hf->err; ST_NOMEM may come without.
 * Threads: one. */
#ifndef OCTET_MODEL_FORMAT_HF_PRIV_H
#define OCTET_MODEL_FORMAT_HF_PRIV_H

#include "model/format/gguf_priv.h"
#include "model/format/gguf_write.h"
#include "model/format/json_file.h"
#include "model/format/safetensors.h"

/* How llm-compressor quantized a checkpoint's matrices: those whose tensors are I8. */
struct hf_quantized {
    bool on;
    uint32_t group;      /* inputs that share a scale; 0: the whole row */
    bool zero, act_zero; /* weights, activations have zero points */
};

struct hf {
    const char *dir;
    bool vocab_only;
    struct json_file config, generation, tokenizer, tokenizer_config, special_map;
    struct gguf_writer *keys;
    char arch[64]; /* GGUF's name of it */
    uint32_t n_head, n_kv, head_dim;
    uint32_t n_vocab; /* rows of the embedding; 0: config.json doesn't say */
    bool tied;
    struct hf_quantized quantized;
    bool rope_llama3;
    float rope_base, rope_factor, rope_low, rope_high, rope_n_ctx; /* of rope_llama3 */
    struct error *err;
};

/* What keys and tensors of the struct gguf lead into. */
struct hf_parts {
    uint8_t *keys;
    struct safetensors **shards;
    size_t n_shards;
    char (*names)[64]; /* of tensors */
    void **copies;     /* tensors whose bytes are not the file's: at most two each */
    size_t n_copies;
};

/* config.json → keys of architecture and shape, and the numbers above. */
int hf_write_config(struct hf *hf);
/* quantization_config → hf->quantized. */
int hf_read_quantized(struct hf *hf);
/* The octet.* keys that say how the I8 tensors of the shards are to be read. */
int hf_write_quantized(struct hf *hf, const struct hf_parts *parts);
/* Inputs of an I8 matrix as octet stores it: k and zeros up to whole groups. */
uint64_t hf_padded(const struct hf_quantized *quantized, uint64_t k);
/* tokenizer.json and its neighbours → keys of the tokenizer. */
int hf_write_tokenizer(struct hf *hf);
/* GGUF's name for the way that tokenizer.json cuts text. */
int hf_read_pretokenizer(const struct hf *hf, const char **ret_pre);
/* "blk.0.attn_q" of the integers of a matrix; false: the tensor is something else. */
bool hf_name_ints(const struct hf *hf, const struct safetensor *from, char name[static 64]);
/* The weights → the tensors of g and what they lead into. */
int hf_read_tensors(struct hf *hf, struct gguf *g, struct hf_parts *parts);
/* model.safetensors, or all shards of the index. */
int hf_open_shards(struct hf *hf, struct hf_parts *parts);

#endif
