"""octet on a Hugging Face directory gives what octet gives on the equivalent GGUF file. The directories are made by
make_hf.py, which turns names and rows back by itself; the tokenizer is held against the `tokenizers` package as well,
which reads the same tokenizer.json. Needs OCTET_BIN_DIR; the tests of the default model OCTET_MODEL too."""

import dataclasses
import json
import math
import pathlib
import tempfile

import gguf
import make_hf
import make_tiny
import numpy as np
import octet
import pytest
from octet import Engine
from tokenizers import Tokenizer

# Every architecture, tied or not, with biases, linear RoPE, odd head sizes, and each way of cutting text.
NAMES = ["llama-untied-linear", "qwen2-untied", "qwen2-tied", "head80", "head-wide", "type-f16", "type-bf16"]
DTYPES = {"type-f16": "F16", "type-bf16": "BF16"}
TEXTS = [
    "the cat sat on the mat",
    "In 1234567 days,  they'll\tsee 3 ships.\n\n  \n It's NOT a 'test', isn't it? x=1+2\r\n",
    "naïve café 日本語 ٣٤ ½ \u00a0\u2003 end   ",
    "<|im_start|>user\nhi<|im_end|>\n",
]


@pytest.fixture(scope="module", params=NAMES)
def pair(request, tmp_path_factory):
    """(GGUF file, directory, ids of a text)"""
    folder = tmp_path_factory.mktemp("hf")
    path = folder / "model.gguf"
    make_tiny.make(request.param, str(path))
    made = make_hf.make(path, folder / "model", DTYPES.get(request.param, "F32"), 3 if "qwen2" in request.param else 1)
    return path, made, octet.tokenize(path, TEXTS[0])


@pytest.mark.parametrize(("precision", "kv"), [("fp32", "f32"), ("int8", "int8")])
def test_same_logits(pair, precision, kv):
    path, made, ids = pair
    want, got = (Engine(p, precision, kv).logits([ids])[0] for p in (path, made))
    assert np.array_equal(want, got)
    assert Engine(path, precision, kv).greedy([ids], 16) == Engine(made, precision, kv).greedy([ids], 16)


def ids_alike(path, made, texts):
    theirs = Tokenizer.from_file(str(made / "tokenizer.json"))
    for text in texts:
        for flags in ([], ["--special"]):
            assert octet.tokenize(made, text, *flags) == octet.tokenize(path, text, *flags), (text, flags)
        assert octet.tokenize(made, text, "--special") == theirs.encode(text, add_special_tokens=False).ids, text


def test_same_ids(pair):
    ids_alike(pair[0], pair[1], TEXTS)


def quantized(source, out, scheme):
    octet.run("octet", "quantize", source, out, "--scheme", scheme)
    reader = gguf.GGUFReader(out)
    return {t.name: (t.tensor_type, t.data.tobytes()) for t in reader.tensors}, reader


def files_alike(path, made, tmp_path, scheme):
    want, old = quantized(path, tmp_path / "a.gguf", scheme)
    got, new = quantized(made, tmp_path / "b.gguf", scheme)
    assert got == want
    for key in ("tokens", "token_type", "merges", "pre", "bos_token_id", "eos_token_id", "add_bos_token"):
        key = "tokenizer.ggml." + key
        if key in old.fields:
            assert new.fields[key].contents() == old.fields[key].contents(), key


@pytest.mark.parametrize("scheme", ["int8", "q8_0"])
def test_same_file_when_quantized(pair, tmp_path, scheme):
    files_alike(pair[0], pair[1], tmp_path, scheme)


def test_info(pair):
    path, made, _ = pair
    want, got = (json.loads(octet.run("octet", "info", "--json", p)) for p in (path, made))
    assert {t["name"]: (t["dims"], t["bytes"]) for t in got["tensors"]} == {
        t["name"]: (t["dims"], t["bytes"]) for t in want["tensors"]
    }
    assert got["architecture"] == want["architecture"] and got["parameters"] == want["parameters"]
    assert got["file_bytes"] == sum(f.stat().st_size for f in made.glob("*.safetensors"))


def llama3_divisors(rope, theta, head_dim):
    """What slows each frequency, as transformers computes the frequencies themselves."""
    out = []
    for i in range(head_dim // 2):
        freq = theta ** (-2 * i / head_dim)
        wave = 2 * math.pi / freq
        low, high, context = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
        if wave < context / high:
            slowed = freq
        elif wave > context / low:
            slowed = freq / rope["factor"]
        else:
            smooth = (context / wave - low) / (high - low)
            slowed = (1 - smooth) * freq / rope["factor"] + smooth * freq
        out.append(freq / slowed)
    return out


def test_rope_of_llama3(tmp_path, monkeypatch):
    rope = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    }
    base = make_tiny.SPECS["llama3-freqs"]
    divisors = llama3_divisors(rope, base.rope_base, base.head_dim)
    assert divisors[0] == 1 and divisors[-1] == 8 and any(1 < d < 8 for d in divisors)
    monkeypatch.setitem(make_tiny.SPECS, "ramp", dataclasses.replace(base, rope_freqs=divisors))
    path = tmp_path / "ramp.gguf"
    make_tiny.make("ramp", str(path))
    made = make_hf.make(path, tmp_path / "ramp", config=lambda c: c.update(rope_scaling=rope))
    ids = octet.tokenize(path, TEXTS[1])
    want, got = (Engine(p, "fp32", "f32").logits([ids])[0] for p in (path, made))
    assert np.abs(want - got).max() < 1e-4 * np.abs(want).max()
    ids_alike(path, made, TEXTS[:1])


def test_default_model(smollm):
    with tempfile.TemporaryDirectory() as folder:  # half a gigabyte, which pytest's own would keep
        made = make_hf.make(smollm, pathlib.Path(folder) / "model")
        ids_alike(smollm, made, TEXTS)
        files_alike(smollm, made, pathlib.Path(folder), "int8")
