/* gate.h - how many requests may be inside, and when one that found it full should come back.
 *
 * A place is held from QUEUE until the engine has handed the request back. max_running of them can
 * be in the batch, max_queue more may wait.
 *
 * Owner:   the loop thread.
 * Memory:  plain struct, nothing allocated.
 * Errors:  gate_enter() says false when full; that is 429.
 * Threads: loop only; time is given by the caller, so that it can be tested. */
#ifndef OCTET_SERVER_GATE_H
#define OCTET_SERVER_GATE_H

#include <stdbool.h>
#include <stdint.h>

struct gate {
    uint32_t max_running, max_queue;
    uint32_t inside;  /* hold a place */
    uint32_t waiting; /* of those: not admitted to the batch yet */
    double gap_us;    /* smoothed time between two that left the waiting line; 0: not measured */
    uint64_t last_us; /* when the last one left it, or when the line began */
};

void gate_init(struct gate *gate, uint32_t max_running, uint32_t max_queue);

bool gate_enter(struct gate *gate, uint64_t now_us);
/* It is in the batch now (once a request; one that never gets there just leaves). */
void gate_admitted(struct gate *gate, uint64_t now_us);
void gate_leave(struct gate *gate, bool was_admitted, uint64_t now_us);

/* Time until the waiting line has drained at the measured pace: 1,000 .. 60,000 ms. */
uint32_t gate_retry_ms(const struct gate *gate, uint64_t now_us);

#endif
