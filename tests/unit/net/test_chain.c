/* Draws along a draft: the ids, and what the sampler remembers, are those of one draw a step. */
#include <math.h>

#include "unit/net/tiny.h"

enum { ROWS = MODEL_MAX_DRAFT + 1, JOBS = 5, ENDS = 2, AFTER = 6 };

static const int32_t ends[ENDS] = {4, 40};

static const struct sampler_opts all_opts[] = {
    {.temperature = 0, .top_p = 1, .repetition_penalty = 1},
    {.temperature = 0, .top_p = 1, .repetition_penalty = 1.7f},
    {.temperature = 0.8f, .top_p = 1, .repetition_penalty = 1, .seed = 1},
    {.temperature = 0.8f, .top_p = 0.95f, .top_k = 20, .repetition_penalty = 1, .seed = 2},
    {.temperature = 1.3f, .top_p = 0.9f, .repetition_penalty = 1.3f, .seed = 3, .ban_end = true},
    {.temperature = 1, .top_p = 1, .min_p = 0.1f, .repetition_penalty = 0.7f, .seed = 4},
    {.temperature = 0, .top_p = 1, .repetition_penalty = 1, .ban_end = true},
};

enum { OPTS = sizeof(all_opts) / sizeof(all_opts[0]) };

static struct sampler *sampler_of(const struct sampler_opts *opts)
{
    struct sampler *s;

    ck_assert_int_eq(sampler_new(VOCAB, ends, ENDS, opts, &s), ST_OK);
    ck_assert_int_eq(sampler_accept(s, 7), ST_OK);
    return s;
}

static void noise_logits(float *l, size_t n_rows)
{
    for (size_t i = 0; i < n_rows * VOCAB; i++)
        l[i] = 4.0f * tiny_noise();
}

static int32_t one_draw(struct runner *rn, struct sampler *s, const float *logits)
{
    struct sample_job job = {.sampler = s, .logits = logits};

    runner_sample(rn, &job, 1);
    ck_assert_int_eq(job.status, ST_OK);
    ck_assert_uint_eq(job.n_ids, 1);
    return job.id[0];
}

/* What single steps draw over the rows, as long as each equals the draft. */
static uint32_t by_steps(struct runner *rn, struct sampler *s, const float *logits,
                         const int32_t *draft, uint32_t n_draft, int32_t *ids)
{
    for (uint32_t n = 0;; n++) {
        ids[n] = one_draw(rn, s, logits + n * VOCAB);
        if (n == n_draft || ids[n] != draft[n])
            return n + 1;
    }
}

/* Drafts that are right up to `right` of n; what follows is anything else. */
static void make_draft(struct runner *rn, const struct sampler_opts *opts, const float *logits,
                       uint32_t right, int32_t *draft)
{
    struct sampler *s = sampler_of(opts);

    for (uint32_t i = 0; i < MODEL_MAX_DRAFT; i++) {
        int32_t id = one_draw(rn, s, logits + i * VOCAB);
        draft[i] = i < right ? id : (id + 1 + (int32_t)i) % VOCAB;
    }
    draft[MODEL_MAX_DRAFT] = -1;
    sampler_free(s);
}

static void check_chain(struct runner *rn, const struct sampler_opts *opts, uint32_t right,
                        uint32_t n_draft)
{
    static float logits[JOBS][ROWS * VOCAB], after[VOCAB];
    int32_t drafts[JOBS][ROWS], want[ROWS];
    struct sample_job jobs[JOBS];

    for (size_t i = 0; i < JOBS; i++) {
        noise_logits(logits[i], ROWS);
        make_draft(rn, opts, logits[i], right, drafts[i]);
        jobs[i] = (struct sample_job){.sampler = sampler_of(opts),
                                      .logits = logits[i],
                                      .draft = n_draft ? drafts[i] : NULL,
                                      .n_draft = n_draft};
    }
    runner_sample(rn, jobs, JOBS);
    noise_logits(after, 1);
    for (size_t i = 0; i < JOBS; i++) {
        struct sampler *s = sampler_of(opts);
        uint32_t n = by_steps(rn, s, logits[i], drafts[i], n_draft, want);
        ck_assert_int_eq(jobs[i].status, ST_OK);
        ck_assert_uint_eq(jobs[i].n_ids, n);
        ck_assert_uint_eq(n, (right < n_draft ? right : n_draft) + 1);
        ck_assert_mem_eq(jobs[i].id, want, n * sizeof(*want));
        for (int d = 0; d < AFTER; d++) /* and both go on alike */
            ck_assert_int_eq(one_draw(rn, jobs[i].sampler, after), one_draw(rn, s, after));
        sampler_free(s);
        sampler_free(jobs[i].sampler);
    }
}

static struct runner *open_runner(struct weights *w, unsigned threads)
{
    const struct runner_opts opts = {.threads = threads};
    struct runner *rn;

    tiny_load(&tiny_small, w);
    ck_assert_int_eq(runner_new(w, kernels_get(NULL), &opts, &rn, NULL), ST_OK);
    return rn;
}

START_TEST(a_chain_draws_what_steps_draw)
{
    struct weights w;
    struct runner *rn = open_runner(&w, 2);

    for (size_t o = 0; o < OPTS; o++)
        for (uint32_t right = 0; right <= MODEL_MAX_DRAFT; right++)
            for (uint32_t n_draft = 0; n_draft <= MODEL_MAX_DRAFT; n_draft += 5)
                check_chain(rn, &all_opts[o], right, n_draft);
    runner_free(rn);
    weights_done(&w);
}
END_TEST

/* A guess drawn by chance is right now and then. */
START_TEST(guesses_by_chance_change_nothing)
{
    static float logits[ROWS * VOCAB];
    struct weights w;
    struct runner *rn = open_runner(&w, 1);
    size_t longer = 0;

    for (uint32_t i = 0; i < 600; i++) {
        struct sampler_opts opts = all_opts[i % OPTS];
        int32_t draft[ROWS], want[ROWS];
        opts.seed += i;
        noise_logits(logits, ROWS);
        for (size_t r = 0; r < ROWS; r++) {
            draft[r] = (int32_t)((tiny_noise() + 1.0f) * 1.999f);
            logits[r * VOCAB + (size_t)draft[r]] += 3.0f;
        }
        struct sample_job job = {.sampler = sampler_of(&opts),
                                 .logits = logits,
                                 .draft = draft,
                                 .n_draft = MODEL_MAX_DRAFT};
        struct sampler *s = sampler_of(&opts);
        runner_sample(rn, &job, 1);
        ck_assert_int_eq(job.status, ST_OK);
        ck_assert_uint_eq(job.n_ids, by_steps(rn, s, logits, draft, MODEL_MAX_DRAFT, want));
        ck_assert_mem_eq(job.id, want, job.n_ids * sizeof(*want));
        ck_assert_int_eq(one_draw(rn, job.sampler, logits), one_draw(rn, s, logits));
        longer += job.n_ids > 2;
        sampler_free(s);
        sampler_free(job.sampler);
    }
    ck_assert_uint_gt(longer, 30);
    runner_free(rn);
    weights_done(&w);
}
END_TEST

START_TEST(a_broken_row_ends_the_chain)
{
    static float logits[ROWS * VOCAB];
    struct weights w;
    struct runner *rn = open_runner(&w, 1);
    int32_t draft[ROWS];

    noise_logits(logits, ROWS);
    make_draft(rn, &all_opts[0], logits, MODEL_MAX_DRAFT, draft);
    logits[3 * VOCAB + 9] = NAN;
    struct sample_job job = {.sampler = sampler_of(&all_opts[0]),
                             .logits = logits,
                             .draft = draft,
                             .n_draft = MODEL_MAX_DRAFT};
    runner_sample(rn, &job, 1);
    ck_assert_int_eq(job.status, ST_INTERNAL);
    ck_assert_uint_eq(job.n_ids, 3);
    ck_assert_mem_eq(job.id, draft, 3 * sizeof(*draft));
    sampler_free(job.sampler);
    runner_free(rn);
    weights_done(&w);
}
END_TEST

RUN_SUITE("chain", a_chain_draws_what_steps_draw, guesses_by_chance_change_nothing,
          a_broken_row_ends_the_chain)
