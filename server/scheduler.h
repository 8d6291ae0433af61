/* scheduler.h - who is in the next step: state in, batch plan out.
 *
 * Sequences wait and run in the order they came; admission takes the oldest that waits, preemption
 * the youngest that runs, so every running one is older than every waiting one and the oldest
 * always gets on. A sequence knows n_tokens (prompt and what was made so far), of which n_done are
 * stored in pages; the rest is still to be computed: one row for a decoding sequence, a prompt for
 * others.
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
    uint32_t max_seqs;    /* sequences that run at once */
    uint32_t max_rows;    /* rows of one step; at least max_seqs */
    uint32_t page_tokens; /* positions of one page */
    uint32_t n_pages;     /* enough for the longest sequence that is ever added */
};

enum sched_place { SCHED_OUT, SCHED_WAITING, SCHED_RUNNING };

struct sched_item {
    struct sched_item *prev, *next;
    enum sched_place place;
    uint64_t order;    /* smaller came earlier */
    uint32_t n_tokens; /* known */
    uint32_t n_done;   /* stored */
    uint32_t n_pages;  /* held */
};

/* Rows first .. first + n - 1 of one sequence. */
struct sched_slice {
    struct sched_item *item;
    uint32_t first, n;
    bool logits; /* its last row is the last known token: a new one can be drawn */
};

struct sched_plan {
    struct sched_item **preempted; /* put back to wait, youngest first; n_done is 0 again */
    struct sched_item **admitted;  /* run now; pages for n_tokens counted as theirs */
    struct sched_slice *slices;    /* the rows of the step, oldest sequence first */
    uint32_t n_preempted, n_admitted, n_slices, n_rows;
};

struct sched_list {
    struct sched_item *head, *tail;
    uint32_t n;
};

struct sched {
    struct sched_limits limits;
    struct sched_list waiting, running; /* each oldest first */
    uint32_t pages_free;
    uint64_t next_order;
    struct sched_plan plan; /* of the last sched_step(); arrays of max_seqs */
};

int sched_open(struct sched *sched, const struct sched_limits *limits);
void sched_done(struct sched *sched);

/* At the end of the waiting line; n_tokens is at least 1 and fits n_pages. */
void sched_add(struct sched *sched, struct sched_item *item, uint32_t n_tokens);
/* From wherever it is; its pages are free again. */
void sched_remove(struct sched *sched, struct sched_item *item);
/* A token was drawn for a running sequence all of whose known tokens are stored. */
void sched_grow(struct sched *sched, struct sched_item *item);

/* Decide the next step: grow the running ones (preempting where pages are short), admit, divide the
 * rows. The caller carries it out and then calls sched_commit(). Nobody may be removed in between.
 */
const struct sched_plan *sched_step(struct sched *sched);
/* The rows of the plan are stored now. */
void sched_commit(struct sched *sched);

#endif
