"""Run by engines.py inside the peers' own Python: MODEL THREADS PROMPT GENERATE BATCH… A JSON line a batch.

The pipeline says when all is done, not when the first tokens are there. So prefill is a run that generates one
token, and decode is what a run with `generate` more takes longer. The better of two, after one that pays for the
set-up of this shape."""
import json
import sys
import time

import numpy
import openvino
import openvino_genai


def main(model, threads, prompt, generate, *batches):
    schedule = openvino_genai.SchedulerConfig()
    schedule.cache_size = 2  # GB
    schedule.max_num_batched_tokens = 512
    schedule.max_num_seqs = 64
    schedule.enable_prefix_caching = False
    pipeline = openvino_genai.ContinuousBatchingPipeline(model, schedule, "CPU", {"INFERENCE_NUM_THREADS": threads})
    random = numpy.random.default_rng(1)

    def seconds(batch, new):
        config = openvino_genai.GenerationConfig()
        config.min_new_tokens = config.max_new_tokens = new
        config.ignore_eos = True
        config.do_sample = False
        texts = [openvino.Tensor(random.integers(10, 49000, (1, prompt), dtype=numpy.int64)) for _ in range(batch)]
        start = time.monotonic()
        handles = [pipeline.add_request(i, text, config) for i, text in enumerate(texts)]
        while pipeline.has_non_finished_requests():
            pipeline.step()
        del handles  # a request without its handle would be dropped
        return time.monotonic() - start

    for batch in batches:
        seconds(batch, 2)
        prefill = min(seconds(batch, 1) for _ in range(2))
        whole = min(seconds(batch, 1 + generate) for _ in range(2))
        print(json.dumps({"batch": batch, "prefill_s": prefill, "decode_s": whole - prefill}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
