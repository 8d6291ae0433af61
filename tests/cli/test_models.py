"""Files that are sound GGUF but not a network that is built: refused by name, by octet and by octetd."""

import json
import os
import pathlib
import subprocess
import sys

import gguf
import numpy as np
import pytest

from conftest import BIN, octet, refused

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import make_tiny  # noqa: E402


def variant(path, base="llama-untied-linear", drop=(), keys=None, tensors=None, change=None):
    """A tiny model with tensors or keys left out or changed. keys: name → None (left out) or a value; tensors: more
    of them; change: function (name, array) → array."""
    keys = dict(keys or {})

    class Writer(gguf.GGUFWriter):
        def add_key_value(self, key, val, vtype, *rest, **more):
            if key in keys:
                val = keys.pop(key)
                if val is None:
                    return
            super().add_key_value(key, val, vtype, *rest, **more)

        def add_tensor(self, name, tensor, *rest, **more):
            if name not in drop:
                super().add_tensor(name, change(name, tensor) if change else tensor, *rest, **more)

        def write_header_to_file(self, *rest, **more):
            for name, tensor in (tensors or {}).items():
                super().add_tensor(name, tensor)
            more_keys = dict(keys)
            keys.clear()
            for name, value in more_keys.items():
                if isinstance(value, str):
                    super().add_string(name, value)
                elif isinstance(value, int):
                    super().add_uint32(name, value)
                elif isinstance(value, float):
                    super().add_float32(name, value)
            super().write_header_to_file(*rest, **more)

    real, make_tiny.gguf.GGUFWriter = gguf.GGUFWriter, Writer
    try:
        make_tiny.make(base, str(path))
    finally:
        make_tiny.gguf.GGUFWriter = real
    return path


def floats(*shape):
    return np.zeros(shape, np.float32)


BAD = {
    "missing tensor": (dict(drop=["blk.1.ffn_up.weight"]), ["blk.1.ffn_up.weight", "missing"]),
    "missing embedding": (dict(drop=["token_embd.weight"]), ["token_embd.weight"]),
    "missing norm": (dict(drop=["output_norm.weight"]), ["output_norm.weight"]),
    "missing bias": (dict(base="qwen2-untied", drop=["blk.0.attn_k.bias"]), ["blk.0.attn_k.bias"]),
    "missing tokenizer": (dict(keys={"tokenizer.ggml.model": None}), ["tokenizer.ggml.model"]),
    "missing tokens": (dict(keys={"tokenizer.ggml.tokens": None}), ["tokenizer.ggml.tokens"]),
    "missing layers": (dict(keys={"llama.block_count": None}), ["llama.block_count"]),
    "no layers": (dict(keys={"llama.block_count": 0}), ["llama.block_count"]),
    "too many layers": (dict(keys={"llama.block_count": 3}), ["blk.2."]),
    "4 billion layers": (dict(keys={"llama.block_count": 0xFFFFFFFF}), ["llama.block_count"]),
    "fewer layers": (dict(keys={"llama.block_count": 1}), ["blk.1.", "not built"]),
    "zero heads": (dict(keys={"llama.attention.head_count": 0}), ["llama.attention.head_count"]),
    "odd grouping": (dict(keys={"llama.attention.head_count_kv": 3}), ["4 query heads", "3 key/value heads"]),
    "zero width": (dict(keys={"llama.embedding_length": 0}), ["llama.embedding_length"]),
    "wrong width": (dict(keys={"llama.embedding_length": 256}), ["128", "256"]),
    "wrong ffn": (dict(keys={"llama.feed_forward_length": 999}), ["ffn_gate", "999"]),
    "zero context": (dict(keys={"llama.context_length": 0}), ["llama.context_length"]),
    "negative eps": (dict(keys={"llama.attention.layer_norm_rms_epsilon": -1.0}), ["layer_norm_rms_epsilon"]),
    "nan base": (dict(keys={"llama.rope.freq_base": float("nan")}), ["llama.rope.freq_base"]),
    "odd rotation": (dict(keys={"llama.rope.dimension_count": 31}), ["rope.dimension_count"]),
    "another architecture": (dict(keys={"general.architecture": "mamba"}), ["mamba", "not built"]),
    "yarn": (dict(keys={"llama.rope.scaling.type": "yarn"}), ["yarn", "not built"]),
    "longrope": (dict(keys={"llama.rope.scaling.type": "longrope"}), ["longrope", "not built"]),
    "experts": (dict(keys={"llama.expert_count": 8}), ["experts", "not built"]),
    "several parts": (dict(keys={"split.count": 2}), ["split.count"]),
    "unknown pre-tokenizer": (dict(keys={"tokenizer.ggml.pre": "tekken"}), ["tekken"]),
    "unknown tokenizer": (dict(keys={"tokenizer.ggml.model": "bert"}), ["bert"]),
    "unknown tensor": (dict(tensors={"blk.0.attn_q_norm.weight": floats(32)}), ["blk.0.attn_q_norm.weight", "not built"]),
    "rope factors of another size": (dict(tensors={"rope_freqs.weight": floats(9)}), ["rope_freqs.weight", "9"]),
    "rope factors of zero": (dict(tensors={"rope_freqs.weight": floats(16)}), ["rope_freqs.weight"]),
    "rope base below one": (dict(keys={"llama.rope.freq_base": 1e-20}), ["rope.freq_base"]),
    "tensor with a third dimension": (
        dict(change=lambda n, t: t.reshape(2, -1, t.shape[1]) if n == "blk.0.attn_q.weight" else t),
        ["blk.0.attn_q.weight"],
    ),
    "nan weight": (
        dict(change=lambda n, t: np.where(t == t.max(), np.nan, t).astype(np.float32) if n == "blk.1.attn_v.weight" else t),
        ["blk.1.attn_v.weight", "NaN"],
    ),
    "infinite weight": (
        dict(change=lambda n, t: np.where(t == t.min(), -np.inf, t).astype(np.float32) if n == "output.weight" else t),
        ["output.weight", "infinity"],
    ),
    "infinite norm": (
        dict(change=lambda n, t: (t + np.inf).astype(np.float32) if n == "output_norm.weight" else t),
        ["output_norm.weight", "infinity"],
    ),
    "weights beyond f16 scales": (
        dict(change=lambda n, t: (t * 1e9).astype(np.float32) if n == "blk.0.ffn_down.weight" else t),
        ["blk.0.ffn_down.weight", "f16"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_by_name(name, tmp_path):
    how, words = BAD[name]
    path = variant(tmp_path / "bad.gguf", **how)
    said = refused(1, "generate", "--model", path, "--prompt", "the cat", "--max-tokens", 1)
    for word in ["bad.gguf", *words]:
        assert word in said, said
    daemon = subprocess.run([BIN / "octetd", "--model", path, "--port", "0"], capture_output=True, text=True, timeout=60)
    assert daemon.returncode == 1 and daemon.stdout == ""
    for word in ["bad.gguf", *words]:
        assert word in daemon.stderr


@pytest.mark.parametrize("base", make_tiny.SPECS)
def test_every_tiny_model_runs_and_quantizes(base, tmp_path):
    """From the file itself and from its INT8 file: the same text, so converting at load is quantizing."""
    source, made = variant(tmp_path / "tiny.gguf", base=base), tmp_path / "made.gguf"
    assert octet("quantize", source, made).returncode == 0
    ask = ["--prompt", "the cat sat on", "--max-tokens", 12, "--temperature", 0, "--ignore-eos"]
    texts = {octet("generate", "--model", f, *ask).stdout for f in ([made] if base == "type-q8_0" else [source, made])}
    assert len(texts) == 1 and texts.pop().strip()


def test_quantize_refuses_broken_vectors(tmp_path):
    how, words = BAD["infinite norm"]
    said = refused(1, "quantize", variant(tmp_path / "bad.gguf", **how), tmp_path / "out.gguf")
    for word in ["bad.gguf", *words]:
        assert word in said, said
    assert not list(tmp_path.glob("out.gguf*"))


def test_info_shows_names_as_they_are(tmp_path):
    path = variant(tmp_path / "tiny.gguf", keys={"general.name": 'Café "モデル"\n\x1b[31m'})
    assert json.loads(octet("info", "--json", path).stdout)["name"] == 'Café "モデル"\n\x1b[31m'
    assert b"\x1b" not in octet("info", path).stdout  # a terminal is not the file's to command


def test_a_kernel_set_that_is_not_there_is_a_wrong_setting(tmp_path):
    path = variant(tmp_path / "tiny.gguf")
    command = [BIN / "octetd", "--model", path, "--port", "0"]
    done = subprocess.run(command, env={**os.environ, "OCTET_CPU": "mmx"}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "OCTET_CPU=mmx" in done.stderr and "generic" in done.stderr
    assert "listening" not in done.stderr


OCTET_BAD = {
    "no plan": ({"octet.linear.names": None}, ["octet.linear"]),
    "another group": ({"octet.linear.group": [48] * 16}, ["groups of 48", "not built"]),
    "short plan": ({"octet.linear.bits": [8] * 3}, ["octet.linear.bits"]),
    "odd block": ({"octet.linear.block_in": [48] * 16}, ["not built"]),
    "blocks wider than heads": (
        {
            "octet.linear.block_out": lambda old: [64 if n else 0 for n in old],
            "octet.linear.block_in": lambda old: [64 if n < 64 else n for n in old],
        },
        ["attn_v.weight", "heads of 32"],
    ),
    "v and o apart": ({"octet.linear.block_out": lambda old: [16 if n else 0 for n in old]}, ["attn_v.weight", "attn_output.weight"]),
}


@pytest.mark.parametrize("name", OCTET_BAD)
def test_a_spoilt_int8_file(name, tmp_path):
    """octet's own metadata is as hostile as any: rewritten with another plan."""
    changed, words = OCTET_BAD[name]
    made, bad = tmp_path / "made.gguf", tmp_path / "bad.gguf"
    assert octet("quantize", variant(tmp_path / "tiny.gguf"), made).returncode == 0
    reader = gguf.GGUFReader(made)
    writer = gguf.GGUFWriter(bad, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        value = field.contents()
        if field.name in changed:
            value = changed[field.name]
            value = value(field.contents()) if callable(value) else value
            if value is None:
                continue
        kind = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        if kind == gguf.GGUFValueType.UINT32:
            writer.add_key_value(field.name, value, gguf.GGUFValueType.ARRAY, sub_type=kind)
        else:
            writer.add_key_value(field.name, value, field.types[0], sub_type=kind)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    said = refused(1, "generate", "--model", bad, "--prompt", "x")
    for word in ["bad.gguf", *words]:
        assert word in said, said


def test_rows_beyond_the_vocabulary_are_no_tokens(tmp_path):
    """Some files pad the embedding: its extra rows are neither drawn nor accepted."""
    pad = lambda n, t: np.vstack([t, 100 * np.ones((24, t.shape[1]), np.float32)]) if n == "token_embd.weight" else t
    path = variant(tmp_path / "pad.gguf", base="llama3-freqs", change=pad)
    done = octet("generate", "--model", path, "--prompt", "the cat", "--max-tokens", 20, "--temperature", 2, "--seed", 1)
    assert done.returncode == 0, done.stderr


def test_llama_cpp_would_not_misread_it(tmp_path):
    """Rotated weights carry names that no other engine looks for, and no standard quantized type."""
    made = tmp_path / "made.gguf"
    assert octet("quantize", variant(tmp_path / "tiny.gguf"), made).returncode == 0
    for tensor in gguf.GGUFReader(made).tensors:
        if tensor.name.endswith(".weight"):
            assert len(tensor.shape) == 1, f"{tensor.name} would be loaded by others"
        else:
            assert tensor.name.endswith((".octet_q", ".octet_scale"))
