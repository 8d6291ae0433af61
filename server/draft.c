#include "server/draft.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_SLOTS 1024u
#define MOST_SLOTS 65536u
#define SMOOTH (1.0 / 8)
#define WORTH 1.1 /* times as many tokens a second, else they are not run: times are measured */

void draft_init(struct draft *draft)
{
    *draft = (struct draft){0};
    for (unsigned i = 0; i <= DRAFT_MATCH; i++)
        draft->right[i] = 0.5;
}

void draft_done(struct draft *draft)
{
    free(draft->table);
    draft->table = NULL;
}

/* Slot of the n tokens that end before `end`. */
static uint32_t *slot(const struct draft *draft, const int32_t *ids, uint32_t end, uint32_t n)
{
    uint64_t hash = n;

    for (uint32_t i = end - n; i < end; i++)
        hash = (hash ^ (uint32_t)ids[i]) * 0x9e3779b97f4a7c15u;
    return &draft->table[(hash >> 32) & (draft->n_slots - 1)];
}

/* Twice as many slots as there are ends, a table filled anew when they are too few. */
static int make_room(struct draft *draft, uint32_t n)
{
    uint32_t n_slots = draft->n_slots ? draft->n_slots : LEAST_SLOTS;

    while (n_slots < MOST_SLOTS && n_slots / 6 < n)
        n_slots *= 2;
    if (n_slots == draft->n_slots)
        return 0;
    free(draft->table);
    draft->table = calloc(n_slots, sizeof(*draft->table));
    draft->n_slots = draft->table ? n_slots : 0;
    draft->n_known = 0;
    return draft->table ? 0 : -1;
}

/* Where the last tokens of ids[0 .. n) ended before; 0: nowhere. Of equally long matches the latest
 * counts. */
static uint32_t find(const struct draft *draft, const int32_t *ids, uint32_t n)
{
    for (uint32_t len = DRAFT_LONGEST; len >= DRAFT_SHORTEST; len--) {
        if (n <= len)
            continue;
        uint32_t end = *slot(draft, ids, n, len);
        if (end >= len && memcmp(ids + end - len, ids + n - len, len * sizeof(*ids)) == 0)
            return end;
    }
    return 0;
}

uint32_t draft_guess(struct draft *draft, int32_t *ids, uint32_t n, uint32_t most)
{
    draft->n_guesses = draft->match = 0;
    if (most == 0 || make_room(draft, n) != 0)
        return 0;
    /* Ends before the last one: that is what is looked for. */
    for (uint32_t end = draft->n_known + 1; end < n; end++)
        for (uint32_t len = DRAFT_SHORTEST; len <= DRAFT_LONGEST && len <= end; len++)
            *slot(draft, ids, end, len) = end;
    draft->n_known = n > 0 ? n - 1 : 0;

    uint32_t end = find(draft, ids, n);
    if (end == 0)
        return 0;
    while (draft->match < DRAFT_MATCH && draft->match < end &&
           ids[end - 1 - draft->match] == ids[n - 1 - draft->match])
        draft->match++;
    /* Beyond n it reads what it has just written: a text that goes round goes on round. */
    for (uint32_t i = 0; i < most; i++)
        ids[n + i] = ids[end + i];
    draft->n_guesses = most;
    return most;
}

/* With every guess that is right the match is one longer. */
static uint32_t match_of(const struct draft *draft, uint32_t i)
{
    uint32_t match = draft->match + i;

    return match < DRAFT_MATCH ? match : DRAFT_MATCH;
}

double draft_chance(const struct draft *draft, uint32_t i)
{
    double chance = 1;

    for (uint32_t k = 0; k <= i; k++)
        chance *= draft->right[match_of(draft, k)];
    return chance;
}

void draft_saw(struct draft *draft, uint32_t n, uint32_t n_right)
{
    assert(n_right <= n && n <= draft->n_guesses);
    for (uint32_t i = 0; i < n && i <= n_right; i++) {
        double *right = &draft->right[match_of(draft, i)];
        *right += SMOOTH * ((i < n_right) - *right);
    }
}

/* The offer whose next guess is likeliest to be right, and how likely; NULL: there is none. */
static struct draft_offer *likeliest(struct draft_offer *offers, size_t n_offers,
                                     double *ret_chance)
{
    struct draft_offer *best = NULL;

    for (size_t i = 0; i < n_offers; i++) {
        if (offers[i].n == offers[i].draft->n_guesses)
            continue;
        double chance = draft_chance(offers[i].draft, offers[i].n);
        if (best && chance <= *ret_chance)
            continue;
        best = &offers[i];
        *ret_chance = chance;
    }
    return best;
}

/* Take the likeliest guesses first; *ret_n is how many of them make the best rate. */
static void fill(struct draft_offer *offers, size_t n_offers, uint32_t n_decoding, uint32_t rows,
                 const struct pace *pace, uint32_t *ret_n)
{
    double tokens = n_decoding, best = WORTH * tokens / pace_plain_us(pace, n_decoding), chance = 0;
    struct draft_offer *offer;

    *ret_n = 0;
    for (uint32_t i = 1; i <= rows && (offer = likeliest(offers, n_offers, &chance)) != NULL; i++) {
        offer->n++;
        tokens += chance;
        double rate = tokens / pace_plain_us(pace, n_decoding + i);
        if (rate > best) {
            best = rate;
            *ret_n = i;
        }
    }
}

static void empty(struct draft_offer *offers, size_t n_offers)
{
    for (size_t i = 0; i < n_offers; i++)
        offers[i].n = 0;
}

uint32_t draft_share(struct draft_offer *offers, size_t n_offers, uint32_t n_decoding,
                     uint32_t max_rows, const struct pace *pace)
{
    uint32_t n = 0, again;

    empty(offers, n_offers);
    if (n_decoding == 0 || pace_plain_us(pace, n_decoding) == 0)
        return 0;
    fill(offers, n_offers, n_decoding, max_rows, pace, &n);
    /* Once more, no further than that: the order is the same. */
    empty(offers, n_offers);
    fill(offers, n_offers, n_decoding, n, pace, &again);
    return n;
}
