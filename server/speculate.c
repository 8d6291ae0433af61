#include "server/speculate.h"

#include "server/batch.h"

/* An offer this likely that was declined is taken now and then: rows may have become cheaper. */
#define LIKELY 0.3
#define PATIENCE 128u /* steps */
#define PROBE 3u      /* rows */

static uint32_t guess(const struct batch *batch, struct request *request)
{
    uint32_t room = request->max_tokens - request->n_made - 1; /* the last token is never stored */

    if (request->outcome != OUTCOME_OPEN)
        return 0;
    return draft_guess(&request->draft, request->ids, request->item.n_tokens,
                       room < batch->draft_max ? room : batch->draft_max);
}

/* Nothing pays, as far as is known: see whether that is still so. */
static void probe(struct batch *batch, uint32_t n_offers, uint32_t max_rows)
{
    for (uint32_t i = 0; i < n_offers; i++) {
        struct draft_offer *offer = &batch->offers[i];
        uint32_t n = offer->draft->n_guesses < PROBE ? offer->draft->n_guesses : PROBE;

        if (n > max_rows || draft_chance(offer->draft, 0) < LIKELY)
            continue;
        if (++batch->n_declined % PATIENCE == 0)
            offer->n = n;
        return;
    }
}

void speculate(struct batch *batch, uint32_t n_decoding)
{
    const struct sched_list *running = &batch->sched.running;
    uint32_t max_rows = runner_info(batch->runner)->max_logits - running->n, n_offers = 0;
    bool may = n_decoding == running->n && !pace_wants_plain(&batch->pace, n_decoding);

    for (struct sched_item *item = running->head; item; item = item->next) {
        struct request *request = batch_request(item);

        request->draft.n_guesses = 0; /* those of an earlier step */
        if (may && guess(batch, request) > 0)
            batch->offers[n_offers++] = (struct draft_offer){.draft = &request->draft, .arg = item};
    }
    if (n_offers > 0 &&
        draft_share(batch->offers, n_offers, n_decoding, max_rows, &batch->pace) == 0)
        probe(batch, n_offers, max_rows);
    for (uint32_t i = 0; i < n_offers; i++)
        ((struct sched_item *)batch->offers[i].arg)->n_draft = batch->offers[i].n;
}

void speculate_saw(struct batch *batch, struct request *request, const struct sample_job *job)
{
    struct draft *draft = &request->draft;

    if (job->status != ST_OK || draft->n_guesses == 0)
        return;
    if (job->n_draft == 0) { /* it would have been right, or not */
        draft_saw(draft, 1, job->id[0] == request->ids[request->n_prompt + request->n_made]);
        return;
    }
    draft_saw(draft, job->n_draft, job->n_ids - 1);
    request->n_drafted += job->n_draft;
    request->n_accepted += job->n_ids - 1;
    metrics_add(batch->metrics, COUNT_DRAFT_TOKENS, job->n_draft);
    metrics_add(batch->metrics, COUNT_ACCEPTED_TOKENS, job->n_ids - 1);
}
