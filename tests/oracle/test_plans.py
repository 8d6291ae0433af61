"""Plans of mixed precision from `octet quantize` to logits, against numpy's reading of the file. Needs OCTET_BIN_DIR."""

import json
from unittest import mock

import make_tiny
import numpy as np
import octet
import oracle
import pytest
from octet import Engine
from stored import Simulated, Stored
from test_engine import FP32_CLOSE, check_same_bytes, noise

# 352 = 11 x 32: groups of 128 pad it, groups of 32 do not.
WIDE = {"wide352": make_tiny.Spec(d_model=352, d_ff=96, n_layer=1, n_head=2, n_kv=1, n_vocab=290)}
MODELS = ["llama-spm", "qwen2-untied", "head100", *WIDE]

PLANS = {
    "q-4bit": ("int8", {"blk.*.attn_q": "int4-g32"}),
    "v-float": ("int8-g32", {"*.attn_v": "f16", "blk.0.ffn_up": "f32", "*.ffn_down": "int4-g64-affine"}),
    "o-float": ("fast", {"*.attn_output": "f16", "*.attn_k": "int8-g64", "*.ffn_*": "f16", "blk.*.ffn_gate": "int8"}),
    "inputs": (
        "int8",
        {"*.attn_k": "int8-h0-g32-actaffine", "*.attn_v": "int8-g128", "*.attn_output": "int8-h32", "*.ffn_up": "int8-row-a64"},
    ),
    "no-turn": ("int4", {"*.attn_output": "int8-h0", "token_embd": "f16", "*.attn_q": "f16"}),
    "floats": ("f16", {"blk.0.ffn_up": "f32"}),
}


@pytest.fixture(scope="module", params=MODELS)
def made(request, tmp_path_factory):
    path = str(tmp_path_factory.mktemp(request.param) / "model.gguf")
    with mock.patch.dict(make_tiny.SPECS, WIDE):
        make_tiny.make(request.param, path)
        n_vocab = make_tiny.SPECS[request.param].n_vocab
    # 96 rows or more on two threads are divided by rows, fewer by columns.
    ids = np.random.Generator(np.random.PCG64(5)).integers(0, n_vocab, 100).tolist()
    return path, ids, oracle.Model(path).logits(ids)


@pytest.fixture(params=PLANS)
def written(request, made, tmp_path):
    default, modules = PLANS[request.param]
    plan, out = tmp_path / "plan.json", str(tmp_path / "out.gguf")
    plan.write_text(json.dumps({"version": 1, "default": default, "modules": modules}))
    octet.run("octet", "quantize", made[0], out, "--plan", plan)
    return out, str(plan), request.param


def test_file_is_what_numpy_reads(made, written):
    """Weights: octet's float path over the file and numpy's of the same numbers."""
    means = oracle.Model(written[0], Stored(written[0])).logits(made[1])
    assert np.abs(Engine(written[0], "fp32", "f32").logits([made[1]])[0] - means).max() < FP32_CLOSE
    most = {"floats": 3e-3, "q-4bit": 0.5, "v-float": 0.5, "no-turn": 0.9}.get(written[2], 0.08)
    assert noise(means, made[2]) < most


def test_modules_run_as_they_are_stored(made, written):
    """Inputs too: integers for modules of integers, floats for those of floats."""
    simulated = oracle.Model(written[0], Simulated(written[0])).logits(made[1])
    ours = Engine(written[0], "int8", "f32").logits([made[1]])[0]
    assert noise(ours, simulated) < (1e-5 if written[2] == "floats" else 0.012)


def test_every_set_gives_the_same_bytes(made, written):
    lines = [made[1], made[1][3:20], made[1][:1]]
    check_same_bytes(written[0], "int8", lines, [(1, 2), (7, 1), (200, 2)])


def test_converted_while_loading_it_is_the_file(made, written):
    """What a sweep measures of a plan is what the file of that plan gives."""
    lines = [made[1]]
    from_file = Engine(written[0], "int8", "int8").raw(lines)
    assert Engine(made[0], "int8", "int8").raw(lines, "--plan", written[1]) == from_file


def test_the_plan_that_info_shows_makes_the_same_file(made, written, tmp_path):
    again, plan = str(tmp_path / "again.gguf"), tmp_path / "again.json"
    shown = json.loads(octet.run("octet", "info", written[0], "--json"))["plan"]
    assert list(shown["modules"]) == list(PLANS[written[2]][1])
    plan.write_text(json.dumps(shown))
    octet.run("octet", "quantize", made[0], again, "--plan", plan)
    with open(again, "rb") as a, open(written[0], "rb") as b:
        assert a.read() == b.read()
