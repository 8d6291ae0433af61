#include "model/net/prefix.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "config/status.h"

int prefix_open(struct prefix *prefix, size_t n_pages)
{
    size_t n_lists = 1;

    *prefix = (struct prefix){0};
    while (n_lists < n_pages && n_lists < SIZE_MAX / 4)
        n_lists *= 2;
    prefix->mask = n_lists - 1;
    prefix->pages = calloc(n_pages, sizeof(*prefix->pages));
    prefix->by_ids = calloc(n_lists, sizeof(*prefix->by_ids));
    prefix->by_place = calloc(n_lists, sizeof(*prefix->by_place));
    if (!prefix->pages || !prefix->by_ids || !prefix->by_place) {
        prefix_done(prefix);
        return ST_NOMEM;
    }
    /* Without randomness collisions could be crafted: slower, never wrong. */
    if (getrandom(prefix->key, sizeof(prefix->key), GRND_NONBLOCK) < 0)
        prefix->key[0] = (uintptr_t)prefix->pages;
    return ST_OK;
}

void prefix_done(struct prefix *prefix)
{
    free(prefix->pages);
    free(prefix->by_ids);
    free(prefix->by_place);
    *prefix = (struct prefix){0};
}

static uint64_t rotated(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotated(v[1], 13) ^ v[0];
    v[3] = rotated(v[3], 16) ^ v[2];
    v[0] = rotated(v[0], 32) + v[3];
    v[2] += v[1];
    v[3] = rotated(v[3], 21) ^ v[0];
    v[1] = rotated(v[1], 17) ^ v[2];
    v[2] = rotated(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

/* SipHash-1-3 (Aumasson and Bernstein 2012) of a place and n tokens, 0 or a whole page. */
static size_t list_of(const struct prefix *prefix, const struct prefix_text *text, uint32_t n)
{
    const uint64_t *key = prefix->key;
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
                     key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};

    sip_word(v, text->tenant);
    sip_word(v, (uint64_t)text->parent);
    for (uint32_t i = 0; i < n; i += 2)
        sip_word(v, (uint32_t)text->ids[i] | (uint64_t)(uint32_t)text->ids[i + 1] << 32);
    sip_word(v, (uint64_t)(16 + n * sizeof(*text->ids)) << 56);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return (v[0] ^ v[1] ^ v[2] ^ v[3]) & prefix->mask;
}

static void push_first(struct prefix *prefix, struct prefix_list *list, enum prefix_lists which,
                       uint32_t page)
{
    prefix->pages[page].links[which] = (struct prefix_link){.next = list->first};
    if (list->first)
        prefix->pages[list->first - 1].links[which].prev = page + 1;
    else
        list->last = page + 1;
    list->first = page + 1;
}

static void take_out(struct prefix *prefix, struct prefix_list *list, enum prefix_lists which,
                     uint32_t page)
{
    struct prefix_link link = prefix->pages[page].links[which];

    if (link.prev)
        prefix->pages[link.prev - 1].links[which].next = link.next;
    else
        list->first = link.next;
    if (link.next)
        prefix->pages[link.next - 1].links[which].prev = link.prev;
    else
        list->last = link.prev;
}

/* Asked for again: first among its siblings, so that a short walk finds what is in fashion. */
static void promote(struct prefix *prefix, struct prefix_list *siblings, uint32_t page)
{
    take_out(prefix, siblings, PREFIX_BY_PLACE, page);
    push_first(prefix, siblings, PREFIX_BY_PLACE, page);
}

static bool same_place(const struct prefix_page *page, const struct prefix_text *text)
{
    return page->tenant == text->tenant && page->parent == text->parent;
}

static uint32_t common(const struct prefix_page *page, const struct prefix_text *text)
{
    uint32_t most = page->n < text->n ? page->n : text->n, n = 0;

    while (n < most && page->ids[n] == text->ids[n])
        n++;
    return n;
}

int64_t prefix_find(struct prefix *prefix, const struct prefix_text *text)
{
    assert(text->n == KV_BLOCK);
    const struct prefix_list *list = &prefix->by_ids[list_of(prefix, text, KV_BLOCK)];

    for (uint32_t at = list->first; at; at = prefix->pages[at - 1].links[PREFIX_BY_IDS].next)
        if (same_place(&prefix->pages[at - 1], text) &&
            common(&prefix->pages[at - 1], text) == KV_BLOCK) {
            promote(prefix, &prefix->by_place[list_of(prefix, text, 0)], at - 1);
            return at - 1;
        }
    return PREFIX_NONE;
}

int64_t prefix_find_part(struct prefix *prefix, const struct prefix_text *text, uint32_t *ret_n)
{
    struct prefix_list *list = &prefix->by_place[list_of(prefix, text, 0)];
    uint32_t best = 0, most = 0, at = list->first;

    for (int i = 0; at && i < PREFIX_WALK && most < text->n; i++) {
        const struct prefix_page *page = &prefix->pages[at - 1];
        uint32_t n = same_place(page, text) ? common(page, text) : 0;
        if (n > most) {
            most = n;
            best = at;
        }
        at = page->links[PREFIX_BY_PLACE].next;
    }
    if (most == 0)
        return PREFIX_NONE;
    promote(prefix, list, best - 1);
    *ret_n = most;
    return best - 1;
}

void prefix_add(struct prefix *prefix, uint32_t page, const struct prefix_text *text)
{
    struct prefix_page *p = &prefix->pages[page];

    assert(p->n == 0 && text->n > 0 && text->n <= KV_BLOCK);
    *p = (struct prefix_page){.tenant = text->tenant, .parent = text->parent, .n = text->n};
    memcpy(p->ids, text->ids, text->n * sizeof(*p->ids));
    push_first(prefix, &prefix->by_place[list_of(prefix, text, 0)], PREFIX_BY_PLACE, page);
    if (text->n == KV_BLOCK)
        push_first(prefix, &prefix->by_ids[list_of(prefix, text, KV_BLOCK)], PREFIX_BY_IDS, page);
    prefix->n_cached++;
}

bool prefix_has(const struct prefix *prefix, uint32_t page)
{
    return prefix->pages[page].n > 0;
}

void prefix_let_go(struct prefix *prefix, uint32_t page)
{
    prefix->pages[page].idle = true;
    push_first(prefix, &prefix->idle, PREFIX_IDLE, page);
    prefix->n_idle++;
}

void prefix_take_up(struct prefix *prefix, uint32_t page)
{
    prefix->pages[page].idle = false;
    take_out(prefix, &prefix->idle, PREFIX_IDLE, page);
    prefix->n_idle--;
}

static struct prefix_text text_of(const struct prefix_page *page)
{
    return (struct prefix_text){page->tenant, page->parent, page->ids, page->n};
}

static void forget(struct prefix *prefix, uint32_t page)
{
    struct prefix_page *p = &prefix->pages[page];
    const struct prefix_text text = text_of(p);

    prefix_take_up(prefix, page);
    take_out(prefix, &prefix->by_place[list_of(prefix, &text, 0)], PREFIX_BY_PLACE, page);
    if (p->n == KV_BLOCK)
        take_out(prefix, &prefix->by_ids[list_of(prefix, &text, KV_BLOCK)], PREFIX_BY_IDS, page);
    p->n = 0;
    prefix->n_cached--;
}

int64_t prefix_evict(struct prefix *prefix)
{
    if (!prefix->idle.last)
        return PREFIX_NONE;
    uint32_t page = prefix->idle.last - 1;
    forget(prefix, page);
    return page;
}

int64_t prefix_evict_covered(struct prefix *prefix, uint32_t page)
{
    const struct prefix_text text = text_of(&prefix->pages[page]);
    uint32_t at = prefix->by_place[list_of(prefix, &text, 0)].first;

    for (int i = 0; at && i < PREFIX_WALK; i++) {
        const struct prefix_page *p = &prefix->pages[at - 1];
        if (p->idle && p->n < text.n && same_place(p, &text) && common(p, &text) == p->n) {
            forget(prefix, at - 1);
            return at - 1;
        }
        at = p->links[PREFIX_BY_PLACE].next;
    }
    return PREFIX_NONE;
}
