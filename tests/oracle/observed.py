"""Arrays that observers see: in octet, in numpy, in PyTorch (tests/golden/make_observers.py) and in ONNX Runtime."""

import numpy as np

N, BATCH, CHANNELS, ROUNDED = 40000, 1000, 8, 4096


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


def array(kind, seed=5, n=N):
    """To 12 bits, so that no libm can change one."""
    x = kind(np.random.default_rng(seed), n).astype(np.float32)
    return (np.rint(x * 4096) / 4096).astype(np.float32)


def only_ties_differ(x, scale, ours, theirs):
    """Octet multiplies activations by 127 / max where others divide by the scale, or multiply by 1 / scale: what that can
    part is a number within some ulps of the middle between two integers, and then by one."""
    other = ours != theirs
    at = x[other].astype(np.float64) / scale[other].astype(np.float64)
    assert np.abs(at - np.floor(at) - 0.5).max(initial=0) < 1e-4
    assert np.abs(ours[other].astype(int) - theirs[other]).max(initial=0) <= 1
    assert other.mean() < 0.01
