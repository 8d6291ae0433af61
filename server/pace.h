/* pace.h - how long a step takes, learned from the steps that were; and from that, how many rows of
 * prompts may join a step while others wait for their next token.
 *
 * A step of n decoding rows and p rows of prompts is taken to last plain(n) + p x row. plain() goes
 * through points at 1, 2, 3, 4, 6, 8, 12, 16, ... rows, straight between them; beyond what was seen
 * it is flat, so that what is new is tried, and measured then. Both are smoothed; a step far off
 * counts as less far. So that plain() stays true under constant load, one
 * step in PACE_LOOK is a plain one.
 *
 * Owner:   the engine thread.
 * Memory:  plain struct, nothing allocated.
 * Errors:  none; a step without time or rows teaches nothing.
 * Threads: none. No clock: times are told, so a test can drive it with machines of its own. */
#ifndef OCTET_SERVER_PACE_H
#define OCTET_SERVER_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define PACE_POINTS 20u /* 1, 2, 3, 4, ... 768, 1024 rows */
#define PACE_LOOK 64u
#define PACE_LEAST 8u /* rows that prompts get whatever the target: they must get on */

struct pace {
    double target_us;             /* 0: automatic */
    double plain_us[PACE_POINTS]; /* 0: not seen */
    uint8_t n_seen[PACE_POINTS];  /* saturating */
    double rows_us, rows_n;       /* of prompts: their time and number, */
    bool rows_beside;             /* beside decoding ones or, as long as there were none, alone */
    uint32_t since_plain; /* steps of more than decoding rows, since the last of only those */
};

/* What a step was: one row a decoding sequence, rows for guesses, rows of prompts. */
struct pace_step {
    uint32_t n_decoding, n_draft, n_prompt;
};

void pace_init(struct pace *pace, uint32_t target_ms);
void pace_saw(struct pace *pace, const struct pace_step *step, double us);

/* Microseconds of a step of so many rows that decode or guess; 0: nothing was seen yet. */
double pace_plain_us(const struct pace *pace, uint32_t rows);
double pace_row_us(const struct pace *pace); /* of a prompt's row beside them; 0: nothing yet */
/* The next step of so many decoding sequences should have their rows and no others. */
bool pace_wants_plain(const struct pace *pace, uint32_t n_decoding);
/* Rows of prompts for the next step, at most so many: such that it takes no longer than the target,
 * without one a little less than twice a plain step. */
uint32_t pace_prompt_rows(const struct pace *pace, uint32_t n_decoding, uint32_t most);

#endif
