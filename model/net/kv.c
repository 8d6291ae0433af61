#include "model/net/kv.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "model/format/dequant.h"

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static size_t head_bytes(const struct kv_opts *o)
{
    size_t dk = round_up(o->head_dim, 4), dv = round_up(o->head_dim, 16);

    if (o->type == MODEL_KV_INT8)
        return KV_BLOCK * (dk + dv + 2 * sizeof(float));
    return KV_BLOCK * (o->head_dim + dv) * (o->type == MODEL_KV_F16 ? 2 : 4);
}

size_t kv_page_bytes(const struct kv_opts *o)
{
    return head_bytes(o) * o->n_layer * o->n_kv;
}

int kv_open(struct kv *kv, const struct kv_opts *o)
{
    *kv = (struct kv){.type = o->type,
                      .n_layer = o->n_layer,
                      .n_kv = o->n_kv,
                      .d = o->head_dim,
                      .dk = round_up(o->head_dim, 4),
                      .dv = round_up(o->head_dim, 16),
                      .head_bytes = head_bytes(o),
                      .page_bytes = kv_page_bytes(o),
                      .n_pages = o->n_pages,
                      .n_seqs = o->n_seqs};
    if (__builtin_mul_overflow(kv->page_bytes, kv->n_pages, &kv->arena_bytes))
        return ST_NOMEM;
    void *p = mmap(NULL, kv->arena_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return ST_NOMEM;
    kv->arena = p;
    kv->free_pages = calloc(kv->n_pages, sizeof(*kv->free_pages));
    kv->seqs = calloc(kv->n_seqs, sizeof(*kv->seqs));
    if (!kv->free_pages || !kv->seqs) {
        kv_done(kv);
        return ST_NOMEM;
    }
    for (size_t i = 0; i < kv->n_pages; i++)
        kv->free_pages[i] = (uint32_t)(kv->n_pages - 1 - i);
    kv->n_free = kv->n_pages;
    return ST_OK;
}

void kv_done(struct kv *kv)
{
    for (size_t i = 0; kv->seqs && i < kv->n_seqs; i++)
        free(kv->seqs[i].pages);
    free(kv->seqs);
    free(kv->free_pages);
    if (kv->arena)
        munmap(kv->arena, kv->arena_bytes);
    *kv = (struct kv){0};
}

int kv_seq_take(struct kv *kv, uint32_t *ret_seq)
{
    for (size_t i = 0; i < kv->n_seqs; i++)
        if (!kv->seqs[i].used) {
            kv->seqs[i].used = true;
            *ret_seq = (uint32_t)i;
            return ST_OK;
        }
    return ST_FULL;
}

void kv_seq_give(struct kv *kv, uint32_t seq)
{
    struct kv_seq *s = &kv->seqs[seq];

    while (s->n_pages)
        kv->free_pages[kv->n_free++] = s->pages[--s->n_pages];
    s->used = false;
}

int kv_reserve(struct kv *kv, uint32_t seq, uint32_t n_tokens)
{
    struct kv_seq *s = &kv->seqs[seq];
    uint32_t need = n_tokens / KV_BLOCK + (n_tokens % KV_BLOCK != 0);

    if (need <= s->n_pages)
        return ST_OK;
    if (need - s->n_pages > kv->n_free)
        return ST_FULL;
    if (need > s->cap) {
        uint32_t cap = need + need / 2;
        uint32_t *pages = realloc(s->pages, cap * sizeof(*pages));
        if (!pages)
            return ST_NOMEM;
        s->pages = pages;
        s->cap = cap;
    }
    while (s->n_pages < need)
        s->pages[s->n_pages++] = kv->free_pages[--kv->n_free];
    return ST_OK;
}

static uint8_t *head_at(const struct kv *kv, uint32_t seq, size_t layer, size_t head,
                        uint32_t block)
{
    return kv->arena + kv->seqs[seq].pages[block] * kv->page_bytes +
           (layer * kv->n_kv + head) * kv->head_bytes;
}

static void store_i8(const struct kv *kv, const struct kernels *kernels, uint8_t *at, uint32_t t,
                     const float *k, const float *v)
{
    int8_t q[HEAD_MAX + 16] = {0};
    int32_t comp;
    float *ks = (float *)(void *)(at + KV_BLOCK * (kv->dk + kv->dv)), *vs = ks + KV_BLOCK;

    kernels->quantize(k, kv->d, 0, kv->d, q, &ks[t], &comp);
    uint8_t *to = at + t / 16 * 16 * kv->dk + t % 16 * 4;
    for (size_t c = 0; c < kv->dk; c += 4, to += 64) {
        uint32_t four;
        memcpy(&four, q + c, sizeof(four));
        four ^= 0x80808080u;
        memcpy(to, &four, sizeof(four));
    }
    kernels->quantize(v, kv->d, 0, kv->d, q, &vs[t], &comp);
    to = at + KV_BLOCK * kv->dk + t / 4 * 4 * kv->dv + t % 4;
    for (size_t c = 0; c < kv->dv; c++)
        to[4 * c] = (uint8_t)q[c];
}

static void store_float(const struct kv *kv, uint8_t *at, uint32_t t, const float *k,
                        const float *v)
{
    size_t d = kv->d;

    if (kv->type == MODEL_KV_F32) {
        float *ko = (float *)(void *)at, *vo = ko + d * KV_BLOCK + t * kv->dv;
        for (size_t i = 0; i < d; i++)
            ko[i * KV_BLOCK + t] = k[i];
        memcpy(vo, v, d * sizeof(*v));
        return;
    }
    uint16_t *ko = (uint16_t *)(void *)at, *vo = ko + d * KV_BLOCK + t * kv->dv;
    for (size_t i = 0; i < d; i++) {
        ko[i * KV_BLOCK + t] = f32_to_f16(k[i]);
        vo[i] = f32_to_f16(v[i]);
    }
}

void kv_store(const struct kv *kv, const struct kernels *kernels, uint32_t seq, size_t layer,
              size_t head, uint32_t pos, const float *k, const float *v)
{
    uint8_t *at = head_at(kv, seq, layer, head, pos / KV_BLOCK);

    if (kv->type == MODEL_KV_INT8)
        store_i8(kv, kernels, at, pos % KV_BLOCK, k, v);
    else
        store_float(kv, at, pos % KV_BLOCK, k, v);
}

struct kv_block_i8 kv_block_i8_at(const struct kv *kv, uint32_t seq, size_t layer, size_t head,
                                  uint32_t i)
{
    const uint8_t *at = head_at(kv, seq, layer, head, i);
    const uint8_t *v = at + KV_BLOCK * kv->dk;
    const float *ks = (const float *)(const void *)(v + KV_BLOCK * kv->dv);

    return (struct kv_block_i8){.k = at, .v = (const int8_t *)v, .ks = ks, .vs = ks + KV_BLOCK};
}

struct kv_block_f kv_block_f_at(const struct kv *kv, uint32_t seq, size_t layer, size_t head,
                                uint32_t i)
{
    const uint8_t *at = head_at(kv, seq, layer, head, i);
    bool half = kv->type == MODEL_KV_F16;

    return (struct kv_block_f){.k = at, .v = at + KV_BLOCK * kv->d * (half ? 2 : 4), .half = half};
}
