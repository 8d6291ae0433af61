#include "server/stage.h"

#include <assert.h>
#include <stddef.h>

#define BIT(stage) (1u << (stage))

struct path_entry {
    const char *name;
    unsigned next; /* stages that may follow, beside FAILED and CANCELLED */
};

static const struct path_entry path[N_STAGES] = {
    [STAGE_RECEIVE] = {"receive", BIT(STAGE_ROUTE)},
    [STAGE_ROUTE] = {"route", BIT(STAGE_PARSE) | BIT(STAGE_DONE)},
    [STAGE_PARSE] = {"parse", BIT(STAGE_QUEUE)},
    [STAGE_QUEUE] = {"queue", BIT(STAGE_TOKENIZE)},
    [STAGE_TOKENIZE] = {"tokenize", BIT(STAGE_ADMIT)},
    /* to STREAM: one that was preempted meets its deadline and goes out with what it has */
    [STAGE_ADMIT] = {"admit", BIT(STAGE_BATCH) | BIT(STAGE_STREAM)},
    /* to ADMIT: its pages were given to an older one; to STREAM: a deadline, as above */
    [STAGE_BATCH] = {"batch", BIT(STAGE_FORWARD) | BIT(STAGE_ADMIT) | BIT(STAGE_STREAM)},
    /* back to BATCH while the prompt has further chunks */
    [STAGE_FORWARD] = {"forward", BIT(STAGE_SAMPLE) | BIT(STAGE_BATCH)},
    [STAGE_SAMPLE] = {"sample", BIT(STAGE_DETOK)},
    [STAGE_DETOK] = {"detok", BIT(STAGE_STREAM)},
    [STAGE_STREAM] = {"stream", BIT(STAGE_BATCH) | BIT(STAGE_DONE)},
    [STAGE_DONE] = {"done", 0},
    [STAGE_FAILED] = {"failed", 0},
    [STAGE_CANCELLED] = {"cancelled", 0},
};

const char *stage_name(enum stage stage)
{
    assert(stage < N_STAGES);
    return path[stage].name;
}

bool stage_is_end(enum stage stage)
{
    return stage == STAGE_DONE || stage == STAGE_FAILED || stage == STAGE_CANCELLED;
}

bool stage_may_follow(enum stage from, enum stage to)
{
    assert(from < N_STAGES && to < N_STAGES);
    if (stage_is_end(from))
        return false;
    if (to == STAGE_FAILED || to == STAGE_CANCELLED)
        return true;
    return (path[from].next & BIT(to)) != 0;
}
