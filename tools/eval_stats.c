#include "tools/eval_stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Sums run in LANES floats, which compilers turn into vectors without being allowed to reorder, and
 * go over into a double after BLOCK elements: 32 additions a lane. */
#define LANES 16
#define BLOCK 512

/* e^x for x <= 0, to 2e-7 relative; NaN stays NaN. x = n ln 2 + r with |r| <= ln 2 / 2, e^r by its
 * Taylor series to r^7 (the next term is 5e-9), 2^n by the exponent bits. Branch-free, so that
 * loops over it become vectors; libm's expf() is not. */
static inline float exp_neg(float x)
{
    const float to_int =
        12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
    const float ln2_hi = 0.693359375f, ln2_lo = -2.12194440e-4f;
    float shifted, n, r, e, scale;
    uint32_t bits;

    x = x < -87.0f ? -87.0f : x; /* 1e-38: nothing beside the 1 of the largest */
    shifted = x * 1.44269504f + to_int;
    n = shifted - to_int;
    r = x - n * ln2_hi - n * ln2_lo;
    e = 1.0f / 720 + r * (1.0f / 5040);
    e = 1.0f / 120 + r * e;
    e = 1.0f / 24 + r * e;
    e = 1.0f / 6 + r * e;
    e = 0.5f + r * e;
    e = 1.0f + r * e;
    e = 1.0f + r * e;
    memcpy(&bits, &shifted, sizeof(bits));
    bits = (bits + 127) << 23;
    memcpy(&scale, &bits, sizeof(scale));
    return e * scale;
}

/* e[i] = exp(x[i] - max), i < n */
static void exp_block(const float *restrict x, size_t n, float max, float *restrict e)
{
    for (size_t i = 0; i < n; i++)
        e[i] = exp_neg(x[i] - max);
}

/* Sum of n <= BLOCK floats. */
static double sum_block(const float *x, size_t n)
{
    float lanes[LANES] = {0};
    double sum = 0;
    size_t i;

    for (i = 0; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lanes[j] += x[i + j];
    for (size_t j = 0; j < LANES; j++)
        sum += (double)lanes[j];
    for (; i < n; i++)
        sum += (double)x[i];
    return sum;
}

/* Largest element; *ret_at is its first place. NaNs are passed over: the sums below catch them. */
static float row_max(const float *x, size_t n, size_t *ret_at)
{
    float lanes[LANES], max;
    size_t i, at = 0;

    for (size_t j = 0; j < LANES; j++)
        lanes[j] = -INFINITY;
    for (i = 0; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    max = lanes[0];
    for (size_t j = 1; j < LANES; j++)
        max = lanes[j] > max ? lanes[j] : max;
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    while (at + 1 < n && !(x[at] == max))
        at++;
    *ret_at = at;
    return max;
}

/* sum_i exp(x_i - max) */
static double sum_exp(const float *x, size_t n, float max)
{
    float e[BLOCK];
    double sum = 0;

    for (size_t start = 0; start < n; start += BLOCK) {
        size_t len = n - start < BLOCK ? n - start : BLOCK;
        exp_block(x + start, len, max, e);
        sum += sum_block(e, len);
    }
    return sum;
}

/* What a reference's row r and a model's row x have to do with each other: sum_i e_i and sum_i e_i
 * ((r_i - r_max) - (x_i - x_max)) with e_i = exp(r_i - r_max). The second is the KL divergence
 * before its normalization; both differences are small or negative, so floats lose nothing that
 * counts. */
static void sum_cross(const float *r, float r_max, const float *x, float x_max, size_t n,
                      double *ret_sum, double *ret_cross)
{
    float e[BLOCK];
    double sum = 0, cross = 0;

    for (size_t start = 0; start < n; start += BLOCK) {
        size_t len = n - start < BLOCK ? n - start : BLOCK;
        exp_block(r + start, len, r_max, e);
        sum += sum_block(e, len);
        for (size_t i = 0; i < len; i++)
            e[i] *= (r[start + i] - r_max) - (x[start + i] - x_max);
        cross += sum_block(e, len);
    }
    *ret_sum = sum;
    *ret_cross = cross;
}

void eval_score_row(const float *logits, const float *ref, size_t n, int32_t next,
                    struct eval_score *ret_score)
{
    struct eval_score score = {0};
    size_t top, ref_top;
    float max = row_max(logits, n, &top), ref_max;
    double sum = sum_exp(logits, n, max), ref_sum, cross;

    score.nll = log(sum) - ((double)logits[next] - (double)max);
    if (ref) {
        ref_max = row_max(ref, n, &ref_top);
        sum_cross(ref, ref_max, logits, max, n, &ref_sum, &cross);
        score.ref_nll = log(ref_sum) - ((double)ref[next] - (double)ref_max);
        /* log p_ref - log p = (r - r_max - log R) - (x - x_max - log S), weighted by exp(r - r_max)
         * / R */
        score.kld = cross / ref_sum - (log(ref_sum) - log(sum));
        score.dp = exp(-score.nll) - exp(-score.ref_nll);
        score.same_top = top == ref_top;
    }
    *ret_score = score;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Linear between the two neighbours of fraction * (n - 1). */
static double percentile(const double *sorted, size_t n, double fraction)
{
    double place = fraction * (double)(n - 1);
    size_t below = (size_t)place, above = below + 1 < n ? below + 1 : below;

    return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

void eval_summarize(const struct eval_score *scores, size_t n, double *work,
                    struct eval_summary *ret_summary)
{
    struct eval_summary s = {0};
    double nll = 0, nll2 = 0, ref_nll = 0, kld = 0, dp2 = 0, same = 0, count = (double)n, variance;

    for (size_t i = 0; i < n; i++) {
        nll += scores[i].nll;
        nll2 += scores[i].nll * scores[i].nll;
        ref_nll += scores[i].ref_nll;
        kld += scores[i].kld;
        dp2 += scores[i].dp * scores[i].dp;
        same += scores[i].same_top;
        work[i] = scores[i].kld;
    }
    qsort(work, n, sizeof(*work), ascending);

    s.ppl = exp(nll / count);
    variance = nll2 / count - nll / count * (nll / count);
    if (variance > 0 && n > 1)
        s.ppl_se = sqrt(variance / (count - 1)) * s.ppl;
    s.ref_ppl = exp(ref_nll / count);
    s.ppl_ratio = exp((nll - ref_nll) / count);
    s.kld_mean = kld / count;
    s.kld_median = percentile(work, n, 0.5);
    s.kld_p99 = percentile(work, n, 0.99);
    s.kld_max = work[n - 1];
    s.same_top = same / count;
    s.rms_dp = sqrt(dp2 / count);
    *ret_summary = s;
}
