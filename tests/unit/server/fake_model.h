/* fake_model.h - what the two halves of the fake share.
 *
 * Owner, memory: as model/model.h says. Errors: asserts. Threads: as there. */
#ifndef OCTET_TESTS_FAKE_MODEL_H
#define OCTET_TESTS_FAKE_MODEL_H

#include <time.h>

#include "model/model.h"

enum { BOS = 256, EOS = 257, POISON = 258, N_VOCAB = 512 };
#define MAX_PIECE 65536u

struct model {
    struct model_info info;
    uint64_t step_us, row_us, tokenize_ms, eos_every, fail_step, period;
    size_t token_bytes;
    struct quality quality; /* info's, with FAKE_KLD */
    char piece[MAX_PIECE];  /* filler of a long token */
};

static inline void sleep_us(uint64_t us)
{
    struct timespec time = {.tv_sec = (time_t)(us / 1000000),
                            .tv_nsec = (long)(us % 1000000) * 1000};

    if (us)
        nanosleep(&time, NULL);
}

#endif
