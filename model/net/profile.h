/* profile.h - which part of a step each compute thread spends its time on.
 *
 * Owner:   one clock a worker, written by that worker alone; read between steps.
 * Memory:  inside the caller's array.
 * Errors:  none. Off, a mark costs one test of a flag. */
#ifndef OCTET_MODEL_NET_PROFILE_H
#define OCTET_MODEL_NET_PROFILE_H

#include "model/model.h"

struct profile {
    _Alignas(64) bool on;
    double since_s; /* when the current part began */
    struct runner_profile sum;
};

/* A step begins for this worker. */
void profile_begin(struct profile *p);
/* What ran since the last mark was `part`. */
void profile_mark(struct profile *p, enum runner_part part);
void profile_macs(struct profile *p, enum runner_part part, double macs);

#endif
