"""Folding and ranges against numpy: SmoothQuant's factors by the paper's formula, the network they leave as it was,
and the clip with the least error by trying all of them.
"""

import json
import subprocess

import gguf
import numpy as np
import octet
import oracle
import pytest
from stored import Stored, turn
from test_compensate import READS, Made, gram
from test_engine import FP32_CLOSE, noise

MODELS = ["llama-untied-linear", "qwen2-untied", "head96", "qwen2-tied"]


@pytest.fixture(scope="module", params=MODELS)
def made(request, tmp_path_factory):
    return Made(request.param, tmp_path_factory.mktemp("prepare"))


class Folded(oracle.File):
    """The source with every fold done in float64: what octet must have rounded."""

    def __init__(self, made, alpha_of):
        super().__init__(str(made.path))
        self.made, self.alpha_of = made, alpha_of
        self.n_head = int(self.arch_get("attention.head_count"))
        self.n_kv = int(self.arch_get("attention.head_count_kv"))
        self.new = {name: super(Folded, self).tensor(name) for name in self.tensors}
        for i in range(int(self.arch_get("block_count"))):
            b = f"blk.{i}."
            s = self.factors(b + "attn_output", ["attn_output"])
            first = s.reshape(self.n_kv, self.n_head // self.n_kv, -1)[:, 0].reshape(-1)
            for name in (b + "attn_v.weight", b + "attn_v.bias"):
                if name in self.new:
                    self.new[name] = (self.new[name].T / first).T
            self.new[b + "attn_output.weight"] *= s
            s = self.factors(b + "ffn_down", ["ffn_down"])
            self.new[b + "ffn_up.weight"] /= s[:, None]
            self.new[b + "ffn_down.weight"] *= s
            self.after_norm(b, "attn_norm", "attn_qkv", ["attn_q", "attn_k", "attn_v"])
            self.after_norm(b, "ffn_norm", "ffn_gate_up", ["ffn_gate", "ffn_up"])
        if "output.weight" in self.new:
            self.after_norm("", "output_norm", "output", ["output"])
        else:
            s = self.after_norm("", "output_norm", "output", ["token_embd"])
            if self.alpha_of("output") is not None:
                self.new["token_embd.octet_smooth"] = s

    def shared(self, x):
        """Query heads that read one v head: their sum, in each of them."""
        x = x.reshape(self.n_kv, self.n_head // self.n_kv, -1)
        return np.broadcast_to(x.sum(axis=1, keepdims=True), x.shape).reshape(-1)

    def factors(self, site, readers):
        prefix = site[: site.rindex(".") + 1] if "." in site else ""
        energy = np.diag(gram(self.made.reader, site)) / self.made.tokens
        weight = sum((self.new[prefix + name + ".weight"] ** 2).sum(axis=0) for name in readers)
        if site.endswith("attn_output"):
            energy, weight = self.shared(energy), self.shared(weight)
        alpha = self.alpha_of(site)
        if alpha is None:
            return np.ones(len(energy))
        s = np.sqrt(energy) ** alpha / np.sqrt(weight) ** (1 - alpha)
        return s / np.exp(np.log(s).mean())

    def after_norm(self, b, norm, site, readers):
        s = self.factors(b + site, readers)
        self.new[b + norm + ".weight"] /= s
        for name in readers:
            self.new[b + name + ".weight"] *= s
        return s

    def tensor(self, name, optional=False):
        self.unread.discard(name)
        return self.new.get(name) if optional else self.new[name]


def check(made, out, folded):
    """Every number of the file is that of the fold: vectors alike, matrices within half a step."""
    ids = list(range(3, 43))
    truth = oracle.Model(str(made.path)).logits(ids)
    assert np.abs(oracle.Model(str(made.path), folded).logits(ids) - truth).max() < 1e-9, "the fold changes the network"
    stored = Stored(str(out))
    means = oracle.Model(str(out), stored).logits(ids)
    assert noise(means, truth) < 0.08
    assert np.abs(octet.Engine(str(out), "fp32", "f32").logits([ids])[0] - means).max() < FP32_CLOSE
    for name, want in folded.new.items():
        base = name.removesuffix(".weight")
        if base not in stored.specs:
            assert np.allclose(stored.tensor(name), want, rtol=1e-5, atol=1e-9), name
            continue
        spec = stored.specs[base]
        want = turn(turn(want, spec["block_in"]), spec["block_out"], axis=0)
        step = np.repeat(stored.rows(base + ".octet_scale").astype(float), spec["group"], axis=1)[:, : want.shape[1]]
        want = np.clip(want, -127 * step, 127 * step)  # ranges are searched
        off = np.abs(stored.integers(base)[:, : want.shape[1]] - want)
        assert (off <= step * 0.57 + 1e-6).all(), (name, (off / step).max())


def test_fold_is_the_papers_and_keeps_the_network(made, tmp_path):
    out = tmp_path / "out.gguf"
    octet.run("octet", "quantize", made.path, out, "--observations", made.seen, "--smooth", 0.4)
    check(made, out, Folded(made, lambda site: 0.4))
    fields = gguf.GGUFReader(out).fields
    assert set(fields["octet.smooth.alpha_percent"].contents()) <= {40, -1}
    smooth = json.loads(octet.run("octet", "info", out, "--json"))["smooth"]
    assert smooth["blk.0.ffn_down"] == smooth["output"] == 0.4


def test_prepared_floats_are_the_same_network(made, tmp_path):
    """No integer in it: what the fold alone does, by octet's own float path."""
    out = tmp_path / "out.gguf"
    octet.run("octet", "quantize", made.path, out, "--observations", made.seen, "--smooth", "auto", "--scheme", "f32")
    ids = list(range(3, 43))
    before, after = (octet.Engine(str(path), "fp32", "f32").logits([ids])[0] for path in (made.path, out))
    assert np.abs(before - after).max() < FP32_CLOSE
    norms = [oracle.File(str(path)).tensor("blk.0.ffn_norm.weight") for path in (made.path, out)]
    assert np.abs(norms[0] / norms[1] - 1).max() > 0.01


def test_standard_files_stay_standard(made, tmp_path):
    """What other engines read: an embedding that is the head too cannot be smoothed there; the rest can."""
    out = tmp_path / "out.gguf"
    octet.run("octet", "quantize", made.path, out, "--observations", made.seen, "--smooth", 0.4, "--scheme", "q8_0")
    file, source = oracle.File(str(out)), oracle.File(str(made.path))
    assert file.tensors.keys() == source.tensors.keys()
    ids = list(range(3, 43))
    assert noise(oracle.Model(str(out)).logits(ids), oracle.Model(str(made.path)).logits(ids)) < 0.08


def test_searched_alphas_are_in_the_file(made, tmp_path):
    out, again = tmp_path / "out.gguf", tmp_path / "again.gguf"
    flags = ["--observations", made.seen, "--smooth", "auto", "--scheme", "fast"]
    octet.run("octet", "quantize", made.path, out, *flags)
    fields = gguf.GGUFReader(out).fields
    names, alphas = (fields["octet.smooth." + key].contents() for key in ("names", "alpha_percent"))
    alphas = dict(zip(names, alphas))
    assert all(a == -1 or (0 <= a <= 100 and a % 5 == 0) for a in alphas.values()) and max(alphas.values()) >= 0
    check(made, out, Folded(made, lambda site: None if alphas[site] < 0 else alphas[site] / 100))
    octet.run("octet", "quantize", made.path, again, *flags, "--threads", 2)
    assert again.read_bytes() == out.read_bytes()


def symmetric_scales(bits, w):
    """All that are tried, [tries][groups]."""
    top, shrink = np.abs(w).max(axis=-1), (1 - np.arange(20) / 32)[:, None, None]
    if bits == 8:
        return top * (1 - np.arange(-32, 16) / 480)[:, None, None] / 127
    ends = np.concatenate([top * shrink * 8 / 7, -top * shrink * 8 / 7, top[None], -top[None]])
    return ends / 8


def loss(w, energy, scale, low, high, zero=0.0):
    """sum of energy (w - w')^2 of w [groups][n] for scale [..., groups]."""
    s, z = np.asarray(scale)[..., None], np.asarray(zero)[..., None]
    q = np.clip(np.rint(np.divide(w, s, where=s != 0, out=np.zeros(np.broadcast_shapes(w.shape, s.shape)))), low - z, high - z)
    return (energy * (w - s * q) ** 2).sum(axis=-1)


def best_affine(w, energy, bits):
    """The least loss, min searched first, then max."""
    least, most = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    low, high = np.minimum(w.min(axis=-1), 0), np.maximum(w.max(axis=-1), 0)

    def at(low, high):
        scale = ((high - low) / (most - least)).astype(np.float16).astype(float)
        zero = np.minimum(least - np.rint(np.divide(low, scale, where=scale > 0, out=np.zeros_like(low))), most)
        return loss(w, energy, scale, least, most, zero)

    best, chosen = at(low, high), low
    for i in range(1, 20):
        error = at(low * (1 - i / 32), high)
        chosen = np.where(error < best, low * (1 - i / 32), chosen)
        best = np.minimum(error, best)
    for i in range(1, 20):
        best = np.minimum(at(chosen, high * (1 - i / 32)), best)
    return best


@pytest.mark.parametrize("scheme, bits", [("int8-g32", 8), ("int4-g32", 4), ("int4-affine", 4), ("fast", 8)])
def test_clip_is_the_best_of_all(tmp_path, scheme, bits):
    made = Made("llama-untied-linear", tmp_path)
    out = tmp_path / "clipped.gguf"
    octet.run("octet", "quantize", made.path, out, "--observations", made.seen, "--clip", "--scheme", scheme)
    stored, source = Stored(str(out)), oracle.File(str(made.path))
    assert stored.get("octet.clip") is True
    clipped = 0
    for base, spec in stored.specs.items():
        name = base.split(".")[-1]
        if name not in READS or spec["bits"] != bits:
            continue
        w = turn(turn(source.tensor(base + ".weight"), spec["block_in"]), spec["block_out"], axis=0)
        h = gram(made.reader, f"{base.rsplit('.', 1)[0]}.{READS[name]}") / made.tokens
        energy = np.diag(turn(turn(h, spec["block_in"]), spec["block_in"], axis=0))
        shape = (len(w), -1, spec["group"])
        w, energy = w.reshape(shape), energy.reshape(1, -1, spec["group"])
        got = stored.integers(base).reshape(shape)
        if spec["zero"]:
            best = best_affine(w, energy, bits)
        else:
            low, high = (-8, 7) if bits == 4 else (-127, 127)
            tried = symmetric_scales(bits, w).astype(np.float16).astype(float)
            best = np.min([loss(w, energy, scale, low, high) for scale in tried], axis=0)
            plain = np.abs(w).max(axis=-1) / (8 if bits == 4 else 127)
            clipped += (np.abs(stored.rows(base + ".octet_scale").astype(float)) < 0.98 * plain).sum()
        error = (energy * (w - got) ** 2).sum(axis=-1)
        assert (error <= best * 1.001 + 1e-9).all(), (base, (error / best).max())
        assert error.sum() > 0.99 * best.sum(), base
    assert clipped or scheme != "int4-g32", "nothing was clipped"


def test_all_of_it_together(made, tmp_path):
    """Folded, clipped, compensated, then served."""
    out = tmp_path / "out.gguf"
    flags = ["--smooth", "auto", "--clip", "--compensate", "--scheme", "int4", "--observations", made.seen]
    report = json.loads(octet.run("octet", "quantize", made.path, out, *flags, "--json"))
    assert list(report["steps"]) == ["prepare", "observe", "convert", "report"]
    assert all(seconds >= 0 for seconds in report["steps"].values()) and report["steps"]["convert"] > 0
    assert sum(report["steps"].values()) == pytest.approx(report["seconds"], abs=0.05)
    octet.run("octet", "generate", "--model", out, "--prompt", "the", "--max-tokens", 3)


def test_an_embedding_is_not_divided_by_zero(made, tmp_path):
    out = tmp_path / "out.gguf"
    octet.run("octet", "quantize", made.path, out, "--observations", made.seen, "--smooth", 0.5)
    smooth = [t for t in gguf.GGUFReader(out, "r+").tensors if t.name == "token_embd.octet_smooth"]
    assert len(smooth) == ("output.weight" not in oracle.File(str(made.path)).tensors)
    for tensor in smooth:
        tensor.data[7] = 0.0
        tensor.data.flush()
        done = subprocess.run([octet.program("octet"), "generate", "--model", out, "--prompt", "a"], capture_output=True)
        assert done.returncode == 1 and b"token_embd.octet_smooth[7] is not above 0" in done.stderr
