/* sample.h - from a row of logits to a token. Behind sampler_* and runner_sample of model.h.
 *
 * Owner:   a sampler belongs to its sequence; scratch to a worker.
 * Memory:  a bit a token in the sampler; six rows of floats in the scratch, touched on use.
 * Order:   repetition penalty (Keskar et al. 2019, CTRL, section 4.1), banned ends, temperature,
 * top_k (Fan et al. 2018), top_p (Holtzman et al. 2020), min_p (Nguyen et al. 2024), draw. Ties go
 * to the smaller id. The n-th draw of a seed is a pure function of both, so a text can be resumed
 * and repeated. */
#ifndef OCTET_MODEL_NET_SAMPLE_H
#define OCTET_MODEL_NET_SAMPLE_H

#include "model/kernels/kernels.h"
#include "model/model.h"

struct sample_scratch {
    float *l, *p;           /* [n_vocab] */
    uint64_t *best, *spare; /* [n_vocab] candidates */
    uint32_t *tops;         /* [n_vocab / 64, rounded up] */
    double *sums;           /* [n_vocab / 256, rounded up] */
};

/* ends: ids that ban_end excludes; copied. */
int sampler_new(uint32_t n_vocab, const int32_t *ends, size_t n_ends,
                const struct sampler_opts *opts, struct sampler **ret_sampler);
int sample_scratch_open(struct sample_scratch *s, size_t n_vocab);
void sample_scratch_done(struct sample_scratch *s);
/* ST_INTERNAL: the logits hold a NaN or an infinity. */
int sample_draw(struct sampler *s, const struct kernels *kernels, const float *logits,
                struct sample_scratch *scratch, int32_t *ret_id);

#endif
