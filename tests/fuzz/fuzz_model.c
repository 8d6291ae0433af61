/* A whole model file, from metadata to the first token: what octetd does with a file from a
 * stranger. */
#include <stddef.h>
#include <stdint.h>

#include "model/format/gguf.h"
#include "model/net/runner.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Three tokens in two steps, then a draw. */
static void run(const struct weights *w)
{
    const struct runner_opts opts = {.n_ctx = 70, .max_seqs = 1, .max_rows = 4, .threads = 1};
    const struct sampler_opts greedy = {.top_p = 1, .repetition_penalty = 1};
    struct batch_row rows[3] = {{0, 0, 0, false}, {1, 0, 1, true}, {0, 0, 2, true}};
    struct runner *rn;
    struct sampler *s;

    if (runner_new(w, kernels_get(NULL), &opts, &rn, NULL) != ST_OK)
        return;
    if (runner_seq_new(rn, &rows[0].seq) == ST_OK && runner_seq_reserve(rn, 0, 3) == ST_OK &&
        runner_step(rn, rows, 2) == ST_OK && runner_step(rn, rows + 2, 1) == ST_OK &&
        sampler_new(w->hp.n_vocab, NULL, 0, &greedy, &s) == ST_OK) {
        struct sample_job job = {.sampler = s, .logits = runner_logits(rn, 0)};
        runner_sample(rn, &job, 1); /* ST_INTERNAL for weights that blow up is fine */
        sampler_free(s);
    }
    runner_free(rn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct gguf_opts opts = {0};
    const struct model_progress quiet = {0};
    struct error err;
    struct gguf *g;

    if (gguf_open_memory("fuzz", data, size, &opts, &g, &err) != ST_OK)
        return 0;
    for (int fp32 = 0; fp32 < 2; fp32++) {
        struct weights w;
        if (weights_load(g, fp32 ? MODEL_FP32 : MODEL_INT8, NULL, &quiet, &w, &err) != ST_OK)
            continue;
        run(&w);
        weights_done(&w);
    }
    gguf_close(g);
    return 0;
}
