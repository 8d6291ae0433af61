"""Hugging Face directories on the command line. What they give is held against GGUF files in tests/oracle/test_hf.py."""

import json
import pathlib
import sys

import pytest

from conftest import octet, refused

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import make_hf  # noqa: E402
import make_tiny  # noqa: E402


@pytest.fixture
def made(tmp_path):
    make_tiny.make("qwen2-tied", str(tmp_path / "tiny.gguf"))
    return make_hf.make(tmp_path / "tiny.gguf", tmp_path / "tiny")


def edit(path, **more):
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def test_every_command_takes_a_directory(made, tmp_path):
    text = tmp_path / "text"
    text.write_text(make_tiny.TEXT * 3)
    out = tmp_path / "out.gguf"
    for args in (
        ["info", made],
        ["info", "--json", f"{made}/"],
        ["tokenize", "--model", made],
        ["generate", "--model", made, "--prompt", "the cat", "--max-tokens", 2],
        ["eval", "--model", made, "--text", text, "--ctx", 64],
        ["quantize", made, out],
        ["generate", "--model", out, "--prompt", "the cat", "--max-tokens", 2],
    ):
        done = octet(*args, stdin=b"the cat")
        assert done.returncode == 0, (args, done.stderr)
    assert json.loads(octet("info", "--json", f"{made}/").stdout)["name"] == "tiny"


def test_quantized_already(made, tmp_path):
    edit(made / "config.json", quantization_config={"quant_method": "compressed-tensors", "format": "int-quantized"})
    said = refused(1, "quantize", made, tmp_path / "out.gguf")
    assert "config.json: quantization_config" in said and "compressed-tensors" in said
    assert "quantization_config" in refused(1, "info", made)


def test_files_of_the_source_are_safe(made):
    for name in ("model.safetensors", "config.json"):
        before = (made / name).read_bytes()
        assert "directory that is read" in refused(2, "quantize", made, made / name)
        assert (made / name).read_bytes() == before
    for _ in range(2):  # a model made beside them may be made again
        assert octet("quantize", made, made / "int8.gguf").returncode == 0


def test_not_a_model(tmp_path):
    assert "holds no config.json" in refused(1, "info", tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "tokenizer.json" in refused(1, "generate", "--model", tmp_path, "--prompt", "x")


def test_weights_cut_short(made):
    weights = made / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "model.safetensors" in refused(1, "generate", "--model", made, "--prompt", "x")


def test_a_missing_tensor_is_named(made):
    edit(made / "config.json", num_hidden_layers=3)
    assert "blk.2." in refused(1, "generate", "--model", made, "--prompt", "x")


def test_nan_is_refused_with_the_tensor(made, tmp_path):
    source = make_hf.Source(tmp_path / "tiny.gguf")
    tensors = source.tensors()
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = float("nan")
    make_hf.save(tensors, made / "model.safetensors", lambda values: "F32")
    assert "blk.1.ffn_up.weight" in refused(1, "quantize", made, tmp_path / "out.gguf")
