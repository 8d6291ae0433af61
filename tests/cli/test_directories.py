"""Hugging Face directories on the command line. What they give is held against GGUF files in tests/oracle/test_hf.py."""

import json
import pathlib
import sys

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

from conftest import octet, refused

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import compress_hf  # noqa: E402
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


@pytest.fixture
def compressed(made):
    compress_hf.compress(made)
    return made


def test_compressed_is_kept(compressed, tmp_path):
    """By `quantize` too, unless another scheme is asked for, which is warned of."""
    out, again = tmp_path / "out.gguf", tmp_path / "again.gguf"
    for flags, scheme, said in ([], "int8-h0-row-f32+head:f32", b""), (["--scheme", "int8"], "int8-h64-g64", b"warning"):
        done = octet("quantize", compressed, out, *flags, "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["scheme"] == scheme
        assert said in done.stderr and bool(said) == bool(done.stderr)
    assert octet("quantize", compressed, out).returncode == 0
    done = octet("quantize", out, again, "--scheme", "int8-h0-row-f32+head:f32")
    assert b"it was copied" in done.stderr
    first, second = ({t.name: t.data.tobytes() for t in gguf.GGUFReader(path).tensors} for path in (out, again))
    assert first == second
    text = tmp_path / "text"
    text.write_text(make_tiny.TEXT * 3)
    for model in (compressed, again):
        assert octet("generate", "--model", model, "--prompt", "the cat", "--max-tokens", 2).returncode == 0
    evaluation = octet("eval", "--model", compressed, "--text", text, "--ctx", 64, "--reference", compressed, "--json")
    assert json.loads(evaluation.stdout)["reference"]["kld_mean"] < 0.1


@pytest.mark.parametrize(
    "where, value, words",
    [
        (["quant_method"], "gptq", "quant_method is gptq, which is not read; compressed-tensors is"),
        (["format"], "pack-quantized", "format is pack-quantized, which is not read; int-quantized or"),
        (["format"], "float-quantized", "float-quantized"),
        (["quantization_status"], "frozen", "quantization_status is frozen"),
        (["kv_cache_scheme"], {"num_bits": 8}, "kv_cache_scheme"),
        (["transform_config"], {"config_groups": {}}, "transform_config"),
        (["sparsity_config"], {"format": "sparse-24-bitmask"}, "sparse-24-bitmask"),
        (["config_groups"], {}, "config_groups has 0 groups"),
        (["config_groups", "group_1"], {}, "config_groups has 2 groups"),
        (["config_groups", "group_0"], 5, "weights.num_bits is none"),
        (["config_groups", "group_0", "weights", "num_bits"], 4, "weights.num_bits is 4, which is not read; 8 is"),
        (["config_groups", "group_0", "weights", "type"], "float", "weights.type is float"),
        (["config_groups", "group_0", "weights", "strategy"], "tensor", "channel or group"),
        (["config_groups", "group_0", "weights", "strategy"], "group", "weights.group_size is none"),
        (["config_groups", "group_0", "weights", "actorder"], "group", "weights.actorder is group"),
        (["config_groups", "group_0", "weights", "symmetric"], "no", "weights.symmetric is no"),
        (["config_groups", "group_0", "input_activations"], None, "input_activations.num_bits is none"),
        (["config_groups", "group_0", "input_activations", "dynamic"], False, "input_activations.dynamic is false"),
        (["config_groups", "group_0", "input_activations", "strategy"], "tensor", "token is"),
        (["config_groups", "group_0", "output_activations"], {"num_bits": 8}, "output_activations"),
    ],
)
def test_what_is_not_read_is_named(compressed, where, value, words):
    config = json.loads((compressed / "config.json").read_text())
    at = config["quantization_config"]
    for name in where[:-1]:
        at = at[name]
    at[where[-1]] = value
    (compressed / "config.json").write_text(json.dumps(config))
    said = refused(1, "info", compressed)
    assert "config.json: quantization_config: " in said and words in said


def test_no_integers(made, compressed, tmp_path):
    config = (compressed / "config.json").read_bytes()
    floats = make_hf.make(tmp_path / "tiny.gguf", tmp_path / "floats")
    (floats / "config.json").write_bytes(config)
    assert "no tensor of" in refused(1, "info", floats)


@pytest.mark.parametrize(
    "name, change, words",
    [
        ("weight_scale", None, "blk.1.attn_v.octet_scale is missing"),
        ("weight_scale", lambda x: x[:-1], "blk.1.attn_v.octet_scale is 1 x"),
        ("weight_scale", lambda x: x * np.float32("nan"), "blk.1.attn_v"),
        ("weight", lambda x: x.astype(np.float32), "attn_v.octet_scale is not known"),
        ("weight_zero_point", lambda _: np.ones((128, 1), np.int8), "zero point other than 0"),
        ("weight_g_idx", lambda _: np.zeros((128,), np.float32), "weight_g_idx"),
    ],
)
def test_half_a_matrix(made, name, change, words):
    compress_hf.compress(made, scale_dtype="F32")
    tensors = compress_hf.load(made / "model.safetensors")
    name = f"model.layers.1.self_attn.v_proj.{name}"
    was = tensors.pop(name, None)
    if change:
        tensors[name] = change(was)
    save_file(tensors, made / "model.safetensors")
    assert words in refused(1, "generate", "--model", made, "--prompt", "x")


def test_zero_points_of_zero_are_let_be(made):
    compress_hf.compress(made, scale_dtype="F32")
    want = octet("generate", "--model", made, "--prompt", "the", "--temperature", 0, "--max-tokens", 8).stdout
    tensors = compress_hf.load(made / "model.safetensors")
    for name in [n for n in tensors if n.endswith("_proj.weight")]:
        tensors[f"{name}_zero_point"] = np.zeros((len(tensors[name]), 1), np.int8)
    save_file(tensors, made / "model.safetensors")
    assert octet("generate", "--model", made, "--prompt", "the", "--temperature", 0, "--max-tokens", 8).stdout == want


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
