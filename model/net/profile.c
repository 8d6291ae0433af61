#include "model/net/profile.h"

#include <time.h>

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

const char *runner_part_name(enum runner_part part)
{
    static const char *const names[RUNNER_PARTS] = {"embed",     "prepare",  "qkv",    "o",
                                                    "gate_up",   "down",     "head",   "store",
                                                    "attention", "activate", "sample", "wait"};

    return names[part];
}

void profile_begin(struct profile *p)
{
    if (p->on)
        p->since_s = now_s();
}

void profile_mark(struct profile *p, enum runner_part part)
{
    if (!p->on)
        return;
    double now = now_s();
    p->sum.seconds[part] += now - p->since_s;
    p->since_s = now;
}

void profile_macs(struct profile *p, enum runner_part part, double macs)
{
    if (p->on)
        p->sum.product_macs[part] += macs;
}
