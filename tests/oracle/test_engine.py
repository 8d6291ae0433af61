"""octet against the oracle and llama.cpp. Needs OCTET_BIN_DIR; the tests of the default model OCTET_MODEL too."""

import json
import os

import make_tiny
import numpy as np
import octet
import oracle
import pytest
from conftest import GOLDEN
from eval_check import log_softmax
from octet import Engine

FP32_CLOSE = 1e-3
TIE = 1e-4


@pytest.fixture(scope="module")
def stored():
    with open(os.path.join(GOLDEN, "greedy.json"), encoding="utf-8") as f:
        return json.load(f)


@pytest.fixture(scope="module")
def truth(smollm):
    """The default model in float64: a gigabyte, loaded once."""
    return oracle.Model(smollm)


@pytest.fixture(scope="module")
def true_logits(truth, stored):
    return [truth.logits(text["ids"]) for text in stored["texts"]]


def check_greedy(model, prompt, ours, theirs, lead):
    """Equal, or from the first difference on as good a choice as the best, within TIE."""
    if ours == theirs:
        return
    first = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    assert lead[first] < TIE, f"token {first}: {ours[first]} instead of {theirs[first]}, which leads by {lead[first]}"
    scores = model().logits(prompt + ours)[len(prompt) - 1 : -1]
    short = scores.max(axis=1) - scores[np.arange(len(ours)), ours]
    assert short.max() < TIE


def divergence(logits, reference):
    """KL(reference || logits) of each position."""
    ours, theirs = log_softmax(logits), log_softmax(reference)
    return (np.exp(theirs) * (theirs - ours)).sum(axis=1)


def noise(logits, reference):
    """Root of the mean square of the difference, as a part of how far the reference's logits spread."""
    return np.sqrt(np.mean((logits - reference) ** 2)) / reference.std()


# ---- the default model ----


@pytest.mark.parametrize("chunk, threads", [(1, 2), (48, 1), (200, 2)])
def test_fp32_logits(smollm, true_logits, stored, chunk, threads):
    ours = Engine(smollm, "fp32", "f32", threads, chunk).logits([text["ids"] for text in stored["texts"]])
    for logits, true in zip(ours, true_logits, strict=True):
        assert np.abs(logits - true).max() < FP32_CLOSE


@pytest.mark.parametrize("step, threads, together", [(4, 1, False), (1, 2, True)])
def test_fp32_greedy(smollm, request, stored, step, threads, together):
    """All prompts side by side; every fourth also alone, where a step has one row."""
    rows = stored["prompts"][::step]
    ours = Engine(smollm, "fp32", "f32", threads, together=together).greedy([row["ids"] for row in rows], 64)
    for row, ids in zip(rows, ours, strict=True):
        check_greedy(lambda: request.getfixturevalue("truth"), row["ids"], ids, row["greedy"], row["lead"])


@pytest.mark.parametrize("which", [3, 16])
def test_stored_greedy_is_the_oracles(truth, stored, which):
    row = stored["prompts"][which]
    ids, leads = truth.greedy(row["ids"], 16)
    assert ids == row["greedy"][:16]
    assert np.allclose(leads, row["lead"][:16], atol=1e-5)


def test_tokenize(smollm, stored):
    for row in [*stored["texts"], *({"text": row["prompt"], "ids": row["ids"]} for row in stored["prompts"])]:
        assert octet.tokenize(smollm, row["text"], "--special") == row["ids"]


def test_int8_near_fp32(smollm, true_logits, stored):
    """A guard on few positions; `octet eval` over thousands is the measure."""
    ours = Engine(smollm, "int8", "int8", 2).logits([text["ids"] for text in stored["texts"]])
    klds = [divergence(logits, true) for logits, true in zip(ours, true_logits, strict=True)]
    assert np.concatenate(klds).mean() < 0.01


def test_int8_same_bytes(smollm, stored, tmp_path):
    out = tmp_path / "int8.gguf"  # once, not at each of the loads below
    octet.run("octet", "quantize", smollm, out)
    check_same_bytes(out, "int8", [text["ids"][:24] for text in stored["texts"][:2]], [(1, 2), (64, 1)])


# ---- tiny models ----


@pytest.mark.parametrize("chunk, threads", [(1, 1), (7, 2), (64, 1), (200, 2)])
def test_tiny_fp32(tiny, chunk, threads):
    logits = Engine(tiny.path, "fp32", "f32", threads, chunk).logits([tiny.ids])[0]
    assert tiny.farthest(logits) < FP32_CLOSE


def test_tiny_fp32_greedy(tiny):
    assert Engine(tiny.path, "fp32", "f32").greedy([tiny.ids], len(tiny.greedy))[0] == tiny.greedy


@pytest.mark.parametrize("kv", ["int8", "f16", "f32"])
def test_tiny_int8(tiny, kv):
    """Noise for weights is the hardest case for eight bits; a wrong scale, sign or rotation is far outside of this."""
    truth = oracle.Model(tiny.path).logits(tiny.ids)
    logits = Engine(tiny.path, "int8", kv).logits([tiny.ids])[0]
    assert noise(logits, truth) < 0.09
    assert divergence(logits, truth).mean() < 0.045


def check_same_bytes(path, kv, lines, shapes):
    """shapes: rows of a step, and threads."""
    want = Engine(path, "int8", kv, 1, 200, "generic").raw(lines)
    assert np.frombuffer(want, dtype="<f4").std() > 1
    for cpu in octet.kernel_sets():
        for chunk, threads in shapes:
            same = Engine(path, "int8", kv, threads, chunk, cpu).raw(lines) == want
            assert same, f"{cpu}, {threads} threads, chunks of {chunk}: other bytes than generic"
        assert Engine(path, "int8", kv, 2, 7, cpu, together=True).raw(lines) == want, f"{cpu}: other bytes side by side"


@pytest.mark.parametrize("kv", ["int8", "f16", "f32"])
def test_tiny_int8_same_bytes(tiny, kv):
    if tiny.name.startswith("type-") and tiny.name not in ("type-q8_0", "type-q6_k"):
        pytest.skip("the same shape as type-q6_k")
    lines = [tiny.ids, tiny.ids[3:70], tiny.ids[:1], tiny.ids[50:115]]
    shapes = [(1, 1), (1, 2), (7, 2), (64, 1), (200, 1), (200, 2)] if kv == "int8" else [(1, 2), (64, 1)]
    check_same_bytes(tiny.path, kv, lines, shapes)


# Many pages, attention blocks and spans, up to the model's context. With 256 rows a step each thread has rows of its
# own; with 7 they share all, and the spans of one row.
FAR = [
    ("llama-spm", 256, 1),
    ("llama-spm", 256, 2),
    ("llama-spm", 7, 3),
    ("llama3-freqs", 256, 2),
    ("qwen2-tied", 7, 3),
    ("head80", 256, 2),
]


def far(name, folder):
    """The model, and ids that fill its context."""
    path = str(folder / "model.gguf")
    make_tiny.make(name, path)
    rng = np.random.Generator(np.random.PCG64(1))
    return path, rng.integers(0, make_tiny.SPECS[name].n_vocab, 1024).tolist()


@pytest.mark.parametrize("name, chunk, threads", FAR)
def test_tiny_far_positions(name, chunk, threads, tmp_path):
    path, ids = far(name, tmp_path)
    truth = oracle.Model(path).logits(ids)
    assert np.abs(Engine(path, "fp32", "f32", threads, chunk).logits([ids])[0] - truth).max() < FP32_CLOSE
    for kv in ("int8", "f16", "f32"):
        assert noise(Engine(path, "int8", kv, threads, chunk).logits([ids])[0][-256:], truth[-256:]) < 0.08


def test_tiny_far_same_bytes(tmp_path):
    path, ids = far("llama-spm", tmp_path)
    check_same_bytes(path, "int8", [ids, ids[:600], ids[5:7]], [(256, 2), (7, 3)])


def test_tiny_tokenize(tiny):
    for text, ids in tiny.texts:
        assert octet.tokenize(tiny.path, text, "--special") == ids


def test_quantized_file_equals_conversion_at_load(tiny, tmp_path):
    if tiny.name == "type-q8_0":
        pytest.skip("Q8_0 is not converted at load: it runs as stored")
    out = tmp_path / "int8.gguf"
    octet.run("octet", "quantize", tiny.path, out)
    assert Engine(out, "int8", "int8").raw([tiny.ids]) == Engine(tiny.path, "int8", "int8").raw([tiny.ids])
    assert Engine(out, "fp32", "f32").raw([tiny.ids]) != Engine(tiny.path, "fp32", "f32").raw([tiny.ids])


def test_q8_0_file_reads_elsewhere(tiny, tmp_path):
    """What `--scheme q8_0` writes, the gguf package dequantizes: the oracle runs it like any other file."""
    if tiny.name == "head100":
        pytest.skip("Q8_0 has blocks of 32, which do not divide 200")
    out = str(tmp_path / "q8_0.gguf")
    octet.run("octet", "quantize", tiny.path, out, "--scheme", "q8_0")
    written = oracle.Model(out).logits(tiny.ids)
    truth = oracle.Model(tiny.path).logits(tiny.ids)
    assert noise(written, truth) < 0.05
    assert np.abs(Engine(out, "fp32", "f32").logits([tiny.ids])[0] - written).max() < FP32_CLOSE
    ours = Engine(out, "int8", "f32").logits([tiny.ids])[0]
    assert noise(ours, written) < 0.05
