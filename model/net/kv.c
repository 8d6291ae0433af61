#include "model/net/kv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "model/format/dequant.h"
#include "model/net/memory.h"

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
                      .max_idle = o->max_idle,
                      .n_seqs = o->n_seqs};
    if (__builtin_mul_overflow(kv->page_bytes, kv->n_pages, &kv->arena_bytes))
        return ST_NOMEM;
    kv->arena = memory_map(kv->arena_bytes);
    if (!kv->arena)
        return ST_NOMEM;
    kv->free_pages = calloc(kv->n_pages, sizeof(*kv->free_pages));
    kv->n_users = calloc(kv->n_pages, sizeof(*kv->n_users));
    kv->found = calloc(kv->n_pages, sizeof(*kv->found));
    kv->seqs = calloc(kv->n_seqs, sizeof(*kv->seqs));
    if (!kv->free_pages || !kv->n_users || !kv->found || !kv->seqs ||
        prefix_open(&kv->prefix, kv->n_pages) != ST_OK) {
        kv_done(kv);
        return ST_NOMEM;
    }
    for (size_t i = 0; i < kv->n_pages; i++)
        kv->free_pages[i] = (uint32_t)(kv->n_pages - 1 - i);
    kv->n_free = kv->n_fresh = kv->n_pages;
    return ST_OK;
}

void kv_done(struct kv *kv)
{
    for (size_t i = 0; kv->seqs && i < kv->n_seqs; i++)
        free(kv->seqs[i].pages);
    free(kv->seqs);
    free(kv->n_users);
    free(kv->found);
    free(kv->free_pages);
    prefix_done(&kv->prefix);
    memory_unmap(kv->arena, kv->arena_bytes);
    *kv = (struct kv){0};
}

size_t kv_pages_free(const struct kv *kv)
{
    return kv->n_free + kv->prefix.n_idle;
}

/* Idle pages that may be kept while fresh ones are touched: some from the start, and as many more as
 * lookups have found, so that memory grows for texts that come back and for no others. */
static size_t most_idle(const struct kv *kv)
{
    size_t limit = kv->max_idle > kv->n_pages / 2 ? kv->max_idle : kv->n_pages / 2;
    uint64_t most = kv->max_idle ? kv->max_idle + kv->n_found : 0;

    return most < limit ? (size_t)most : limit;
}

/* A page that is in memory, the one idle for longest, or a fresh one, in this order unless few are
 * idle. */
static int page_take(struct kv *kv, uint32_t *ret_page)
{
    bool idle_first =
        kv->n_free == 0 || (kv->n_free == kv->n_fresh && kv->prefix.n_idle >= most_idle(kv));
    int64_t page = idle_first ? prefix_evict(&kv->prefix) : PREFIX_NONE;

    if (page != PREFIX_NONE) {
        kv->evicted++;
    } else {
        if (kv->n_free == 0)
            return ST_FULL;
        page = kv->free_pages[--kv->n_free];
        if (kv->n_fresh > kv->n_free)
            kv->n_fresh = kv->n_free;
    }
    assert(kv->n_users[page] == 0);
    kv->n_users[page] = 1;
    kv->found[page] = false;
    *ret_page = (uint32_t)page;
    return ST_OK;
}

/* One user more of a page in the index. */
static void page_share(struct kv *kv, uint32_t page)
{
    if (kv->n_users[page]++ == 0)
        prefix_take_up(&kv->prefix, page);
}

static void page_give(struct kv *kv, uint32_t page)
{
    assert(kv->n_users[page] > 0);
    if (--kv->n_users[page] > 0)
        return;
    if (prefix_has(&kv->prefix, page))
        prefix_let_go(&kv->prefix, page);
    else
        kv->free_pages[kv->n_free++] = page;
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

    while (s->n_pages) /* the last first, as prefix.h wants it */
        page_give(kv, s->pages[--s->n_pages]);
    s->n_published = 0;
    s->used = s->closed = false;
}

static uint32_t pages_for(uint32_t n_tokens)
{
    return n_tokens / KV_BLOCK + (n_tokens % KV_BLOCK != 0);
}

/* Room in the sequence's table, not the pages themselves. */
static int seq_grow(struct kv_seq *s, uint32_t need)
{
    uint32_t cap = need + need / 2, *pages;

    if (need <= s->cap)
        return ST_OK;
    pages = realloc(s->pages, cap * sizeof(*pages));
    if (!pages)
        return ST_NOMEM;
    s->pages = pages;
    s->cap = cap;
    return ST_OK;
}

int kv_reserve(struct kv *kv, uint32_t seq, uint32_t n_tokens)
{
    struct kv_seq *s = &kv->seqs[seq];
    uint32_t need = pages_for(n_tokens);

    if (need <= s->n_pages)
        return ST_OK;
    if (need - s->n_pages > kv_pages_free(kv))
        return ST_FULL;
    int r = seq_grow(s, need);
    while (r == ST_OK && s->n_pages < need)
        r = page_take(kv, &s->pages[s->n_pages++]);
    return r;
}

/* The sequence's own copy of the page that begins most like text; returns how many positions. */
static uint32_t copy_part(struct kv *kv, struct kv_seq *s, const struct prefix_text *text)
{
    uint32_t n, to;
    int64_t from = prefix_find_part(&kv->prefix, text, &n);

    if (from == PREFIX_NONE)
        return 0;
    page_share(kv, (uint32_t)from); /* taking a page must not evict it */
    int r = page_take(kv, &to);
    if (r == ST_OK) {
        memcpy(kv->arena + to * kv->page_bytes, kv->arena + (size_t)from * kv->page_bytes,
               kv->page_bytes);
        s->pages[s->n_pages++] = to;
    }
    page_give(kv, (uint32_t)from);
    return r == ST_OK ? n : 0;
}

uint32_t kv_attach(struct kv *kv, uint32_t seq, uint64_t tenant, const int32_t *ids, uint32_t n)
{
    struct kv_seq *s = &kv->seqs[seq];
    struct prefix_text text = {.tenant = tenant, .parent = PREFIX_NONE, .ids = ids};
    uint32_t left = n > 0 ? n - 1 : 0;

    assert(s->used && s->n_pages == 0);
    if (left == 0 || seq_grow(s, pages_for(left)) != ST_OK)
        return 0;
    s->tenant = tenant;
    for (text.n = KV_BLOCK; left >= KV_BLOCK; left -= KV_BLOCK) {
        int64_t page = prefix_find(&kv->prefix, &text);
        if (page == PREFIX_NONE)
            break;
        page_share(kv, (uint32_t)page);
        kv->n_found += !kv->found[page];
        kv->found[page] = true;
        s->pages[s->n_pages++] = (uint32_t)page;
        text.parent = page;
        text.ids += KV_BLOCK;
    }
    s->n_published = s->n_pages;
    text.n = left < KV_BLOCK ? left : KV_BLOCK;
    return s->n_published * KV_BLOCK + (left > 0 ? copy_part(kv, s, &text) : 0);
}

/* The index gets the sequence's page i, or the sequence gets the index's: as rows depend on their
 * own text alone, both hold the same. */
static void publish_whole(struct kv *kv, struct kv_seq *s, uint32_t i,
                          const struct prefix_text *text)
{
    int64_t twin = prefix_find(&kv->prefix, text), covered;

    if (twin != PREFIX_NONE) {
        page_share(kv, (uint32_t)twin);
        page_give(kv, s->pages[i]);
        s->pages[i] = (uint32_t)twin;
        return;
    }
    prefix_add(&kv->prefix, s->pages[i], text);
    while ((covered = prefix_evict_covered(&kv->prefix, s->pages[i])) != PREFIX_NONE)
        kv->free_pages[kv->n_free++] = (uint32_t)covered;
}

void kv_publish(struct kv *kv, uint32_t seq, uint64_t tenant, const int32_t *ids, uint32_t n,
                bool last)
{
    struct kv_seq *s = &kv->seqs[seq];
    uint32_t i = s->n_published, alike = 0;

    assert(s->used && pages_for(n) <= s->n_pages);
    assert(!s->closed && (i == 0 || s->tenant == tenant));
    s->tenant = tenant;
    for (; i < s->n_pages; i++) {
        struct prefix_text text = {tenant, i ? (int64_t)s->pages[i - 1] : PREFIX_NONE,
                                   ids + (size_t)i * KV_BLOCK, KV_BLOCK};
        if (n / KV_BLOCK > i) {
            publish_whole(kv, s, i, &text);
            continue;
        }
        text.n = n % KV_BLOCK;
        if (last && n / KV_BLOCK == i && text.n > 0 &&
            (prefix_find_part(&kv->prefix, &text, &alike) == PREFIX_NONE || alike < text.n)) {
            prefix_add(&kv->prefix, s->pages[i], &text);
            i++;
        }
        break;
    }
    s->n_published = i;
    s->closed = last;
}

uint8_t *kv_head_at(const struct kv *kv, uint32_t seq, size_t layer, size_t head, uint32_t block)
{
    return kv->arena + kv->seqs[seq].pages[block] * kv->page_bytes +
           (layer * kv->n_kv + head) * kv->head_bytes;
}

static void key_i8(const struct kv *kv, const struct kernels *kernels, uint8_t *head, uint32_t t,
                   float *k)
{
    int8_t q[HEAD_MAX + 16] = {0};
    int32_t comp;
    float *scale = (float *)(void *)(head + KV_BLOCK * (kv->dk + kv->dv));

    kernels->quantize(k, kv->d, 0, kv->d, q, &scale[t], &comp);
    uint8_t *to = head + t / 16 * 16 * kv->dk + t % 16 * 4;
    for (size_t c = 0; c < kv->dk; c += 4, to += 64) {
        uint32_t four;
        memcpy(&four, q + c, sizeof(four));
        four ^= 0x80808080u;
        memcpy(to, &four, sizeof(four));
    }
}

static void value_i8(const struct kv *kv, const struct kernels *kernels, uint8_t *head, uint32_t t,
                     float *v)
{
    int8_t q[HEAD_MAX + 16] = {0};
    int32_t comp;
    float *scale = (float *)(void *)(head + KV_BLOCK * (kv->dk + kv->dv)) + KV_BLOCK;

    kernels->quantize(v, kv->d, 0, kv->d, q, &scale[t], &comp);
    uint8_t *to = head + KV_BLOCK * kv->dk + t / 4 * 4 * kv->dv + t % 4;
    for (size_t c = 0; c < kv->dv; c++)
        to[4 * c] = (uint8_t)q[c];
}

void kv_store_key(const struct kv *kv, const struct kernels *kernels, uint8_t *head, uint32_t pos,
                  float *k)
{
    const uint32_t t = pos % KV_BLOCK;

    if (kv->type == MODEL_KV_INT8) {
        key_i8(kv, kernels, head, t, k);
        return;
    }
    for (size_t i = 0; i < kv->d; i++)
        if (kv->type == MODEL_KV_F32)
            ((float *)(void *)head)[i * KV_BLOCK + t] = k[i];
        else
            ((uint16_t *)(void *)head)[i * KV_BLOCK + t] = f32_to_f16(k[i]);
}

void kv_store_value(const struct kv *kv, const struct kernels *kernels, uint8_t *head, uint32_t pos,
                    float *v)
{
    const size_t at = kv->d * KV_BLOCK + pos % KV_BLOCK * kv->dv;

    if (kv->type == MODEL_KV_INT8) {
        value_i8(kv, kernels, head, pos % KV_BLOCK, v);
        return;
    }
    for (size_t i = 0; i < kv->d; i++)
        if (kv->type == MODEL_KV_F32)
            ((float *)(void *)head)[at + i] = v[i];
        else
            ((uint16_t *)(void *)head)[at + i] = f32_to_f16(v[i]);
}

struct kv_block_i8 kv_block_i8_at(const struct kv *kv, uint32_t seq, size_t layer, size_t head,
                                  uint32_t i)
{
    const uint8_t *at = kv_head_at(kv, seq, layer, head, i);
    const uint8_t *v = at + KV_BLOCK * kv->dk;
    const float *ks = (const float *)(const void *)(v + KV_BLOCK * kv->dv);

    return (struct kv_block_i8){.k = at, .v = (const int8_t *)v, .ks = ks, .vs = ks + KV_BLOCK};
}

struct kv_block_f kv_block_f_at(const struct kv *kv, uint32_t seq, size_t layer, size_t head,
                                uint32_t i)
{
    const uint8_t *at = kv_head_at(kv, seq, layer, head, i);
    bool half = kv->type == MODEL_KV_F16;

    return (struct kv_block_f){.k = at, .v = at + KV_BLOCK * kv->d * (half ? 2 : 4), .half = half};
}
