"""Perplexity and divergence once more, in numpy: what `octet eval` must print.

    eval_check.py MODEL IDS.json CTX      perplexity of ids by the float64 oracle, as JSON

The protocol is llama-perplexity's: the text as one sequence of ids, cut into whole chunks of ctx; BOS takes the place
of a chunk's first id if the vocabulary adds one; ids ctx/2 + 1 .. ctx - 1 of each chunk are scored by the logits of
the position before.
"""

import json
import sys

import numpy as np


def log_softmax(logits):
    x = np.asarray(logits, dtype=np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def chunks_of(ids, ctx, bos):
    """Whole chunks; bos is the id that begins each, or None."""
    for start in range(0, len(ids) - ctx + 1, ctx):
        yield ([ids[start]] if bos is None else [bos]) + ids[start + 1 : start + ctx]


def evaluate(ids, ctx, bos, logits_of, reference_of=None):
    """logits_of, reference_of: ids → logits of every position. The fields of `octet eval --json`."""
    first = ctx // 2
    ours, theirs, following, n_chunks = [], [], [], 0
    for chunk in chunks_of(ids, ctx, bos):
        n_chunks += 1
        ours.append(log_softmax(logits_of(chunk)[first : ctx - 1]))
        if reference_of:
            theirs.append(log_softmax(reference_of(chunk)[first : ctx - 1]))
        following += chunk[first + 1 :]
    ours = np.concatenate(ours)
    at = np.arange(len(following)), np.array(following)
    nll = -ours[at]
    ppl = np.exp(nll.mean())
    variance = (nll * nll).mean() - nll.mean() ** 2
    told = {
        "tokens": len(nll),
        "chunks": n_chunks,
        "ctx": ctx,
        "ppl": ppl,
        "ppl_se": ppl * np.sqrt(variance / (len(nll) - 1)),
    }
    if reference_of:
        told["reference"] = divergence(ours, np.concatenate(theirs), at, ppl)
    return told


def divergence(ours, theirs, at, ppl):
    """KL(reference || model) of each position and what is made of it."""
    p = np.exp(theirs)
    kld = (p * (theirs - ours)).sum(axis=1)
    reference_ppl = np.exp(-theirs[at].mean())
    return {
        "ppl": reference_ppl,
        "ppl_ratio": ppl / reference_ppl,
        "kld_mean": kld.mean(),
        "kld_median": np.median(kld),
        "kld_p99": np.percentile(kld, 99),
        "kld_max": kld.max(),
        "same_top": (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean(),
        "rms_dp": np.sqrt(((np.exp(ours[at]) - np.exp(theirs[at])) ** 2).mean()),
    }


def main(args):
    if len(args) != 3:
        sys.exit(__doc__)
    import oracle

    with open(args[1], encoding="utf-8") as f:
        ids = json.load(f)
    file = oracle.File(args[0])
    bos = file.get("tokenizer.ggml.bos_token_id") if file.get("tokenizer.ggml.add_bos_token") else None
    print(json.dumps(evaluate(ids, int(args[2]), bos, oracle.Model(args[0]).logits), default=float))


if __name__ == "__main__":
    main(sys.argv[1:])
