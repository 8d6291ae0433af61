"""Observers of activations against numpy and against PyTorch's own (golden/observers.json, golden/README.md).

Extremes, moving averages, scales and zero points are those of torch.ao.quantization's MinMaxObserver,
MovingAverageMinMaxObserver and PerChannelMinMaxObserver to the last bit. Two things differ on purpose: torch never
goes below a scale of 2^-23, octet does; and torch's symmetric range of qint8 is 127.5 steps wide unless quant_min is
-127, which is what octet has.

The searches over the histogram have other bins than torch's, so they are held against what they are for: the best
that any clipping of the very numbers can do, and no worse than what torch's HistogramObserver chose.
"""

import base64
import hashlib
import json
import os

import numpy as np
import octet
import pytest
from conftest import GOLDEN
from observed import BATCH, CHANNELS, KINDS, ROUNDED, array, only_ties_differ

F = np.float32


def observe(kind):
    """(numbers, what octet's observers found)"""
    x = array(kind)
    lines = octet.run("octet_observer", BATCH, input=x.tobytes()).decode().split("\n")[:-1]
    found = {}
    for line in lines:
        name, *numbers, zero = line.split()
        found[name] = [float.fromhex(v) for v in numbers] + [int(zero)]
    return x, found


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def seen(request):
    return observe(request.param)


def qparams(low, high, levels):
    low, high = min(F(low), F(0)), max(F(high), F(0))
    if levels == "s8":
        return float(max(-low, high) / F(127)), 0
    scale = F(F(high - low) / F(255))
    return float(scale), int(np.clip(0 - np.rint(F(low / scale)), 0, 255))


def test_extremes(seen):
    x, found = seen
    for levels in ("s8", "u8"):
        want = [float(x.min()), float(x.max()), *qparams(x.min(), x.max(), levels)]
        assert found["minmax-" + levels] == want


def test_moving_average(seen):
    x, found = seen
    low = high = None
    for batch in x.reshape(-1, 1000):
        low = batch.min() if low is None else F(low + F(F(0.01) * F(batch.min() - low)))
        high = batch.max() if high is None else F(high + F(F(0.01) * F(batch.max() - high)))
    for levels in ("s8", "u8"):
        want = [float(low), float(high), *qparams(low, high, levels)]
        assert found["moving-" + levels] == want


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def torchs(request):
    """(numbers, what octet found, what torch did)"""
    with open(os.path.join(GOLDEN, "observers.json"), encoding="utf-8") as f:
        theirs = json.load(f)["kinds"][request.param.__name__]
    x, found = observe(request.param)
    assert hashlib.sha256(x.tobytes()).hexdigest() == theirs["sha256"], "another array: remake observers.json"
    return x, found, theirs


def exact(row):
    return [float.fromhex(v) for v in row[:3]] + row[3:]


def test_torch_finds_the_same(torchs):
    _, found, theirs = torchs
    for name in ("minmax-s8", "minmax-u8", "moving-s8", "moving-u8"):
        assert found[name] == exact(theirs[name]), name
    for c in range(CHANNELS):
        assert found[f"channel-{c}"] == exact(theirs["channels"][c])


def test_torch_rounds_the_same(torchs):
    x = torchs[0][:ROUNDED]
    want = np.frombuffer(base64.b64decode(torchs[2]["rounded"]), np.int8)
    out = octet.run("octet_rounding", "activations", ROUNDED, input=x.tobytes())
    scale = np.frombuffer(out, "<f4", 1)
    assert scale[0] == np.abs(x).max() / F(127)
    only_ties_differ(x, np.repeat(scale, ROUNDED), np.frombuffer(out, np.int8, ROUNDED, 8), want)


def test_torch_chooses_no_better(torchs):
    x, found, theirs = torchs
    for levels in ("s8", "u8"):
        ours, other = (error(x.astype(float), *row[2:], levels) for row in (found[f"squares-{levels}"], exact(theirs[f"histogram-{levels}"])))
        assert ours <= other * 1.02


def test_percentile(seen):
    x, found = seen
    width = found["width"][0]
    assert abs(found["percentile-s8"][1] - np.quantile(np.abs(x), 0.999)) < 2 * width
    low, high, *_ = found["percentile-u8"]
    spacing = np.sort(x)
    assert spacing[max(0, 15)] - 2 * width < low < spacing[25] + 2 * width
    assert spacing[-26] - 2 * width < high < spacing[-16] + 2 * width


def error(x, scale, zero, levels):
    low, high = (-127, 127) if levels == "s8" else (0, 255)
    q = np.clip(np.rint(x / scale) + zero, low, high)
    return np.mean((x - (q - zero) * scale) ** 2)


def test_least_squares_is_nearly_the_least(seen):
    x, found = seen
    x = x.astype(float)
    for levels in ("s8", "u8"):
        got = error(x, *found["squares-" + levels][2:], levels)
        shares = np.linspace(0.02, 1, 99)
        ends = [(x.min() * a, x.max() * b) for a in shares for b in shares[::-1][:40]]
        if levels == "s8":
            top = np.abs(x).max()
            ends = [(-top * a, top * a) for a in shares]
        best = min(error(x, *qparams(*end, levels), levels) for end in ends)
        plain = error(x, *found["minmax-" + levels][2:], levels)
        assert got <= plain * 1.1  # inside a bin, numbers count as evenly spread
        assert got <= best * 1.1, (levels, got, best, plain)


def test_entropy(seen):
    x, found = seen
    width = found["width"][0]
    counts = np.bincount(np.minimum(np.abs(x.astype(float)) // width, 1023).astype(int), minlength=1024).astype(float)
    best, at = np.inf, 1024
    for n in range(1024, 127, -1):
        if counts[n:].sum() > len(x) / 100:  # no range for outliers
            break
        p = counts[:n].copy()
        p[-1] += counts[n:].sum()
        q = np.zeros(n)
        for level in range(128):
            part = slice(level * n // 128, (level + 1) * n // 128)
            filled = counts[part] > 0
            if filled.any():
                q[part][filled] = counts[part].sum() / filled.sum()
        if (q[p > 0] == 0).any():
            continue
        p, q = p / p.sum(), q / q.sum()
        d = np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0]))
        if d < best - 1e-13:
            best, at = d, n
    assert abs(found["entropy-s8"][1] - min(at * width, np.abs(x).max())) <= width
    assert np.mean(np.abs(x) > found["entropy-s8"][1]) < 0.015
