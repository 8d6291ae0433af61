/* speculate.h - which requests of a batch get guesses in the next step, and what came of them.
 *
 * Owner:   the engine thread.
 * Memory:  the batch's; guesses stand in request->ids, where the tokens will.
 * Errors:  none: without memory or use there are no guesses.
 * Threads: the engine's only. */
#ifndef OCTET_SERVER_SPECULATE_H
#define OCTET_SERVER_SPECULATE_H

#include <stdint.h>

#include "model/model.h"
#include "server/request.h"

struct batch;

/* Between sched_admit() and sched_plan(): what n_decoding running requests would like to guess. */
void speculate(struct batch *batch, uint32_t n_decoding);
/* The tokens of a job are known, and not yet in request->ids. */
void speculate_saw(struct batch *batch, struct request *request, const struct sample_job *job);

#endif
