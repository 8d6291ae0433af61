"""The oracle against llama.cpp's own figures, so that one misreading can't pass twice."""

import numpy as np
import oracle
import pytest

# Logits of the tiny models have a deviation of 4; llama.cpp computes in f32 and lands within 4e-4 of the oracle.
CLOSE = 1e-3


def test_logits_equal_llama_cpp(tiny):
    assert tiny.farthest(oracle.Model(tiny.path).logits(tiny.ids)) < CLOSE


def test_greedy_equals_llama_cpp(tiny):
    ids, margins = oracle.Model(tiny.path).greedy(tiny.ids, len(tiny.greedy))
    assert ids == tiny.greedy
    assert min(margins) > 2 * CLOSE, "a tie: choose another seed for this model"
    assert np.allclose(margins, tiny.golden["greedy_lead"], atol=2 * CLOSE)


def test_cache_changes_nothing(tiny):
    model = oracle.Model(tiny.path)
    cache = []
    parts = [model.run(tiny.ids[a:b], cache) for a, b in ((0, 1), (1, 70), (70, len(tiny.ids)))]
    assert np.allclose(np.concatenate(parts), model.run(tiny.ids), atol=1e-10)


def wrong_pairs(model):
    model.rope.halves = not model.rope.halves


def wrong_scaling(model):
    dims = 2 * len(model.rope.freqs)
    model.rope.freqs = model.rope.freqs[0] ** 0 * 10000.0 ** (-np.arange(0, dims, 2) / dims)


def wrong_groups(model):
    heads = np.arange(model.n_head).reshape(model.n_kv, -1).T.reshape(-1)
    for layer in model.layers:
        d = model.head_dim
        layer.q.weight = np.concatenate([layer.q.weight[h * d : (h + 1) * d] for h in heads])


def without_bias(part):
    def change(model):
        for layer in model.layers:
            getattr(layer, part).bias = None

    return change


@pytest.mark.parametrize(
    "name, change",
    [
        ("llama-untied-linear", wrong_pairs),
        ("llama-untied-linear", wrong_scaling),
        ("llama-untied-linear", wrong_groups),
        ("llama3-freqs", wrong_scaling),
        ("qwen2-untied", wrong_pairs),
        ("qwen2-untied", without_bias("q")),
        ("qwen2-untied", without_bias("k")),
        ("qwen2-tied", without_bias("v")),
    ],
)
def test_a_misreading_shows(name, change, goldens, tiny_dir):
    """Each of these readings of the papers is wrong, and the goldens see it by far."""
    import make_tiny
    from conftest import Tiny

    path = str(tiny_dir / (name + ".gguf"))
    make_tiny.make(name, path)
    model = oracle.Model(path)
    change(model)
    tiny = Tiny(name, path, goldens[name])
    assert tiny.farthest(model.logits(tiny.ids)) > 0.1
