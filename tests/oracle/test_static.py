"""Static activations against numpy: what was observed of every layer's input, and the steps that observers make of it."""

import json
import shutil
import subprocess

import gguf
import make_tiny
import numpy as np
import octet
import oracle
import pytest
from stored import CHANNEL, STATIC, Stored
from test_compensate import READS, Made, gram, inputs, tensor, turn

F = np.float32
VIEWS = ["plain", "turned"]


FIRST = "llama-untied-linear"
once = pytest.mark.parametrize("made", [FIRST], indirect=True, scope="module")


@pytest.fixture(scope="module", params=[FIRST, "head100"])
def made(request, tmp_path_factory):
    return Made(request.param, tmp_path_factory.mktemp("static"), "int8-static")


class View:
    """What the file of observations holds of one input."""

    def __init__(self, reader, name, view):
        self.counts = np.ascontiguousarray(tensor(reader, f"{name}.{view}_counts")).view("<u8").ravel()
        self.top, *ranges = tensor(reader, f"{name}.{view}_ranges")
        self.range, self.moving = ranges[:2], ranges[2:]
        self.channels = np.asarray(tensor(reader, f"{name}.{view}_channels")).reshape(4, -1)

    def middles(self):
        width = float(self.top) / 1024
        return (np.arange(2048) - 1023.5) * width


def moved(extremes):
    """torch's moving average with its constant of 0.01."""
    at = extremes[0].copy()
    for x in extremes[1:]:
        at += 0.01 * (x - at)
    return at


def test_observations_are_the_oracles(made):
    model, rows, ids = inputs(made)
    file = oracle.File(str(made.path))
    ctx = min(512, int(file.arch_get("context_length")))
    bos = file.get("tokenizer.ggml.bos_token_id")
    if file.get("tokenizer.ggml.add_bos_token", False):
        ids = np.concatenate([[bos], ids])
        ids[: made.tokens : ctx] = bos
    for first in range(0, made.tokens, ctx):
        model.run(list(ids[first : first + ctx]))
    blocks = made.reader.fields["octet.observations.blocks"].contents()
    sites = list(dict.fromkeys(READS.values()))
    for (layer, site), parts in rows.items():
        block = blocks[layer * 4 + sites.index(site)]
        for view, turns in zip(VIEWS, (0, block), strict=True):
            seen = View(made.reader, f"blk.{layer}.{site}", view)
            x = turn(np.concatenate(parts), turns)
            close = {"rtol": 1e-2, "atol": 1e-3 * np.abs(x).max()}
            assert seen.counts.sum() == x.size and np.log2(seen.top / np.abs(x).max()) >= -1e-3
            edges = (np.arange(2049) - 1024) * (float(seen.top) / 1024)
            apart = np.abs(np.histogram(x, edges)[0] - seen.counts.astype(int)).sum()
            assert apart < 0.02 * x.size, "counts of other bins"
            assert np.allclose(seen.range, [x.min(), x.max()], **close)
            batches = [turn(p, turns)[i : i + 256] for p in parts for i in range(0, len(p), 256)]
            low, high = [b.min(axis=0) for b in batches], [b.max(axis=0) for b in batches]
            assert np.allclose(seen.channels, [np.min(low, axis=0), np.max(high, axis=0), moved(low), moved(high)], **close)
            ends = [[np.array([b.min()]) for b in batches], [np.array([b.max()]) for b in batches]]
            assert np.allclose(seen.moving, [moved(e)[0] for e in ends], **close)


def quantize(made, out, scheme, *flags):
    octet.run("octet", "quantize", made.path, out, "--scheme", scheme, "--observations", made.seen, *flags)
    return Stored(str(out))


def sites_of(file):
    """(module, its input's name in the observations)"""
    for name in file.specs:
        parts = name.split(".")
        if parts[-1] in READS:
            yield name, f"blk.{parts[1]}.{READS[parts[-1]]}"
    yield ("output" if "output" in file.specs else "token_embd"), "output"


def qparams(low, high, affine):
    """design.md section 5, in float32."""
    low, high = np.minimum(F(low), F(0)), np.maximum(F(high), F(0))
    if not affine:
        return np.maximum(-low, high) / F(127), np.zeros_like(low)
    step = (high - low) / F(255)
    return step, np.clip(-128 - np.rint(low / step), -128, 127)


@pytest.mark.parametrize("view, words", [("turned", ""), ("plain", "-h0")])
@pytest.mark.parametrize("affine", [False, True])
def test_steps_of_ranges(made, tmp_path, view, words, affine):
    """Of the extremes and their moving average, exactly."""
    for word, kind in (("static", STATIC), ("channel", CHANNEL)):
        for observer in ("minmax", "moving"):
            scheme = f"int8{words}-{word}" + ("-actaffine" if affine else "")
            file = quantize(made, tmp_path / "out.gguf", scheme, "--observer", observer)
            for name, site in sites_of(file):
                seen, spec = View(made.reader, site, view), file.specs[name]
                assert spec["act_static"] == (STATIC if name == "token_embd" else kind) and spec["act_zero"] == affine
                step, zero = file.steps(name)
                at = 2 * (observer == "moving")
                ends = seen.channels[at : at + 2] if len(step) > 1 else np.array([seen.range, seen.moving][at // 2])[:, None]
                want, points = qparams(*ends, affine)
                assert np.array_equal(step.astype(F), np.where(want > 0, np.maximum(want, want.max() / F(256)), want.max())), name
                assert np.all(zero == points), name


@pytest.mark.parametrize("affine", [False, True])
def test_steps_of_histograms(made, tmp_path, affine):
    def error(seen, low, high):
        step, zero = qparams(low, high, affine)
        x, bottom = seen.middles(), -128 if affine else -127
        x = np.concatenate([x + (i / 8 - 0.4375) * 2 * x[1024] for i in range(8)])  # bins are evenly filled
        q = np.clip(np.rint(x / step) + zero, bottom, 127)
        return np.sum(np.tile(seen.counts, 8) * (x - step * (q - zero)) ** 2)

    scheme = "int8-static" + ("-actaffine" if affine else "")
    for observer, left in (("percentile:99", 0.01), ("percentile", 1e-4), ("l2", None), ("entropy", None)):
        file = quantize(made, tmp_path / "out.gguf", scheme, "--observer", observer)
        for name, site in sites_of(file):
            seen, (step, zero) = View(made.reader, site, "turned"), file.steps(name)
            low, high = step[0] * ((-128 if affine else -127) - zero[0]), step[0] * (127 - zero[0])
            if left:
                beyond = seen.counts[(seen.middles() > high) | (seen.middles() < low)].sum() / seen.counts.sum()
                assert beyond <= left + 2 * seen.counts.max() / seen.counts.sum(), (name, beyond)
                assert high < np.max(np.abs(seen.range)) or left < 0.01
            if observer == "l2":
                best = min(error(seen, seen.range[0] * a, seen.range[1] * a) for a in np.linspace(0.2, 1, 81))
                assert error(seen, low, high) <= 1.05 * best, name
            if observer != "entropy" or not affine:  # entropy's ranges are symmetric
                assert step[0] <= 1.001 * qparams(*seen.range, affine)[0], (name, observer)


def test_smoothed_inputs(made, tmp_path):
    """What norms were divided by, their inputs' steps are of."""
    for word in ("static", "channel"):
        file = quantize(made, tmp_path / "out.gguf", f"int8-h0-{word}", "--observer", "minmax", "--smooth", "0.7")
        source = oracle.File(str(made.path))
        for module, norm in (("attn_q", "attn_norm"), ("attn_v", "attn_norm"), ("ffn_up", "ffn_norm")):
            factors = source.tensor(f"blk.0.{norm}.weight") / file.tensor(f"blk.0.{norm}.weight")
            assert factors.std() > 0.05 * factors.mean(), "it smoothes"
            ends = np.abs(View(made.reader, "blk.0." + READS[module], "plain").channels[:2]).max(axis=0) / factors
            want = ends / 127 if word == "channel" else ends.max() / 127
            assert np.allclose(file.steps("blk.0." + module)[0], want, rtol=1e-5)


def test_channels_are_compensated(made, tmp_path):
    """Errors count as the inputs are, and not as the steps make them."""
    plain = quantize(made, tmp_path / "a.gguf", "int8-channel", "--observer", "minmax")
    better = quantize(made, tmp_path / "b.gguf", "int8-channel", "--observer", "minmax", "--compensate")
    source = oracle.File(str(made.path))
    for name, site in sites_of(plain):
        if site == "output":
            continue
        h = gram(made.reader, site)
        errors = [source.tensor(name + ".weight") - file.tensor(name + ".weight") for file in (plain, better)]
        turned = [turn(e.T, plain.specs[name]["block_out"]).T for e in errors]
        loss, less = (np.einsum("nk,kj,nj->", e, h, e) for e in turned)
        assert less < 0.95 * loss, (name, less, loss)


@once
def test_nothing_given_draws_a_text(made, tmp_path):
    out = tmp_path / "out.gguf"
    octet.run("octet", "quantize", made.path, out, "--activations", "static", "--calibrate-tokens", 512)
    fields = gguf.GGUFReader(out).fields
    assert fields["octet.calibration.drawn"].contents() is True
    assert fields["octet.calibration.observer"].contents() == "percentile:99.99"
    assert fields["octet.scheme"].contents() == "int8-h64-g64-static"
    info = json.loads(octet.run("octet", "info", out, "--json"))
    assert {t["spec"]["act"] for t in info["tensors"] if t["name"].endswith(".octet_q")} <= {"static", "dynamic"}
    assert next(t for t in info["tensors"] if t["name"] == "blk.0.attn_q.octet_q")["spec"]["act"] == "static"
    assert info["parameters"] == json.loads(octet.run("octet", "info", made.path, "--json"))["parameters"]


@once
def test_a_plan_mixes(made, tmp_path):
    plan, out = tmp_path / "plan.json", tmp_path / "out.gguf"
    modules = {"blk.0.ffn_down": "int8", "blk.1.attn_v": "int8", "blk.1.ffn_up": "f16", "blk.1.attn_output": "int8-channel"}
    plan.write_text(json.dumps({"version": 1, "default": "int8-static", "modules": modules}))
    octet.run("octet", "quantize", made.path, out, "--plan", plan, "--observations", made.seen, "--observer", "minmax")
    kinds = {name: spec["act_static"] for name, spec in Stored(str(out)).specs.items()}
    for dynamic in ("blk.0.ffn_down", "blk.1.attn_q", "blk.1.attn_k", "blk.1.attn_v"):
        assert kinds.pop(dynamic) == 0, "all that read one input agree"
    assert kinds.pop("blk.1.attn_output") == CHANNEL
    assert set(kinds[n] for n in kinds if n != "token_embd" or "output" not in kinds) == {STATIC}


@once
@pytest.mark.parametrize(
    "flags, says",
    [
        (["--observer", "mean"], '"mean" is not known'),
        (["--observer", "percentile:50"], "percentile:50"),
        (["--observer", "percentile:nan"], "percentile:nan"),
        (["--observer", "l2:3"], '"l2:3" is not known'),
        (["--scheme", "int8-h32-static"], "Hadamard blocks of 32 were not observed"),
        (["--scheme", "int8-static", "--smooth", "0.5", "--observer", "minmax"], "write the smoothed model first"),
        (["--scheme", "int8-h0-static", "--smooth", "0.5", "--observer", "l2"], "write the smoothed model first"),
        (["--scheme", "int8-channel", "--clip"], "--clip does not go with a step a channel"),
        (["--max-bytes", "1M", "--choices", "int8,int8-static"], '"int8-static" is none'),
    ],
)
def test_no_such_steps(made, tmp_path, flags, says):
    assert says in octet.fails("octet", "quantize", made.path, tmp_path / "out.gguf", "--observations", made.seen, *flags)
    assert not (tmp_path / "out.gguf").exists()


@once
def test_observations_of_before(made, tmp_path):
    old = tmp_path / "old.gguf"
    shutil.copy(made.seen, old)
    reader = gguf.GGUFReader(old, "r+")
    reader.fields["octet.observations.version"].parts[-1][0] = 1
    del reader
    assert "observations of version 1" in octet.fails("octet", "quantize", made.path, tmp_path / "out.gguf", "--observations", old)


@once
@pytest.mark.parametrize("tensor_name, at, value", [("counts", 7, 0x7F), ("ranges", 0, -1.0), ("channels", 3, np.nan)])
def test_broken_observations(made, tmp_path, tensor_name, at, value):
    seen = tmp_path / "seen.gguf"
    shutil.copy(made.seen, seen)
    reader = gguf.GGUFReader(seen, "r+")
    tensor(reader, f"blk.1.ffn_down.turned_{tensor_name}").reshape(-1)[at] = value
    del reader
    assert f"blk.1.ffn_down.turned_{tensor_name}" in octet.fails("octet", "quantize", made.path, tmp_path / "o.gguf", "--observations", seen)


@once
@pytest.mark.parametrize("row, value", [(0, 0.0), (0, -1.0), (0, np.nan), (0, np.inf), (0, 1e-38), (1, 0.5), (1, 300.0), (1, np.nan)])
def test_broken_steps(made, tmp_path, row, value):
    out = tmp_path / "out.gguf"
    quantize(made, out, "int8-static-actaffine")
    reader = gguf.GGUFReader(out, "r+")
    tensor(reader, "blk.1.ffn_down.octet_act")[row] = value
    del reader
    assert "blk.1.ffn_down.octet_act" in unloadable(out)


@once
def test_steps_that_differ(made, tmp_path):
    out = tmp_path / "out.gguf"
    quantize(made, out, "int8-static")
    reader = gguf.GGUFReader(out, "r+")
    tensor(reader, "blk.1.attn_k.octet_act")[0] *= 2
    del reader
    assert "blk.1.attn_k.weight has other steps" in unloadable(out)


def unloadable(path):
    args = [octet.program("octet"), "generate", "--model", str(path), "--prompt", "a", "--max-tokens", "1"]
    done = subprocess.run(args, capture_output=True)
    assert done.returncode == 1 and not done.stdout
    return done.stderr.decode()


@once
def test_a_static_file_is_a_source(made, tmp_path):
    """Its weights are what they were: folded steps come out again."""
    quantize(made, tmp_path / "a.gguf", "int8-channel-f32", "--observer", "minmax")
    octet.run("octet", "quantize", tmp_path / "a.gguf", tmp_path / "b.gguf", "--scheme", "int8-f32")
    first, again = Stored(str(tmp_path / "a.gguf")), Stored(str(tmp_path / "b.gguf"))
    for name in first.specs:
        want, got = first.tensor(name + ".weight"), again.tensor(name + ".weight")
        assert np.abs(want - got).max() < 0.02 * np.abs(want).max(), name
