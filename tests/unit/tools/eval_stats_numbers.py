#!/usr/bin/env python3
"""eval_stats_numbers.py | clang-format >eval_stats_numbers.h: what test_eval_stats.c expects, computed by numpy in float64.

The rows of logits are made by the same generator here and in the test, in float32 and exactly.
"""
import numpy as np

VOCAB, ROWS = 1003, 37  # neither is a multiple of anything the code under test blocks by


class Lcg:
    """Numerical Recipes' 32-bit generator."""

    def __init__(self):
        self.state = 1

    def row(self, low, high):
        out = np.empty(VOCAB, np.float32)
        for i in range(VOCAB):
            self.state = (self.state * 1664525 + 1013904223) & 0xFFFFFFFF
            unit = np.float32(self.state >> 8) * np.float32(2.0**-24)
            out[i] = np.float32(low) + unit * np.float32(high - low)
        return out


def log_softmax(x):
    x = x.astype(np.float64)
    x = x - x.max()
    return x - np.log(np.exp(x).sum())


def main():
    lcg, rows = Lcg(), []
    for i in range(ROWS):
        ref = lcg.row(-12, 12)
        noise = lcg.row(-1, 1)
        logits = ref + noise * np.float32(0.125)
        nxt = (i * 271) % VOCAB
        a, r = log_softmax(logits), log_softmax(ref)
        p, p_ref = np.exp(a), np.exp(r)
        rows.append((-a[nxt], -r[nxt], (p_ref * (r - a)).sum(), p[nxt] - p_ref[nxt], logits.argmax() == ref.argmax()))
    nll, ref_nll, kld, dp, same = (np.array(c, np.float64) for c in zip(*rows))

    print("/* Made by eval_stats_numbers.py; not by hand. */")
    print(f"#define VOCAB {VOCAB}\n#define ROWS {ROWS}\n")
    print("static const struct eval_score EXPECTED[ROWS] = {")
    for n, r, k, d, s in rows:
        print(f"    {{.nll = {n:.15g}, .ref_nll = {r:.15g}, .kld = {k:.15g}, .dp = {d:.15g}, .same_top = {'true' if s else 'false'}}},")
    print("};\n")
    print("static const struct eval_summary SUMMARY = {")
    se = nll.std(ddof=1) / np.sqrt(ROWS)  # of the mean; exp' = exp carries it over to the perplexity
    for name, value in [
        ("ppl", np.exp(nll.mean())),
        ("ppl_se", np.exp(nll.mean()) * se),
        ("ref_ppl", np.exp(ref_nll.mean())),
        ("ppl_ratio", np.exp(nll.mean()) / np.exp(ref_nll.mean())),
        ("kld_mean", kld.mean()),
        ("kld_median", np.median(kld)),
        ("kld_p99", np.percentile(kld, 99)),
        ("kld_max", kld.max()),
        ("same_top", same.mean()),
        ("rms_dp", np.sqrt((dp**2).mean())),
    ]:
        print(f"    .{name} = {value:.15g},")
    print("};")


main()
