/* prefix.h - which pages hold which tokens: an index of published pages, for sequences that begin
 * alike.
 *
 * A page is known by its place (tenant, the page before it) and its tokens, all of them compared,
 * so that a hash that collides costs time and never gives somebody else's text. The page before it
 * is known in the same way: a page stands for the whole text up to its end.
 *
 * Owner:   the engine's thread, through kv.c, which counts who uses a page. Whoever uses a page uses
 *          the one before it too, and lets go of it later: so the page idle for longest is never one
 *          that others follow.
 * Memory:  a record a page and two tables of lists, sized at open and touched on use; nothing is
 *          allocated afterwards.
 * Errors:  ST_NOMEM at open. */
#ifndef OCTET_MODEL_NET_PREFIX_H
#define OCTET_MODEL_NET_PREFIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/kernels/kernels.h"

enum { PREFIX_NONE = -1, PREFIX_WALK = 64 /* most siblings looked at */ };

enum prefix_lists { PREFIX_BY_IDS, PREFIX_BY_PLACE, PREFIX_IDLE, PREFIX_LISTS };

/* A doubly linked list through the records: pages counted from 1, 0 ends it. */
struct prefix_list {
    uint32_t first, last;
};

struct prefix_page {
    uint64_t tenant;
    int64_t parent; /* the page before it, PREFIX_NONE for the first of a text */
    uint32_t n;     /* tokens; 0: not in the index */
    bool idle;      /* nobody uses it */
    struct prefix_link {
        uint32_t next, prev;
    } links[PREFIX_LISTS];
    int32_t ids[KV_BLOCK];
};

struct prefix {
    struct prefix_page *pages;
    struct prefix_list *by_ids;   /* [mask + 1] whole pages, by a hash of place and tokens */
    struct prefix_list *by_place; /* [mask + 1] all pages, by a hash of place; latest hit first */
    struct prefix_list idle;      /* last let go first */
    size_t mask;
    uint64_t key[2]; /* of the hash: random, so that nobody can craft texts that collide */
    size_t n_cached, n_idle;
};

struct prefix_text {
    uint64_t tenant;
    int64_t parent;
    const int32_t *ids;
    uint32_t n; /* 1 .. KV_BLOCK */
};

int prefix_open(struct prefix *prefix, size_t n_pages);
void prefix_done(struct prefix *prefix); /* a zeroed struct is fine */

/* The page that holds just text, a whole page of it; PREFIX_NONE if there is none. */
int64_t prefix_find(struct prefix *prefix, const struct prefix_text *text);
/* The page at text's place that begins most like it, among the PREFIX_WALK latest; *ret_n is how
 * many tokens are alike. PREFIX_NONE: none begins alike. */
int64_t prefix_find_part(struct prefix *prefix, const struct prefix_text *text, uint32_t *ret_n);
/* Page, in use, holds text, which neither of the above finds in full. */
void prefix_add(struct prefix *prefix, uint32_t page, const struct prefix_text *text);
bool prefix_has(const struct prefix *prefix, uint32_t page);

/* The last user of a page in the index let it go; the first took it up again. */
void prefix_let_go(struct prefix *prefix, uint32_t page);
void prefix_take_up(struct prefix *prefix, uint32_t page);
/* Forget the page idle for longest, or one idle and not whole that `page` begins like: its number,
 * PREFIX_NONE if there is none. */
int64_t prefix_evict(struct prefix *prefix);
int64_t prefix_evict_covered(struct prefix *prefix, uint32_t page);

#endif
