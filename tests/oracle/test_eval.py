"""`octet eval` against eval_check.py."""

import json

import eval_check
import make_tiny
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
