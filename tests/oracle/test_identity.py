"""|x - x'| <= s/2 for every scheme, from `octet quantize` to the file's integers as numpy reads them: over random, constant,
tiny, denormal, huge and all-zero groups, groups with an outlier, and rows far from 0. Needs OCTET_BIN_DIR."""

import gguf
import make_tiny
import numpy as np
import octet
import pytest
from stored import CHANNEL, Stored, turn
from test_schemes import SCHEMES

KINDS = {
    "attn_q": lambda rng, shape: rng.standard_normal(shape),
    "attn_k": lambda rng, shape: np.full(shape, 0.25),
    "attn_v": lambda rng, shape: rng.standard_normal(shape) * 1e-9,  # scales below the smallest f16
    "attn_output": lambda rng, shape: rng.standard_normal(shape) * 1e-41,  # denormal
    "ffn_gate": lambda rng, shape: rng.standard_normal(shape) * 1e30,  # scales above 65,504: f32
    "ffn_up": lambda rng, shape: np.zeros(shape),
    "ffn_down": lambda rng, shape: rng.standard_normal(shape) * np.where(rng.random(shape) < 1e-2, 1e3, 1),
    "token_embd": lambda rng, shape: 3 + 0.1 * rng.standard_normal(shape),
    "output": lambda rng, shape: np.exp(3 * rng.standard_normal((shape[0], 1))) * rng.standard_normal(shape),
}


@pytest.fixture(scope="module", params=["llama-untied-linear", "head100"])
def source(request, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("identity") / "in.gguf")
    make_tiny.make(request.param, path)
    rng = np.random.default_rng(3)
    for t in gguf.GGUFReader(path, "r+").tensors:
        kind = KINDS.get(t.name.split(".")[-2])
        if kind and len(t.shape) == 2:
            t.data[:] = kind(rng, t.data.shape).astype(np.float32)
            t.data.flush()
    return path


def check(name, x, q, zero, scale, spec):
    """All [n][groups][group]: x as it was rounded, after rotation; scale and zero point a group."""
    top = 7 if spec["bits"] == 4 else 127
    all_levels = spec["zero"] or spec["bits"] == 4
    assert q.min() >= (-top - 1 if all_levels else -top) and q.max() <= top, name
    most, step = np.abs(x).max(axis=-1, keepdims=True), np.abs(scale)
    kept = scale.astype(np.float32 if spec["scale_f32"] else np.float16)
    rounding = np.abs(np.spacing(kept)).astype(np.float64) * (2 * top + 1)  # a last bit of the scale, at the last level
    noise = 1e-6 * np.abs(x).max(axis=(1, 2), keepdims=True) + 2e-44  # of a rotation in f32; of denormals
    none = np.broadcast_to(scale == 0, q.shape)
    assert (q == np.broadcast_to(zero, q.shape))[none].all() and (most <= rounding + noise)[scale == 0].all(), name
    ends = scale * ((-top - 1 if all_levels else -top) - zero), scale * (top - zero)
    inside = np.clip(x, np.minimum(*ends), np.maximum(*ends))
    assert (np.abs(inside - scale * (q - zero)) <= step / 2 + noise)[~none].all(), name
    # A zero point is rounded, which moves the ends by half a step; symmetric 4 bits hold an 8 to 7.
    beyond = rounding + step * (0.5 if spec["zero"] else 1 if spec["bits"] == 4 else 0)
    if spec["block_in"]:  # ranges are searched: the smallest that are tried
        beyond = beyond + most * (19 / 32 if spec["bits"] == 4 else 15 / 480)
    assert (np.abs(x - inside) <= beyond + noise)[~none].all(), name


@pytest.mark.parametrize("scheme", SCHEMES)
def test_half_a_step(source, scheme, tmp_path):
    out = str(tmp_path / "out.gguf")
    octet.run("octet", "quantize", source, out, "--scheme", scheme)
    file, floats = Stored(out), {t.name: t for t in gguf.GGUFReader(source).tensors}
    for name, spec in file.specs.items():
        w = np.asarray(floats[f"{name}.weight"].data).astype(np.float64)
        x = turn(turn(w, spec["block_out"], axis=0), spec["block_in"])
        if spec["act_static"] == CHANNEL:  # steps of the input are folded in
            step = file.steps(name)[0]
            x = x * step / step.max()
        scale = file.rows(f"{name}.octet_scale").astype(np.float64)[..., None]
        zero = file.rows(f"{name}.octet_zero").astype(int)[..., None] if spec["zero"] else np.zeros(scale.shape, int)
        q = file.rows(f"{name}.octet_q")
        if spec["bits"] == 4:
            q = np.stack([q.astype(np.uint8) & 15, q.astype(np.uint8) >> 4], axis=-1).reshape(len(q), -1).astype(int) - 8
        q = q.astype(int).reshape(len(w), -1, spec["group"])
        x = np.pad(x, ((0, 0), (0, q.shape[1] * q.shape[2] - w.shape[1]))).reshape(q.shape)
        check((scheme, name), x, q, zero, scale, spec)
        assert spec["scale_f32"] or np.abs(scale).max() <= 65504
    assert file.specs["blk.0.ffn_gate"]["scale_f32"], "above 65,504 f32 scales are taken"


def test_q8_0_has_no_such_scales(source, tmp_path):
    said = octet.fails("octet", "quantize", source, tmp_path / "out.gguf", "--scheme", "q8_0")
    assert "ffn_gate.weight" in said or "rows of 200" in said
