/* scheduler.h - who is in the next step: state in, batch plan out.
 *
 * Sequences wait and run in the order they came; admission takes the oldest that waits, preemption
 * the youngest that runs, so every running one is older than every waiting one and the oldest
 * always gets on. A sequence knows n_tokens (prompt and what was made so far), of which n_done are
 * stored in pages; the rest is still to be computed: one row for a decoding sequence, a prompt for
 * others. Pages may be shared, so who keeps them counts them, not the schedule.
 *
 * Owner:   the engine thread.
 * Memory:  items are intrusive and belong to whoever added them; arrays are sized at sched_open().
 * Errors:  none while running: impossible sizes are refused before sched_add() and asserted here.
 * Threads: none. No clock, no model: a property test drives it alone. */
#ifndef OCTET_SERVER_SCHEDULER_H
#define OCTET_SERVER_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sched_limits {
    uint32_t max_seqs; /* sequences that run at once */
    uint32_t max_rows; /* rows of one step; at least max_seqs */
};

enum sched_place { SCHED_OUT, SCHED_WAITING, SCHED_RUNNING };

struct sched_item {
    struct sched_item *prev, *next;
    enum sched_place place;
    uint64_t order;    /* smaller came earlier */
    uint32_t n_tokens; /* known */
    uint32_t n_done;   /* stored */
    uint32_t n_draft;  /* guesses it would like to run behind its row; for one sched_plan() */
};

/* Who keeps the pages: the runner, or a test. Called from inside sched_admit() and sched_plan(). */
struct sched_store {
    void *arg;
    uint32_t (*pages_free)(void *arg);
    /* Give it pages for its n_tokens such that `spare` others stay free; *ret_done: how many of its
     * tokens are stored already, less than n_tokens. false: no room, nothing has changed. Must
     * succeed when nobody else holds pages. */
    bool (*admit)(void *arg, struct sched_item *item, uint32_t spare, uint32_t *ret_done);
    /* Pages for n_tokens of a running one; false: not enough are free, it keeps what it had. */
    bool (*reserve)(void *arg, struct sched_item *item, uint32_t n_tokens);
    /* It has to wait again: take its pages back. */
    void (*preempt)(void *arg, struct sched_item *item);
};

/* Rows first .. first + n - 1 of one sequence. */
struct sched_slice {
    struct sched_item *item;
    uint32_t first, n;
    uint32_t n_draft; /* of those: the last ones, for guesses */
    bool logits;      /* its last known token is among them: a new one can be drawn */
};

struct sched_plan {
    struct sched_slice *slices; /* the rows of the step, oldest sequence first */
    uint32_t n_slices, n_rows, n_draft;
};

struct sched_list {
    struct sched_item *head, *tail;
    uint32_t n;
};

struct sched {
    struct sched_limits limits;
    struct sched_store store;
    struct sched_list waiting, running; /* each oldest first */
    uint64_t next_order;
    uint32_t refused_free;  /* pages that were free when the first in line did not fit */
    bool refused;           /* it did not */
    struct sched_plan plan; /* of the last sched_plan(); room for max_seqs slices */
};

int sched_open(struct sched *sched, const struct sched_limits *limits,
               const struct sched_store *store);
void sched_done(struct sched *sched);

/* At the end of the waiting line; n_tokens is at least 1 and fits the pages if it is alone. */
void sched_add(struct sched *sched, struct sched_item *item, uint32_t n_tokens);
/* From wherever it is. Its pages are the caller's to give back. */
void sched_remove(struct sched *sched, struct sched_item *item);
/* n tokens were drawn for a running sequence all of whose known tokens are stored: all but the last
 * are stored too, as the guesses that they proved right. */
void sched_grow(struct sched *sched, struct sched_item *item, uint32_t n);

/* The next step, first half: pages for what the running ones know (preempting where they are
 * short), and those that wait are let in. */
void sched_admit(struct sched *sched);
/* Running ones with one row to come; the others have prompts to compute. */
uint32_t sched_decoding(const struct sched *sched);
/* Second half: divide the rows. prompt_rows: the most for prompts in all; 0 only while some decode.
 * The caller carries it out and then calls sched_commit(). Nobody may be removed since
 * sched_admit(). */
const struct sched_plan *sched_plan(struct sched *sched, uint32_t prompt_rows);
/* The rows of the plan are stored now (guesses: as far as sched_grow() will say). */
void sched_commit(struct sched *sched);

#endif
