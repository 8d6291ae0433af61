/* kv.h - the key/value cache: fixed pages lent to sequences. A page holds KV_BLOCK positions of
 * every layer and head.
 *
 * A page is free, or used by one sequence or several, or idle: published (prefix.h) and used by
 * nobody. Idle pages are lent like free ones, so they count as free; the longest idle goes first.
 * What is published is never written again.
 *
 * Owner:   the engine's thread lends and takes back; during a step the compute threads write and
 *          read disjoint or barrier-separated positions.
 * Memory:  one lazily touched mapping sized at open; page tables grow with their sequences.
 * Errors:  ST_FULL is expected under load. ST_NOMEM, ST_TOOLONG.
 *
 * Layout of one head in one layer of a page, chosen so that the integer products read it directly:
 *   INT8   k u8 (value + 128) [KV_BLOCK/16][dk/4][16][4], v s8 [KV_BLOCK/4][dv][4],
 *          then f32 scales of k and of v, [KV_BLOCK] each
 *   float  k [d][KV_BLOCK], v [KV_BLOCK][dv], f16 or f32
 * dk is d rounded up to 4, dv to 16; the padding is zeros. */
#ifndef OCTET_MODEL_NET_KV_H
#define OCTET_MODEL_NET_KV_H

#include "model/kernels/kernels.h"
#include "model/model.h"
#include "model/net/prefix.h"

struct kv {
    enum model_kv type;
    size_t n_layer, n_kv, d, dk, dv;
    size_t head_bytes, page_bytes, n_pages;
    uint8_t *arena;
    size_t arena_bytes;
    uint32_t *free_pages; /* a stack; low pages on top, so that what is touched stays small */
    size_t n_free;
    size_t n_fresh;    /* never lent: the bottom of the stack, not in memory yet */
    size_t max_idle;   /* as many idle pages are kept before fresh ones are touched */
    uint32_t *n_users; /* [n_pages] sequences */
    struct prefix prefix;
    uint64_t evicted;
    bool *found;      /* [n_pages] by attach, since its text is in it */
    uint64_t n_found; /* how often one was for the first time */
    struct kv_seq {
        uint32_t *pages;
        uint32_t n_pages, cap;
        uint32_t n_published; /* the first of them, all in the index */
        uint64_t tenant;      /* of those */
        bool used;
        bool closed; /* published to the last position */
    } * seqs;
    size_t n_seqs;
};

struct kv_opts {
    enum model_kv type;
    size_t n_layer, n_kv, head_dim;
    size_t n_pages, n_seqs;
    size_t max_idle;
};

size_t kv_page_bytes(const struct kv_opts *opts);
int kv_open(struct kv *kv, const struct kv_opts *opts);
void kv_done(struct kv *kv); /* a zeroed struct is fine */

int kv_seq_take(struct kv *kv, uint32_t *ret_seq);
void kv_seq_give(struct kv *kv, uint32_t seq);
int kv_reserve(struct kv *kv, uint32_t seq, uint32_t n_tokens);
size_t kv_pages_free(const struct kv *kv);
/* Behind runner_seq_attach and runner_seq_publish of model.h. */
uint32_t kv_attach(struct kv *kv, uint32_t seq, uint64_t tenant, const int32_t *ids, uint32_t n);
void kv_publish(struct kv *kv, uint32_t seq, uint64_t tenant, const int32_t *ids, uint32_t n,
                bool last);

/* head_bytes of one head in one block; below, the same as kernels read it. */
uint8_t *kv_head_at(const struct kv *kv, uint32_t seq, size_t layer, size_t head, uint32_t block);
/* Store position pos into its head's block, kv_head_at(.., pos / KV_BLOCK). k and v: [d] floats,
 * already rotated. */
void kv_store_key(const struct kv *kv, const struct kernels *kernels, uint8_t *head, uint32_t pos,
                  float *k);
void kv_store_value(const struct kv *kv, const struct kernels *kernels, uint8_t *head, uint32_t pos,
                    float *v);
struct kv_block_i8 kv_block_i8_at(const struct kv *kv, uint32_t seq, size_t layer, size_t head,
                                  uint32_t i);
struct kv_block_f kv_block_f_at(const struct kv *kv, uint32_t seq, size_t layer, size_t head,
                                uint32_t i);

#endif
