"""Every scheme from `octet quantize` to logits, against numpy's reading of the file. Needs OCTET_BIN_DIR."""

import json

import make_tiny
import numpy as np
import octet
import oracle
import pytest
from octet import Engine
from stored import Simulated, Stored
from test_engine import FP32_CLOSE, check_same_bytes, noise

# Head sizes of a power of two and not, widths that groups divide and not, a head of its own and a tied one.
MODELS = ["llama-spm", "qwen2-untied", "head100", "head96"]

SCHEMES = [
    "int8",
    "fast",
    "int4",
    "int8-g32",
    "int8-g128",
    "int8-g256",
    "int8-h0",
    "int8-h32-f32",
    "int8-token",
    "int8-row-a64",
    "int8-row-a32-f32",
    "int8-g128-a32",
    "int8-tensor",
    "int8-affine",
    "int8-actaffine",
    "int8-affine-actaffine-token",
    "fast-affine-actaffine-f32",
    "int8-static",
    "fast-static-actaffine",
    "int8-h0-channel",
    "int8-channel-affine-actaffine",
    "int4-static-affine-actaffine+head:int8-channel",
    "int4-g64",
    "int4-g256-f32",
    "int4-affine",
    "int4-h0-affine-actaffine+head:int4",
    "int8-g128+head:int8-g32+embed:int4",
]


@pytest.fixture(scope="module", params=MODELS)
def made(request, tmp_path_factory):
    path = str(tmp_path_factory.mktemp(request.param) / "model.gguf")
    make_tiny.make(request.param, path)
    rng = np.random.Generator(np.random.PCG64(5))
    ids = rng.integers(0, make_tiny.SPECS[request.param].n_vocab, 90).tolist()
    return path, ids, oracle.Model(path).logits(ids)


def calibration(scheme, path):
    """Static activations hang on observations, kept beside the model."""
    if "static" not in scheme and "channel" not in scheme:
        return []
    observer = ["--observer", "minmax"] if "channel" in scheme else []
    return ["--observations", path + ".seen", "--calibrate-tokens", 512, *observer]


@pytest.fixture(params=SCHEMES)
def written(request, made, tmp_path):
    out = str(tmp_path / "out.gguf")
    flags = ["--scheme", request.param, *calibration(request.param, made[0])]
    report = json.loads(octet.run("octet", "quantize", made[0], out, *flags, "--json"))
    return out, report, request.param


def test_file_is_what_numpy_reads(made, written):
    """Weights: octet's float path over the file and numpy's of the same integers."""
    means = oracle.Model(written[0], Stored(written[0])).logits(made[1])
    assert np.abs(Engine(written[0], "fp32", "f32").logits([made[1]])[0] - means).max() < FP32_CLOSE
    assert noise(means, made[2]) < (0.9 if "int4" in written[2] else 0.08)


def test_integers_are_what_numpy_makes(made, written):
    """Activations too: only where a rounding falls the other way in float32 may they part: a step of one number."""
    simulated = oracle.Model(written[0], Simulated(written[0])).logits(made[1])
    assert noise(Engine(written[0], "int8", "f32").logits([made[1]])[0], simulated) < 0.012


def test_every_set_gives_the_same_bytes(made, written):
    lines = [made[1], made[1][3:20], made[1][:1]]
    check_same_bytes(written[0], "int8", lines, [(1, 2), (7, 1), (200, 2)])


def test_label_is_a_scheme(made, written, tmp_path):
    """What the report and the file call it makes the same file again."""
    again = str(tmp_path / "again.gguf")
    label = written[1]["scheme"]
    octet.run("octet", "quantize", made[0], again, "--scheme", label, *calibration(label, made[0]))
    with open(again, "rb") as a, open(written[0], "rb") as b:
        assert a.read() == b.read()
    assert json.loads(octet.run("octet", "info", written[0], "--json"))["scheme"] == label
