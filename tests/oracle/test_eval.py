"""`octet eval` against eval_check.py."""

import json

import eval_check
import make_tiny
import numpy as np
import octet
import oracle
import pytest
from octet import Engine

CTX = 64


@pytest.mark.parametrize("name", ["llama-untied-linear", "qwen2-tied", "llama-spm"])
def test_eval(name, tmp_path):
    path, text = str(tmp_path / "model.gguf"), tmp_path / "text"
    make_tiny.make(name, path)
    text.write_text(make_tiny.TEXT * 3, encoding="utf-8")
    told = json.loads(
        octet.run("octet", "eval", "--model", path, "--reference", path, "--text", text, "--ctx", CTX, "--json")
    )

    bos = 1 if make_tiny.SPECS[name].pre == "" else None
    ids = octet.tokenize(path, make_tiny.TEXT * 3)
    ids = ids if bos is None else [bos, *ids]
    want = eval_check.evaluate(
        ids, CTX, bos, lambda chunk: Engine(path, "int8", "int8").logits([chunk])[0], oracle.Model(path).logits
    )
    assert want["chunks"] >= 3
    for key in ("tokens", "chunks", "ctx"):
        assert told[key] == want[key]
    assert told["ppl"] == pytest.approx(want["ppl"], rel=1e-4)
    assert told["ppl_se"] == pytest.approx(want["ppl_se"], rel=1e-4)
    for key, value in want["reference"].items():
        assert told["reference"][key] == pytest.approx(value, rel=1e-3, abs=1e-6), key


def test_eval_fp32_is_the_oracles(tmp_path):
    path, text = str(tmp_path / "model.gguf"), tmp_path / "text"
    make_tiny.make("llama3-freqs", path)
    text.write_text(make_tiny.TEXT * 3, encoding="utf-8")
    told = json.loads(
        octet.run("octet", "eval", "--model", path, "--text", text, "--ctx", CTX, "--precision", "fp32", "--json")
    )
    want = eval_check.evaluate(octet.tokenize(path, make_tiny.TEXT * 3), CTX, None, oracle.Model(path).logits)
    assert told["ppl"] == pytest.approx(want["ppl"], rel=1e-4)
    assert told.get("reference") is None


def told(*args):
    return json.loads(octet.run("octet", "eval", "--ctx", CTX, "--json", *args))


def rows_of(ids, bos, logits_of):
    """log p of every token at every scored position, chunk after chunk."""
    return np.concatenate([
        eval_check.log_softmax(logits_of(chunk)[CTX // 2 : CTX - 1]) for chunk in eval_check.chunks_of(ids, CTX, bos)
    ])


@pytest.fixture(params=["llama-untied-linear", "llama-spm"])
def case(request, tmp_path):
    """A model's path, a text's path, its ids, what begins a chunk."""
    name = request.param
    path, text = str(tmp_path / "model.gguf"), tmp_path / "text"
    make_tiny.make(name, path)
    text.write_text(make_tiny.TEXT * 3, encoding="utf-8")
    bos = 1 if make_tiny.SPECS[name].pre == "" else None
    ids = octet.tokenize(path, make_tiny.TEXT * 3)
    return path, text, ids if bos is None else [bos, *ids], bos


def test_positions(case, tmp_path):
    path, text, ids, bos = case
    told("--model", path, "--reference", path, "--text", text, "--out", tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    ours = rows_of(ids, bos, lambda chunk: Engine(path, "int8", "int8").logits([chunk])[0])
    theirs = rows_of(ids, bos, oracle.Model(path).logits)
    per_chunk = CTX - 1 - CTX // 2
    assert len(lines) == len(ours) >= 3 * per_chunk
    for i, line in enumerate(lines):
        chunk, position = i // per_chunk, CTX // 2 + 1 + i % per_chunk
        assert (line["chunk"], line["position"], line["token"]) == (chunk, position, ids[chunk * CTX + position])
        assert line["logprob"] == pytest.approx(ours[i, line["token"]], rel=1e-4, abs=1e-5)
        assert line["reference_logprob"] == pytest.approx(theirs[i, line["token"]], rel=1e-3, abs=1e-4)
        kld = (np.exp(theirs[i]) * (theirs[i] - ours[i])).sum()
        assert line["kld"] == pytest.approx(kld, rel=1e-2, abs=1e-6)
        assert line["same_top"] == (ours[i].argmax() == theirs[i].argmax())
    told("--model", path, "--text", text, "--out", tmp_path / "out")  # without a reference
    assert json.loads((tmp_path / "out").read_text().splitlines()[0]).keys() == {"chunk", "position", "token", "logprob"}


def test_stored_logits(case, tmp_path):
    """They are the reference's to half a step, and stand in for it."""
    path, text, ids, bos = case
    stored = tmp_path / "stored"
    direct = told("--model", path, "--reference", path, "--text", text, "--save-reference", stored)
    again = told("--model", path, "--reference", stored, "--text", text)
    assert again["ppl"] == direct["ppl"] and again["reference"]["same_top"] == direct["reference"]["same_top"]
    for key, value in direct["reference"].items():
        assert again["reference"][key] == pytest.approx(value, rel=2e-3, abs=1e-6), key

    theirs = rows_of(ids, bos, oracle.Model(path).logits)
    data, n_vocab = stored.read_bytes(), theirs.shape[1]
    row = np.dtype([("max", "<f4"), ("step", "<f4"), ("at", "<u2", n_vocab + n_vocab % 2)])
    rows = np.frombuffer(data, row, offset=240)
    assert len(rows) == len(theirs)
    logits = rows["max"][:, None] - rows["step"][:, None] * (65535.0 - rows["at"][:, :n_vocab])
    assert np.abs(eval_check.log_softmax(logits) - theirs).max() < 40 / 65535 + 1e-4
    assert (logits.argmax(axis=1) == theirs.argmax(axis=1)).all()
    assert ((rows["at"] == 65535).sum(axis=1) == 1).all()


def test_a_model_can_store_its_own(case, tmp_path):
    path, text, _, _ = case
    told("--model", path, "--reference", path, "--text", text, "--save-reference", tmp_path / "a")
    told("--model", path, "--precision", "fp32", "--text", text, "--save-reference", tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    alone = told("--model", path, "--precision", "fp32", "--reference", tmp_path / "b", "--text", text)["reference"]
    assert alone["kld_max"] < 1e-6 and alone["same_top"] == 1
