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

enum { TOP = 64, CHUNK = 256, LANES = 8 }; /* probabilities that are looked at together */

static size_t groups(size_t n, size_t of)
{
    return n / of + (n % of != 0);
}

int sample_scratch_open(struct sample_scratch *s, size_t n_vocab)
{
    s->l = malloc(n_vocab * sizeof(*s->l));
    s->p = malloc(n_vocab * sizeof(*s->p));
    s->best = malloc(n_vocab * sizeof(*s->best));
    s->spare = malloc(n_vocab * sizeof(*s->spare));
    s->tops = malloc(groups(n_vocab, TOP) * sizeof(*s->tops));
    s->sums = malloc(groups(n_vocab, CHUNK) * sizeof(*s->sums));
    if (s->l && s->p && s->best && s->spare && s->tops && s->sums)
        return ST_OK;
    sample_scratch_done(s);
    return ST_NOMEM;
}

void sample_scratch_done(struct sample_scratch *s)
{
    free(s->l);
    free(s->p);
    free(s->best);
    free(s->spare);
    free(s->tops);
    free(s->sums);
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

/* Probabilities are not negative: as integers, their bits are in the same order. */
static uint32_t bits_of(float p)
{
    uint32_t bits;
    memcpy(&bits, &p, sizeof(bits));
    return bits;
}

/* The complement, so that sorted upwards probabilities fall. */
static uint64_t candidate(uint32_t bits, size_t id)
{
    return (uint64_t)~bits << 32 | id;
}

static uint32_t candidate_bits(uint64_t candidate)
{
    return ~(uint32_t)(candidate >> 32);
}

static size_t candidate_id(uint64_t candidate)
{
    return (uint32_t)candidate;
}

/* w->best[n] by falling probability; equal ones keep their order. Radix sort, a byte at a time from
 * the least (Knuth, The Art of Computer Programming 3, 5.2.5). */
static void sort_best(struct sample_scratch *w, size_t n)
{
    enum { BYTES = 4 };
    uint32_t count[BYTES][256] = {{0}};

    for (size_t i = 0; i < n; i++)
        for (int b = 0; b < BYTES; b++)
            count[b][w->best[i] >> (32 + 8 * b) & 255]++;
    for (int b = 0; b < BYTES && n > 1; b++) {
        const int shift = 32 + 8 * b;
        if (count[b][w->best[0] >> shift & 255] == n)
            continue; /* all the same */
        for (uint32_t digit = 0, at = 0; digit < 256; digit++) {
            uint32_t here = count[b][digit];
            count[b][digit] = at;
            at += here;
        }
        for (size_t i = 0; i < n; i++)
            w->spare[count[b][w->best[i] >> shift & 255]++] = w->best[i];
        uint64_t *sorted = w->spare;
        w->spare = w->best;
        w->best = sorted;
    }
}

/* w->tops[i] = the largest bits of the i-th TOP probabilities. */
static void find_tops(struct sample_scratch *w, size_t n_vocab)
{
    for (size_t c = 0; c < n_vocab; c += TOP) {
        size_t end = n_vocab - c < TOP ? n_vocab : c + TOP;
        int32_t top = 0; /* signed: what vector units compare */
        for (size_t i = c; i < end; i++) {
            int32_t bits = (int32_t)bits_of(w->p[i]);
            top = bits > top ? bits : top;
        }
        w->tops[c / TOP] = (uint32_t)top;
    }
}

/* Bits that k candidates or more have, or exceed: the largest of k groups. */
static uint32_t kth_top(struct sample_scratch *w, size_t n_vocab, size_t k)
{
    const size_t n = groups(n_vocab, TOP);

    if (k > n)
        return 0;
    for (size_t i = 0; i < n; i++)
        w->best[i] = candidate(w->tops[i], i);
    sort_best(w, n);
    return candidate_bits(w->best[k - 1]);
}

/* Sort those of at least so many bits into w->best; returns how many. */
static size_t collect(struct sample_scratch *w, size_t n_vocab, uint32_t least)
{
    size_t n = 0;

    for (size_t c = 0; c < n_vocab; c += TOP) {
        size_t end = n_vocab - c < TOP ? n_vocab : c + TOP;
        if (w->tops[c / TOP] < least)
            continue;
        for (size_t i = c; i < end; i++)
            if (bits_of(w->p[i]) >= least)
                w->best[n++] = candidate(bits_of(w->p[i]), i);
    }
    sort_best(w, n);
    return n;
}

/* Into w->best by falling probability: as many as top_k and top_p leave, and none below min_p.
 * Returns how many; *ret_sum is theirs. total: the sum of all p. */
static size_t take_best(const struct sampler *s, struct sample_scratch *w, double total,
                        double *ret_sum)
{
    const float *p = w->p;
    const double want = s->opts.top_p;
    const size_t k = s->opts.top_k ? s->opts.top_k : s->n_vocab;
    double sum = 0.0;
    uint32_t least = 1, kth;
    size_t n, kept = 0;

    find_tops(w, s->n_vocab);
    if (!s->opts.top_k) /* those below are together less than what top_p leaves out */
        least += bits_of((float)((1.0 - want) * total / s->n_vocab * 0.5));
    else if ((kth = kth_top(w, s->n_vocab, k)) > least)
        least = kth;
    n = collect(w, s->n_vocab, least);
    n = n < k ? n : k;
    if (s->opts.top_k && want < 1.0) { /* top_p is a share of what top_k left */
        total = 0.0;
        for (size_t i = 0; i < n; i++)
            total += p[candidate_id(w->best[i])];
    }
    while (kept < n && (kept == 0 || want >= 1.0 || sum < want * total))
        sum += p[candidate_id(w->best[kept++])];
    while (kept > 1 &&
           p[candidate_id(w->best[kept - 1])] < s->opts.min_p * p[candidate_id(w->best[0])])
        sum -= p[candidate_id(w->best[--kept])];
    *ret_sum = sum;
    return kept;
}

static int32_t draw_best(const struct sampler *s, struct sample_scratch *w, double total, double u)
{
    double sum, acc = 0.0;
    size_t n = take_best(s, w, total, &sum);

    for (size_t i = 0; i + 1 < n; i++) {
        acc += w->p[candidate_id(w->best[i])];
        if (acc > u * sum)
            return (int32_t)candidate_id(w->best[i]);
    }
    return (int32_t)candidate_id(w->best[n - 1]);
}

static double share_of(float p, float floor)
{
    return p >= floor ? (double)p : 0.0;
}

/* w->sums[i] = the i-th CHUNK probabilities of at least floor, added up in order: several chunks
 * beside each other, as an addition waits for the one before. Returns the sum of the sums. */
static double sum_chunks(struct sample_scratch *w, size_t n_vocab, float floor)
{
    double total = 0.0;
    size_t c = 0;

    memset(w->sums, 0, groups(n_vocab, CHUNK) * sizeof(*w->sums));
    for (; n_vocab - c >= CHUNK * LANES; c += CHUNK * LANES) {
        double part[LANES] = {0};
        for (size_t i = 0; i < CHUNK; i++)
            for (size_t lane = 0; lane < LANES; lane++)
                part[lane] += share_of(w->p[c + lane * CHUNK + i], floor);
        memcpy(w->sums + c / CHUNK, part, sizeof(part));
    }
    for (; c < n_vocab; c++)
        w->sums[c / CHUNK] += share_of(w->p[c], floor);
    for (size_t i = 0; i < groups(n_vocab, CHUNK); i++)
        total += w->sums[i];
    return total;
}

/* All candidates above min_p, in the order of their ids. */
static int32_t draw_any(const struct sampler *s, struct sample_scratch *w, float max, double u)
{
    const float floor = s->opts.min_p * max;
    const double want = u * sum_chunks(w, s->n_vocab, floor);
    double run = 0.0;
    int32_t last = -1;

    for (size_t c = 0; c < s->n_vocab; run += w->sums[c / CHUNK], c += CHUNK) {
        size_t end = s->n_vocab - c < CHUNK ? s->n_vocab : c + CHUNK;
        double acc = run;
        if (w->sums[c / CHUNK] <= 0.0 || run + w->sums[c / CHUNK] <= want)
            continue;
        for (size_t i = c; i < end; i++)
            if (w->p[i] >= floor && w->p[i] > 0.0f) {
                acc += w->p[i];
                last = (int32_t)i;
                if (acc > want)
                    return last;
            }
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
