#include "model/net/sample.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sampler {
    struct sampler_opts opts;
    uint32_t n_vocab;
    uint64_t n_draws;
    uint64_t *seen; /* a bit a token: in the prompt or the output */
    size_t n_ends;
    int32_t ends[];
};

int sampler_new(uint32_t n_vocab, const int32_t *ends, size_t n_ends,
                const struct sampler_opts *opts, struct sampler **ret_sampler)
{
    struct sampler *s = calloc(1, sizeof(*s) + n_ends * sizeof(*ends));

    if (!s)
        return ST_NOMEM;
    s->opts = *opts;
    s->n_vocab = n_vocab;
    s->n_ends = n_ends;
    if (n_ends)
        memcpy(s->ends, ends, n_ends * sizeof(*ends));
    s->seen = calloc(n_vocab / 64 + 1, sizeof(*s->seen));
    if (!s->seen) {
        free(s);
        return ST_NOMEM;
    }
    *ret_sampler = s;
    return ST_OK;
}

void sampler_free(struct sampler *s)
{
    if (!s)
        return;
    free(s->seen);
    free(s);
}

int sampler_accept(struct sampler *s, int32_t id)
{
    if (id < 0 || (uint32_t)id >= s->n_vocab)
        return ST_INVALID;
    s->seen[id / 64] |= UINT64_C(1) << (id % 64);
    return ST_OK;
}

int sample_scratch_open(struct sample_scratch *s, size_t n_vocab)
{
    s->l = malloc(n_vocab * sizeof(*s->l));
    s->p = malloc(n_vocab * sizeof(*s->p));
    s->order = malloc(n_vocab * sizeof(*s->order));
    if (s->l && s->p && s->order)
        return ST_OK;
    sample_scratch_done(s);
    return ST_NOMEM;
}

void sample_scratch_done(struct sample_scratch *s)
{
    free(s->l);
    free(s->p);
    free(s->order);
    *s = (struct sample_scratch){0};
}

/* Uniform in [0, 1) with 53 bits: SplitMix64 (Steele et al. 2014, figure 16) of the seed at step n.
 */
static double uniform(uint64_t seed, uint64_t n)
{
    uint64_t z = seed + (n + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

static void penalize(const struct sampler *s, float *l)
{
    float penalty = s->opts.repetition_penalty;

    if (penalty == 1.0f)
        return;
    for (size_t w = 0; w <= s->n_vocab / 64; w++)
        for (uint64_t bits = s->seen[w]; bits; bits &= bits - 1) {
            float *x = &l[w * 64 + (size_t)__builtin_ctzll(bits)];
            /* A tiny penalty takes a logit out of the floats: the largest one says the same. */
            *x = *x > 0.0f ? fminf(*x / penalty, FLT_MAX) : *x * penalty;
        }
}

/* Heap order: larger probability first, smaller id among equals. */
static bool before(const float *p, int32_t a, int32_t b)
{
    return p[a] > p[b] || (p[a] == p[b] && a < b);
}

static void sift(int32_t *heap, size_t n, size_t i, const float *p)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(p, heap[child + 1], heap[child]))
            child++;
        if (!before(p, heap[child], heap[i]))
            return;
        int32_t t = heap[i];
        heap[i] = heap[child];
        heap[child] = t;
    }
}

/* Candidates in falling order until top_k and top_p are met; they end up at the end of order, last
 * one first. Returns how many; *ret_sum is theirs. total: the sum of all p. */
static size_t take_best(const struct sampler *s, struct sample_scratch *w, double total,
                        double *ret_sum)
{
    const float *p = w->p;
    size_t n = 0, kept = 0, k = s->opts.top_k ? s->opts.top_k : s->n_vocab;
    double sum = 0.0, want = s->opts.top_p, kept_total = total;
    /* Those below cannot matter to top_p: together they are less than what it leaves out. */
    float floor =
        s->opts.top_k || want >= 1.0 ? 0.0f : (float)((1.0 - want) * total / s->n_vocab * 0.5);

    for (uint32_t i = 0; i < s->n_vocab; i++)
        if (p[i] > floor)
            w->order[n++] = (int32_t)i;
    for (size_t i = n / 2; i-- > 0;)
        sift(w->order, n, i, p);
    /* top_p is a share of what top_k left: with both, take k first, then cut. */
    size_t end = n;
    while (end > 0 && kept < k && (s->opts.top_k || sum < want * total)) {
        int32_t best = w->order[0];
        w->order[0] = w->order[--end];
        w->order[end] = best;
        sift(w->order, end, 0, p);
        sum += p[best];
        kept++;
    }
    if (s->opts.top_k && want < 1.0) {
        kept_total = sum;
        sum = 0.0;
        for (kept = 0; sum < want * kept_total && kept < n - end; kept++)
            sum += p[w->order[n - 1 - kept]];
    }
    while (kept > 1 && p[w->order[n - kept]] < s->opts.min_p * p[w->order[n - 1]])
        sum -= p[w->order[n - kept--]];
    memmove(w->order, w->order + n - kept, kept * sizeof(*w->order));
    *ret_sum = sum;
    return kept;
}

static int32_t draw_best(const struct sampler *s, struct sample_scratch *w, double total, double u)
{
    double sum, acc = 0.0;
    size_t n = take_best(s, w, total, &sum);

    for (size_t i = n; i-- > 1;) {
        acc += w->p[w->order[i]];
        if (acc > u * sum)
            return w->order[i];
    }
    return w->order[0];
}

/* All candidates above min_p, in the order of their ids. */
static int32_t draw_any(const struct sampler *s, const struct sample_scratch *w, float max,
                        double u)
{
    enum { CHUNK = 256 };
    float floor = s->opts.min_p * max;
    double total = 0.0, acc = 0.0;
    int32_t last = -1;

    for (int pass = 0; pass < 2;
         pass++) { /* sum, then find; the same additions in the same order */
        double run = 0.0;
        for (uint32_t c = 0; c < s->n_vocab; c += CHUNK) {
            uint32_t end = s->n_vocab - c < CHUNK ? s->n_vocab : c + CHUNK;
            double part = 0.0;
            for (uint32_t i = c; i < end; i++)
                part += w->p[i] >= floor ? (double)w->p[i] : 0.0;
            if (pass == 1 && part > 0.0 && run + part > u * total) {
                acc = run;
                for (uint32_t i = c; i < end; i++)
                    if (w->p[i] >= floor && w->p[i] > 0.0f) {
                        acc += w->p[i];
                        last = (int32_t)i;
                        if (acc > u * total)
                            return last;
                    }
            }
            run += part;
        }
        total = run;
    }
    return last;
}

int sample_draw(struct sampler *s, const struct kernels *kernels, const float *logits,
                struct sample_scratch *w, int32_t *ret_id)
{
    const float *l = logits;
    size_t best;

    if (s->opts.repetition_penalty != 1.0f || s->opts.ban_end) {
        memcpy(w->l, logits, s->n_vocab * sizeof(*w->l));
        penalize(s, w->l);
        for (size_t i = 0; s->opts.ban_end && i < s->n_ends; i++)
            w->l[s->ends[i]] = -FLT_MAX;
        l = w->l;
    }
    best = kernels->argmax(l, s->n_vocab);
    if (best == s->n_vocab)
        return ST_INTERNAL;
    /* Below 1e-5 a temperature is greedy: 1 / t would leave the floats. */
    if (s->opts.temperature >= 1e-5f) {
        float total = kernels->exp_sum(l, l[best], 1.0f / s->opts.temperature, w->p, s->n_vocab);
        double u = uniform(s->opts.seed, s->n_draws);
        bool sorted = s->opts.top_k || s->opts.top_p < 1.0f;
        int32_t id = sorted ? draw_best(s, w, (double)total, u) : draw_any(s, w, w->p[best], u);
        if (id >= 0)
            best = (size_t)id;
    }
    s->n_draws++;
    *ret_id = (int32_t)best;
    return sampler_accept(s, *ret_id);
}
