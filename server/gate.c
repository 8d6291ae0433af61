#include "server/gate.h"

#include <assert.h>
#include <stddef.h>

#define RETRY_MIN_MS 1000u
#define RETRY_MAX_MS 60000u
#define SMOOTHING 0.125 /* weight of the newest gap: about the last eight count */

void gate_init(struct gate *gate, uint32_t max_running, uint32_t max_queue)
{
    *gate = (struct gate){.max_running = max_running, .max_queue = max_queue};
}

bool gate_enter(struct gate *gate, uint64_t now_us)
{
    if (gate->inside >= (uint64_t)gate->max_running + gate->max_queue)
        return false;
    /* Gaps are measured only while somebody waits: an idle night says nothing about the pace. */
    if (gate->waiting == 0)
        gate->last_us = now_us;
    gate->inside++;
    gate->waiting++;
    return true;
}

static void left_the_line(struct gate *gate, uint64_t now_us)
{
    assert(gate->waiting > 0);
    double gap_us = (double)(now_us - gate->last_us);
    gate->gap_us = gate->gap_us == 0 ? gap_us : gate->gap_us + SMOOTHING * (gap_us - gate->gap_us);
    gate->last_us = now_us;
    gate->waiting--;
}

void gate_admitted(struct gate *gate, uint64_t now_us)
{
    left_the_line(gate, now_us);
}

void gate_leave(struct gate *gate, bool was_admitted, uint64_t now_us)
{
    assert(gate->inside > 0);
    if (!was_admitted)
        left_the_line(gate, now_us);
    gate->inside--;
}

uint32_t gate_retry_ms(const struct gate *gate, uint64_t now_us)
{
    double gap_us = gate->gap_us;
    double since_us = (double)(now_us - gate->last_us);

    /* A stalled line is slower than its history. */
    if (gate->waiting > 0 && since_us > gap_us)
        gap_us = since_us;
    double ms = gap_us * gate->waiting / 1000.0;
    if (ms < RETRY_MIN_MS)
        return RETRY_MIN_MS;
    return ms > RETRY_MAX_MS ? RETRY_MAX_MS : (uint32_t)ms;
}
