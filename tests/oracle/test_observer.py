"""Observers of activations against numpy.

Extremes, moving averages, scales and zero points are those that torch.ao.quantization documents for MinMaxObserver and
MovingAverageMinMaxObserver, computed here in float32 from the documentation, and equal to the last bit. Two things
differ on purpose: torch never goes below a scale of 2^-23, octet does; and torch's symmetric range of qint8 is 127.5
steps wide unless quant_min is -127, which is what octet has.

The searches over the histogram have other bins than torch's, so they are held against what they are for: the best
that any clipping of the very numbers can do.
"""

import numpy as np
import octet
import pytest

F = np.float32


def normal(rng, n):
    return rng.standard_normal(n)


def outliers(rng, n):
    x = rng.standard_normal(n)
    x[:: n // 7] *= 30
    return x


def silu(rng, n):
    x = 3 * rng.standard_normal(n)
    return x / (1 + np.exp(-x))


def positive(rng, n):
    return 2 + rng.random(n)


def growing(rng, n):
    return rng.standard_normal(n) * np.linspace(0.1, 40, n)


KINDS = [normal, outliers, silu, positive, growing]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def seen(request):
    x = request.param(np.random.default_rng(5), 40000).astype(F)
    lines = octet.run("octet_observer", 1000, input=x.tobytes()).decode().split("\n")[:-1]
    found = {}
    for line in lines:
        name, *numbers, zero = line.split()
        found[name] = [float.fromhex(v) for v in numbers] + [int(zero)]
    return x, found


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
