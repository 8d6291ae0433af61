#include "model/net/runner.h"

#include <stdlib.h>
#include <string.h>

#include "config/limits.h"

enum { PREFIX_BYTES = 24 << 20 }; /* the default that model.h explains */

static int open_pages(struct runner *rn, uint64_t kv_bytes, uint64_t prefix_bytes,
                      struct error *err)
{
    const struct hparams *hp = &rn->w->hp;
    struct kv_opts o = {
        .type = rn->info.kv, .n_layer = hp->n_layer, .n_kv = hp->n_kv, .head_dim = hp->head_dim};
    uint64_t page = kv_page_bytes(&o), per_seq = (rn->info.n_ctx + KV_BLOCK - 1) / KV_BLOCK;
    uint64_t pages = per_seq * rn->info.max_seqs;

    if (kv_bytes && kv_bytes / page < pages)
        pages = kv_bytes / page;
    if (pages == 0)
        return error_set(
            err, ST_INVALID,
            "a key/value cache of %llu bytes holds not one page of %u tokens (%llu bytes)",
            (unsigned long long)kv_bytes, KV_BLOCK, (unsigned long long)page);
    if (pages > UINT32_MAX)
        pages = UINT32_MAX;
    if (pages < per_seq)
        rn->info.n_ctx = (uint32_t)(pages * KV_BLOCK);
    rn->info.page_tokens = KV_BLOCK;
    rn->info.page_bytes = page;
    rn->info.n_pages = (uint32_t)pages;
    o.n_pages = pages;
    o.n_seqs = rn->info.max_seqs;
    o.max_idle = prefix_bytes / page;
    if (prefix_bytes == 0)
        o.max_idle = pages / 2 < PREFIX_BYTES / page ? pages / 2 : PREFIX_BYTES / page;
    int r = kv_open(&rn->kv, &o);
    return r == ST_OK ? r
                      : error_set(err, r, "out of memory for %llu key/value pages",
                                  (unsigned long long)pages);
}

int runner_new(const struct weights *w, const struct kernels *kernels,
               const struct runner_opts *opts, struct runner **ret_runner, struct error *err)
{
    struct runner *rn = calloc(1, sizeof(*rn));
    int r;

    if (!rn)
        return error_set(err, ST_NOMEM, "out of memory");
    rn->w = w;
    rn->kernels = kernels;
    rn->info.kv = opts->kv;
    rn->info.threads = opts->threads ? opts->threads : 1;
    rn->info.max_seqs = opts->max_seqs ? opts->max_seqs : 32;
    rn->info.max_rows = opts->max_rows ? opts->max_rows : 256 + rn->info.max_seqs;
    rn->info.max_logits = opts->max_logits ? opts->max_logits : rn->info.max_seqs;
    if (rn->info.max_logits > rn->info.max_rows)
        rn->info.max_logits = rn->info.max_rows;
    rn->info.n_ctx = opts->n_ctx && opts->n_ctx < w->hp.n_ctx ? opts->n_ctx : w->hp.n_ctx;
    r = rn->info.threads <= LIMIT_THREADS && rn->info.max_seqs <= LIMIT_MAX_BATCH
            ? open_pages(rn, opts->kv_bytes, opts->prefix_bytes, err)
            : ST_INVALID;
    if (r == ST_INVALID && !rn->info.n_pages)
        goto out;
    if (r == ST_OK && (r = scratch_open(rn)) != ST_OK)
        error_set(err, r, "out of memory for %u rows of scratch", rn->info.max_rows);
    if (r == ST_OK && (r = pool_open(rn->info.threads, &rn->pool)) != ST_OK)
        error_set(err, r, "cannot start %u compute threads", rn->info.threads);
out:
    if (r != ST_OK) {
        runner_free(rn);
        return r;
    }
    *ret_runner = rn;
    return ST_OK;
}

void runner_free(struct runner *rn)
{
    if (!rn)
        return;
    pool_free(rn->pool);
    kv_done(&rn->kv);
    scratch_close(rn);
    free(rn);
}

const struct runner_info *runner_info(const struct runner *rn)
{
    return &rn->info;
}

uint32_t runner_pages_free(const struct runner *rn)
{
    return (uint32_t)kv_pages_free(&rn->kv);
}

uint32_t runner_pages_for(const struct runner *rn, uint32_t n_tokens)
{
    (void)rn;
    return n_tokens / KV_BLOCK + (n_tokens % KV_BLOCK != 0);
}

int runner_seq_new(struct runner *rn, uint32_t *ret_seq)
{
    return kv_seq_take(&rn->kv, ret_seq);
}

void runner_seq_free(struct runner *rn, uint32_t seq)
{
    kv_seq_give(&rn->kv, seq);
}

int runner_seq_reserve(struct runner *rn, uint32_t seq, uint32_t n_tokens)
{
    if (n_tokens > rn->info.n_ctx)
        return ST_TOOLONG;
    return kv_reserve(&rn->kv, seq, n_tokens);
}

uint32_t runner_seq_pages(const struct runner *rn, uint32_t seq)
{
    return rn->kv.seqs[seq].n_pages;
}

uint32_t runner_seq_attach(struct runner *rn, uint32_t seq, uint64_t tenant, const int32_t *ids,
                           uint32_t n)
{
    uint32_t hit = kv_attach(&rn->kv, seq, tenant, ids, n);

    rn->lookup_tokens += n;
    rn->hit_tokens += hit;
    return hit;
}

void runner_seq_publish(struct runner *rn, uint32_t seq, uint64_t tenant, const int32_t *ids,
                        uint32_t n, bool last)
{
    kv_publish(&rn->kv, seq, tenant, ids, n, last);
}

struct runner_prefix_stats runner_prefix_stats(const struct runner *rn)
{
    return (struct runner_prefix_stats){.lookup_tokens = rn->lookup_tokens,
                                        .hit_tokens = rn->hit_tokens,
                                        .evicted_pages = rn->kv.evicted,
                                        .cached_pages = (uint32_t)rn->kv.prefix.n_cached};
}

static bool row_ok(const struct runner *rn, const struct batch_row *rows, size_t i)
{
    const struct batch_row *r = &rows[i];

    if (r->token < 0 || (uint32_t)r->token >= rn->w->hp.n_vocab || r->seq >= rn->kv.n_seqs)
        return false;
    const struct kv_seq *s = &rn->kv.seqs[r->seq];
    if (!s->used || s->closed || r->pos / KV_BLOCK >= s->n_pages ||
        r->pos / KV_BLOCK < s->n_published || r->pos >= rn->info.n_ctx)
        return false;
    return i == 0 || rows[i - 1].seq != r->seq || rows[i - 1].pos + 1 == r->pos;
}

int runner_step(struct runner *rn, const struct batch_row *rows, size_t n_rows)
{
    size_t n_logits = 0;

    if (n_rows > rn->info.max_rows)
        return ST_INVALID;
    for (size_t i = 0; i < n_rows; i++) {
        if (!row_ok(rn, rows, i) || (rows[i].logits && n_logits == rn->info.max_logits))
            return ST_INVALID;
        rn->logit_slot[i] = rows[i].logits ? (uint32_t)n_logits++ : UINT32_MAX;
    }
    rn->rows = rows;
    rn->n_rows = n_rows;
    rn->n_logits = n_logits;
    if (n_rows == 0)
        return ST_OK;
    plan_step(rn);
    pool_run(rn->pool, forward_step, rn);
    return ST_OK;
}

const float *runner_logits(const struct runner *rn, size_t row)
{
    if (row >= rn->n_rows || rn->logit_slot[row] == UINT32_MAX)
        return NULL;
    return rn->logits + (size_t)rn->logit_slot[row] * rn->w->hp.n_vocab;
}

void runner_parallel(struct runner *rn, void (*fn)(void *, unsigned, unsigned), void *arg)
{
    pool_run(rn->pool, fn, arg);
}

void runner_profile_set(struct runner *rn, bool on)
{
    for (unsigned i = 0; i < rn->info.threads; i++)
        rn->workers[i].profile = (struct profile){.on = on};
}

void runner_profile_get(const struct runner *rn, struct runner_profile *ret_profile)
{
    *ret_profile = (struct runner_profile){0};
    for (unsigned i = 0; i < rn->info.threads; i++)
        for (int part = 0; part < RUNNER_PARTS; part++) {
            ret_profile->seconds[part] += rn->workers[i].profile.sum.seconds[part];
            ret_profile->product_macs[part] += rn->workers[i].profile.sum.product_macs[part];
        }
}

struct sampling {
    struct runner *rn;
    struct sample_job *jobs;
    size_t n;
};

/* Draw on while the guess is what was drawn. */
static void sample_chain(const struct runner *rn, struct sample_job *job,
                         struct sample_scratch *scratch)
{
    const size_t n_vocab = rn->w->hp.n_vocab;

    job->n_ids = 0;
    do {
        job->status = sample_draw(job->sampler, rn->kernels, job->logits + job->n_ids * n_vocab,
                                  scratch, &job->id[job->n_ids]);
        if (job->status != ST_OK)
            return;
        job->n_ids++;
    } while (job->n_ids <= job->n_draft && job->id[job->n_ids - 1] == job->draft[job->n_ids - 1]);
}

static void sample_share(void *arg, unsigned worker, unsigned n_workers)
{
    struct sampling *s = arg;
    for (size_t i = worker; i < s->n; i += n_workers)
        sample_chain(s->rn, &s->jobs[i], &s->rn->workers[worker].sample);
}

void runner_sample(struct runner *rn, struct sample_job *jobs, size_t n_jobs)
{
    struct sampling s = {rn, jobs, n_jobs};

    if (n_jobs == 1)
        sample_share(&s, 0, 1); /* not worth waking anybody */
    else if (n_jobs)
        pool_run(rn->pool, sample_share, &s);
}
