"""Checkpoints that llm-compressor quantized to W8A8 run as they are: octet's logits against numpy's, which reads the same
safetensors file. Needs OCTET_BIN_DIR."""

import dataclasses
import json
import re

import compress_hf
import gguf
import make_hf
import make_tiny
import numpy as np
import octet
import oracle
import pytest
from octet import Engine
from stored import SimulatedLinear, quantized
from test_engine import FP32_CLOSE, noise

HF_NAMES = {theirs: ours for ours, theirs in make_hf.IN_LAYER.items()}

# model, what compress() is told
CASES = {
    "rows": ("llama-untied-linear", {}),
    "rows-f32": ("qwen2-tied", {"scale_dtype": "F32"}),
    "rows-padded": ("head100", {"scale_dtype": "F16"}),
    "groups": ("head96", {"group": 32}),
    "affine": ("qwen2-untied", {"affine": True, "act_affine": True}),
    "affine-groups": ("llama-untied-linear", {"group": 64, "affine": True}),
    "head-too": ("llama-untied-linear", {"ignore": (), "floats": "F16"}),
    "mixed": ("llama-untied-linear", {"ignore": ("lm_head", "v_proj", "down_proj"), "floats": "BF16"}),
    "mixed-groups": ("qwen2-untied", {"group": 32, "ignore": ("lm_head", "o_proj", "0.mlp.up_proj"), "floats": "F16"}),
}


def in_pairs(w, heads):
    """A llama's rows of q and k: 0 1 … of each head → 0 h/2 1 h/2+1 …, GGUF's order of RoPE."""
    return w.reshape(heads, 2, -1, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


class Directory(oracle.File):
    """The directory's tensors in float64 by GGUF's names; keys from the GGUF file that it was made of."""

    def __init__(self, source, folder, affine, act_affine):
        super().__init__(source)
        self.affine, self.act_affine = affine, act_affine
        self.kept = compress_hf.load(folder / "model.safetensors")

    def theirs(self, name):
        base, kind = name.rsplit(".", 1)
        layer = re.fullmatch(r"blk\.(\d+)\.(\w+)", base)
        return f"model.layers.{layer[1]}.{make_hf.IN_LAYER[layer[2]]}.{kind}" if layer else f"{make_hf.GLOBALS[base]}.{kind}"

    def tensor(self, name, optional=False):
        self.unread.discard(name)
        theirs = self.theirs(name) if name != "rope_freqs.weight" else name
        w = self.kept.get(theirs)
        if w is None:
            assert optional, name
            return None
        w = self.meant(theirs, w)
        if self.arch == "llama" and name.split(".")[2:3] and name.split(".")[2] in ("attn_q", "attn_k"):
            kv = self.arch_get("attention.head_count_kv")
            return in_pairs(w, self.arch_get("attention.head_count") if "attn_q" in name else kv)
        return w

    def meant(self, theirs, w):
        """Integers times scales."""
        if w.dtype != np.int8:
            return w.astype(np.float64)
        scale = self.kept[f"{theirs}_scale"].astype(np.float64)
        zero = self.kept[f"{theirs}_zero_point"].astype(np.float64) if self.affine else np.zeros_like(scale)
        span = w.shape[1] // scale.shape[1]
        return (w - np.repeat(zero, span, axis=1)) * np.repeat(scale, span, axis=1)


class Simulated(Directory):
    """Inputs of integers go through integers too, a scale a token; those of floats don't."""

    @property
    def linear(self):
        return SimulatedLinear

    def input_of(self, name):
        if self.kept[self.theirs(f"{name}.weight")].dtype != np.int8:
            return lambda x: x
        return lambda x: quantized(x, x.shape[1], self.act_affine)

    def head_input(self):
        return self.input_of("output" if "lm_head.weight" in self.kept else "token_embd")


@pytest.fixture(scope="module", params=list(CASES))
def made(request, tmp_path_factory):
    """(GGUF file of floats, directory, what numpy must know of it, ids)"""
    name, told = CASES[request.param]
    folder = tmp_path_factory.mktemp("compressed")
    with pytest.MonkeyPatch.context() as patch:
        pre = make_tiny.SPECS[name].pre
        known_pre = dataclasses.replace(make_tiny.SPECS[name], pre=pre if pre in make_hf.PRE_TOKENIZERS else "gpt-2")
        patch.setitem(make_tiny.SPECS, name, known_pre)
        make_tiny.make(name, str(folder / "floats.gguf"))
    directory = make_hf.make(folder / "floats.gguf", folder / "model")
    compress_hf.compress(directory, **told)
    rng = np.random.Generator(np.random.PCG64(7))
    ids = rng.integers(0, make_tiny.SPECS[name].n_vocab, 70).tolist()
    known = (told.get("affine", False), told.get("act_affine", False))
    return str(folder / "floats.gguf"), directory, known, ids


def test_fp32_is_what_the_integers_mean(made):
    source, directory, known, ids = made
    want = oracle.Model(source, Directory(source, directory, *known)).logits(ids)
    assert np.abs(Engine(directory, "fp32", "f32").logits([ids])[0] - want).max() < FP32_CLOSE
    assert 0 < noise(want, oracle.Model(source).logits(ids)) < 0.05


def test_integers_run_as_they_are(made):
    """Only where a rounding falls the other way in float32 may they part (test_schemes.py)."""
    source, directory, known, ids = made
    want = oracle.Model(source, Simulated(source, directory, *known)).logits(ids)
    assert noise(Engine(directory, "int8", "f32").logits([ids])[0], want) < 0.012


def test_quantize_copies_them(made, tmp_path):
    _, directory, _, ids = made
    out = tmp_path / "out.gguf"
    octet.run("octet", "quantize", directory, out)
    assert Engine(out, "int8", "int8").raw([ids]) == Engine(directory, "int8", "int8").raw([ids])
    theirs, ours = compress_hf.load(directory / "model.safetensors"), {t.name: t for t in gguf.GGUFReader(out).tensors}
    checked = 0
    for name, q in theirs.items():
        base = re.fullmatch(r"model\.layers\.(\d+)\.(.*)\.weight", name)
        if not base or q.dtype != np.int8:
            continue
        ours_name = f"blk.{base[1]}.{HF_NAMES[base[2]]}"
        scale = theirs[f"{name}_scale"].astype(np.float32)
        if "attn_q" in ours_name or "attn_k" in ours_name:
            q, scale = (np.sort(x, axis=0) for x in (q, scale))  # the rows' order is what the logits hold
        for part, want in (("octet_q", q), ("octet_scale", scale)):
            got = ours[f"{ours_name}.{part}"].data.reshape(len(want), -1)[:, : want.shape[1]]
            assert np.array_equal(np.sort(got, axis=0) if "attn_q" in ours_name or "attn_k" in ours_name else got, want)
        checked += 1
    assert checked
    label = json.loads(octet.run("octet", "info", "--json", directory))["scheme"]
    assert label == json.loads(octet.run("octet", "info", "--json", out))["scheme"] and label.startswith("int8-h0-")
