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

struct hf {
    const char *dir;
    bool vocab_only;
    struct json_file config, generation, tokenizer, tokenizer_config, special_map;
    struct gguf_writer *keys;
    char arch[64]; /* GGUF's name of it */
    uint32_t n_head, n_kv, head_dim;
    uint32_t n_vocab; /* rows of the embedding; 0: config.json doesn't say */
    bool tied;
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
    void **copies;     /* tensors whose bytes are not the file's */
    size_t n_copies;
};

/* config.json → keys of architecture and shape, and the numbers above. */
int hf_write_config(struct hf *hf);
/* tokenizer.json and its neighbours → keys of the tokenizer. */
int hf_write_tokenizer(struct hf *hf);
/* GGUF's name for the way that tokenizer.json cuts text. */
int hf_read_pretokenizer(const struct hf *hf, const char **ret_pre);
/* The weights → the tensors of g and what they lead into. */
int hf_read_tensors(struct hf *hf, struct gguf *g, struct hf_parts *parts);
/* model.safetensors, or all shards of the index. */
int hf_open_shards(struct hf *hf, struct hf_parts *parts);

#endif
