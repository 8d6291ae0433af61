/* draft.h - guesses what comes next from what came before: where the last few tokens stood earlier,
 * what followed them there (prompt lookup; Saxena 2023). Wrong guesses cost rows, never text.
 *
 * It remembers for every length of match how often the next token was right, whether the guess was
 * run or not, so it can say what a guess is worth.
 *
 * Owner:   the request it guesses for.
 * Memory:  a table of 24 to 48 bytes a token, at least 4 and at most 256 KiB; none before the first guess.
 * Errors:  no memory: it guesses nothing.
 * Threads: none. No clock, no model. */
#ifndef OCTET_SERVER_DRAFT_H
#define OCTET_SERVER_DRAFT_H

#include <stddef.h>
#include <stdint.h>

#include "server/pace.h"

enum { DRAFT_SHORTEST = 2, DRAFT_LONGEST = 4 }; /* tokens that are looked up */
enum { DRAFT_MATCH = 8 };                       /* longer matches count as such */

struct draft {
    uint32_t *table;               /* by a hash of some tokens: where they ended last; 0: nowhere */
    uint32_t n_slots;              /* a power of two */
    uint32_t n_known;              /* tokens whose ends are in the table */
    uint32_t n_guesses, match;     /* of the last draft_guess() */
    double right[DRAFT_MATCH + 1]; /* by length of the match: how often the next token was */
};

void draft_init(struct draft *draft);
void draft_done(struct draft *draft); /* a zeroed struct is fine */

/* Guess at most `most` tokens behind ids[0 .. n): they are written there. Returns how many. Calls
 * for one text: ids that were known stay the same. */
uint32_t draft_guess(struct draft *draft, int32_t *ids, uint32_t n, uint32_t most);
/* How likely it is that guess i (from 0) and all before it are right. */
double draft_chance(const struct draft *draft, uint32_t i);
/* Of the last guesses, n were held against what came (at least 1), and so many of them were right.
 */
void draft_saw(struct draft *draft, uint32_t n, uint32_t n_right);

/* A sequence that has guesses, and how many of them to run. */
struct draft_offer {
    const struct draft *draft;
    void *arg;  /* the caller's */
    uint32_t n; /* out */
};
/* Rows for guesses, at most max_rows, as many and for whom as gives most tokens a second, of a step
 * in which n_decoding sequences decode. Returns how many. */
uint32_t draft_share(struct draft_offer *offers, size_t n_offers, uint32_t n_decoding,
                     uint32_t max_rows, const struct pace *pace);

#endif
