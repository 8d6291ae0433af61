"""Calibration and error compensation against numpy: what was observed, and the integers made of it.

The network's inputs come from the oracle, in float64. The integers come from GPTQ as its paper has it (Frantar et al.
2022, algorithm 1: the upper Cholesky factor of H's inverse, errors passed on column by column), where octet takes
another way to the same numbers, in float32.
"""

import json
import resource
import signal
import subprocess

import gguf
import make_tiny
import numpy as np
import octet
import oracle
import pytest

NAMES = ["llama-untied-linear", "qwen2-tied", "head100", "head-wide"]
SITES = {"attn_qkv": "q", "attn_output": "o", "ffn_gate_up": "gate", "ffn_down": "down"}
READS = {
    "attn_q": "attn_qkv",
    "attn_k": "attn_qkv",
    "attn_v": "attn_qkv",
    "attn_output": "attn_output",
    "ffn_gate": "ffn_gate_up",
    "ffn_up": "ffn_gate_up",
    "ffn_down": "ffn_down",
}


class Made:
    """A tiny model, a text, the observations and the file that octet made."""

    def __init__(self, name, folder, scheme="int8"):
        self.path = folder / "in.gguf"
        make_tiny.make(name, str(self.path))
        self.text, self.seen, self.out = folder / "text", folder / "seen.gguf", folder / "out.gguf"
        self.text.write_text(" ".join(make_tiny.TEXT[i:] + make_tiny.TEXT[:i] for i in range(0, 250, 17)))
        octet.run(
            "octet", "quantize", self.path, self.out, "--scheme", scheme, "--calibrate", self.text,
            "--calibrate-tokens", 1024, "--observations", self.seen,
        )  # fmt: skip
        self.reader = gguf.GGUFReader(self.seen)
        self.tokens = self.reader.fields["octet.calibration.tokens"].contents()


@pytest.fixture(scope="module", params=NAMES)
def made(request, tmp_path_factory):
    return Made(request.param, tmp_path_factory.mktemp("compensate"))


def tensor(reader, name):
    return next(t.data for t in reader.tensors if t.name == name)


def gram(reader, name):
    """Panels of 32 columns of the lower half, each from its first row on."""
    k = len(tensor(reader, name + ".max_abs"))
    panels, h, at = np.asarray(tensor(reader, name + ".gram"), dtype=np.float64), np.zeros((k, k)), 0
    for first in range(0, k, 32):
        part = panels[at : at + (k - first) * 32].reshape(k - first, 32)
        h[first:, first : first + 32] = part[:, : k - first]
        at += part.size
    assert at == len(panels)
    lower = np.tril(h)
    return lower + np.tril(h, -1).T


def inputs(made):
    """{(layer, site): rows} by the oracle, sequences as octet cuts them."""
    model = oracle.Model(str(made.path))
    rows, owner = {}, {}
    for i, layer in enumerate(model.layers):
        owner.update({id(getattr(layer, part)): (i, site) for site, part in SITES.items()})

    class Listening(oracle.Linear):
        def __call__(self, x):
            if id(self) in owner:
                rows.setdefault(owner[id(self)], []).append(x.reshape(len(x), -1))
            return super().__call__(x)

    for layer in model.layers:
        for part in SITES.values():
            getattr(layer, part).__class__ = Listening
    ids = octet.run("octet", "tokenize", "--model", made.path, "--json", input=made.text.read_bytes())
    ids = np.array(json.loads(ids)["ids"])
    return model, rows, ids


def test_observations_are_the_oracles(made):
    model, rows, ids = inputs(made)
    file = oracle.File(str(made.path))
    ctx = min(512, int(file.arch_get("context_length")))
    bos = file.get("tokenizer.ggml.bos_token_id")
    add = file.get("tokenizer.ggml.add_bos_token", False)
    if add:
        ids = np.concatenate([[bos], ids])
    assert made.tokens == min(1024, len(ids)) // ctx * ctx and made.tokens >= ctx
    for first in range(0, made.tokens, ctx):
        part = ids[first : first + ctx].copy()
        if add:
            part[0] = bos
        model.run(list(part))
    for (layer, site), parts in rows.items():
        x = np.concatenate(parts)
        assert len(x) == made.tokens
        name = f"blk.{layer}.{site}"
        want = x.T @ x
        assert np.abs(gram(made.reader, name) - want).max() < 2e-3 * np.abs(want).max()
        top = np.abs(x).max(axis=0)
        assert np.allclose(tensor(made.reader, name + ".max_abs"), top, rtol=1e-2, atol=1e-3 * top.max())


def turn(x, block):
    """Rows of x times blocks of the orthonormal Hadamard matrix (Sylvester's)."""
    if block < 2:
        return x
    m = np.ones((1, 1))
    while len(m) < block:
        m = np.block([[m, m], [m, -m]])
    return (x.reshape(len(x), -1, block) @ (m / np.sqrt(block))).reshape(x.shape)


def follow(w, h, got, scales, group, damp=0.01):
    """The paper's algorithm with our integers put in as it goes, for one that rounds apart changes all after it.
    Returns how far, in steps, the weights that the paper would round lie from those integers, and from the scales that
    it would choose. w is changed."""
    k = len(h)
    h = h + np.eye(k) * damp * np.mean(np.diag(h))
    upper = np.linalg.cholesky(np.linalg.inv(h)).T
    off, off_scale = 0.0, 0.0
    for j in range(k):
        s = scales[:, j // group]
        if j % group == 0:
            want = np.abs(w[:, j : j + group]).max(axis=1) / 127
            off_scale = max(off_scale, np.abs(s - want)[want > 1e-4].max(initial=0) / want.max())
        steps = np.divide(w[:, j], s, where=s > 0, out=np.zeros(len(w)))
        off = max(off, np.abs(np.clip(steps, -127, 127) - got[:, j]).max())
        w[:, j:] -= np.outer((w[:, j] - got[:, j] * s) / upper[j, j], upper[j, j:])
    return off, off_scale


def specs(reader):
    def of(key):
        return reader.fields["octet.linear." + key].contents()

    return {n: dict(zip(("group", "block_in", "block_out"), v)) for n, *v in zip(
        of("names"), of("group"), of("block_in"), of("block_out"))}  # fmt: skip


def site_read_by(name, names):
    """Where the observations keep what a matrix multiplies; an embedding that is no head is only copied."""
    head = "output" if "output" in names else "token_embd"
    parts = name.split(".")
    if name == head:
        return "output"
    return f"blk.{parts[1]}.{READS[parts[-1]]}" if parts[-1] in READS else None


def test_integers_are_those_of_the_paper(made):
    source, out = oracle.File(str(made.path)), gguf.GGUFReader(made.out)
    checked = 0
    for name, spec in specs(out).items():
        site = site_read_by(name, specs(out))
        if not site:
            continue
        checked += 1
        w = source.tensor(name + ".weight")
        n, k = w.shape
        w = turn(turn(w.T, spec["block_out"]).T, spec["block_in"])
        h = gram(made.reader, site) / made.tokens
        h = turn(turn(h, spec["block_in"]).T, spec["block_in"])
        pad = -k % spec["group"]
        w, h = np.pad(w, ((0, 0), (0, pad))), np.pad(h, ((0, pad), (0, pad)))
        got = tensor(out, name + ".octet_q").astype(int).reshape(n, k + pad)
        got_scales = tensor(out, name + ".octet_scale").astype(float).reshape(n, -1)
        off, off_scale = follow(w.copy(), h, got, got_scales, spec["group"])
        assert off < 0.52 and off_scale < 2e-3, (name, off, off_scale)
        plain_scales = np.abs(w.reshape(n, -1, spec["group"])).max(axis=2) / 127
        plain_scales = np.repeat(plain_scales, spec["group"], axis=1)
        errors = [
            w - got * np.repeat(got_scales, spec["group"], axis=1),
            w - np.rint(w / np.where(plain_scales > 0, plain_scales, 1)) * plain_scales,
        ]
        loss, plain = (np.einsum("nk,kj,nj->", e, h, e) for e in errors)
        assert loss < plain, f"{name}: {loss} is not below {plain}"
    assert checked == 7 * len({n.split(".")[1] for n in specs(out) if n.startswith("blk.")}) + 1


@pytest.mark.parametrize(
    "text, says",
    [(b"", "empty"), (b"a few words", "less than one sequence"), (b"abc \xff def" * 900, "byte 4 is not UTF-8")],
)
def test_bad_texts(made, tmp_path, text, says):
    (tmp_path / "text").write_bytes(text)
    out = tmp_path / "out.gguf"
    said = octet.fails("octet", "quantize", made.path, out, "--calibrate", tmp_path / "text", "--observations", tmp_path / "seen")
    assert says in said and str(tmp_path / "text") in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["text"], "nothing is left behind"


def test_a_full_disk_leaves_no_observations(made, tmp_path):
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    out, seen = tmp_path / "out.gguf", tmp_path / "seen"
    args = [octet.program("octet"), "quantize", made.path, out, "--calibrate", made.text, "--observations", seen]
    done = subprocess.run([*map(str, args), "--calibrate-tokens", "1024"], capture_output=True, preexec_fn=small_files)
    assert done.returncode == 1 and str(seen) in done.stderr.decode()
    assert not list(tmp_path.iterdir()), "the unfinished file is taken away"


def test_observations_serve_another_scheme(made, tmp_path):
    """No second pass; the file says by which text it was made."""
    again, other = tmp_path / "again.gguf", tmp_path / "other.gguf"
    octet.run("octet", "quantize", made.path, again, "--observations", made.seen)
    assert again.read_bytes() == made.out.read_bytes()
    octet.run("octet", "quantize", made.path, other, "--observations", made.seen, "--scheme", "int8-g32", "--threads", 3)
    fields = gguf.GGUFReader(other).fields
    assert fields["octet.calibration.tokens"].contents() == made.tokens
    assert fields["octet.calibration.drawn"].contents() is False
    assert "is there already" in octet.fails("octet", "quantize", made.path, other, "--observations", made.seen, "--calibrate", made.text)


def test_observations_of_another_model(made, tmp_path):
    other = tmp_path / "other.gguf"
    make_tiny.make("type-f16", str(other))
    assert "another file" in octet.fails("octet", "quantize", other, tmp_path / "out.gguf", "--observations", made.seen)
    assert "not a file of observations" in octet.fails("octet", "quantize", made.path, tmp_path / "out.gguf", "--observations", made.path)
    assert not (tmp_path / "out.gguf").exists()


def test_drawn_text_hangs_on_the_seed_alone(made, tmp_path):
    def draw(name, *flags):
        octet.run(
            "octet", "quantize", made.path, tmp_path / "out.gguf", "--compensate", "--calibrate-tokens", 2048,
            "--observations", tmp_path / name, *flags,
        )  # fmt: skip
        fields = gguf.GGUFReader(tmp_path / name).fields
        assert fields["octet.calibration.drawn"].contents() is True
        return fields["octet.calibration.sha256"].contents()

    assert draw("a", "--seed", 3, "--threads", 1) == draw("b", "--seed", 3, "--threads", 2) != draw("c", "--seed", 4)


@pytest.mark.parametrize("scheme", ["q8_0", "fast", "int4", "int4-affine-f32", "int8-tensor"])
def test_every_scheme_can_be_compensated(tmp_path, scheme):
    made = Made("llama-untied-linear", tmp_path, scheme)
    octet.run("octet", "generate", "--model", made.out, "--prompt", "the", "--max-tokens", 3)
