/* eval_stats.h - the arithmetic of `octet eval`: a row of logits to a score, scores to the figures.
 *
 * Logits are scored as softmax(x)_i = exp(x_i - max) / sum_j exp(x_j - max), natural logarithms
 * throughout. Owner, memory: the caller's; nothing is kept. Errors: none; what is not finite shows
 * in the score. Threads: pure functions. */
#ifndef OCTET_TOOLS_EVAL_STATS_H
#define OCTET_TOOLS_EVAL_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One position. The last four only with a reference. */
struct eval_score {
    double nll;     /* -log p of the token that follows in the text */
    double ref_nll; /* the same by the reference */
    double kld;     /* KL(reference || model) = sum_i p_ref (log p_ref - log p) */
    double dp;      /* p - p_ref of the token that follows */
    bool same_top;  /* both hold the same token for the likeliest */
};

/* logits, ref: n floats each (ref may be NULL); next: 0 .. n-1. A NaN or infinity in a row makes
 * nll (or ref_nll) not finite. */
void eval_score_row(const float *logits, const float *ref, size_t n, int32_t next,
                    struct eval_score *ret_score);

struct eval_summary {
    double ppl;    /* exp of the mean nll */
    double ppl_se; /* ppl times the standard error of that mean, as llama-perplexity gives it */
    double ref_ppl, ppl_ratio;
    double kld_mean, kld_median, kld_p99, kld_max; /* percentiles: linear between neighbours */
    double same_top;                               /* fraction */
    double rms_dp;                                 /* root of the mean square of dp: a fraction */
};

/* n >= 1. work: room for n doubles (it is sorted in there). */
void eval_summarize(const struct eval_score *scores, size_t n, double *work,
                    struct eval_summary *ret_summary);

#endif
