"""octet quantize and info."""
import json
import os
import resource
import signal
import subprocess
import time

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as T

from conftest import BIN, octet, refused
from test_models import variant


@pytest.fixture(scope="module")
def q8_0(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("q8_0") / "q8_0.gguf"
    done = octet("quantize", source, out, "--scheme", "q8_0", "--json")
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_report(source, q8_0):
    out, report = q8_0
    assert report["in"] == str(source) and report["out"] == str(out) and report["scheme"] == "q8_0"
    assert report["bytes_in"] == source.stat().st_size and report["bytes_out"] == out.stat().st_size
    assert report["ratio"] == pytest.approx(report["bytes_out"] / report["bytes_in"])
    reader = gguf.GGUFReader(out)
    matrices = [t for t in reader.tensors if t.tensor_type == T.Q8_0]
    assert report["tensors"] == len(reader.tensors)
    assert report["quantized"] == len(matrices)
    assert report["weights"] == sum(t.n_elements for t in matrices)
    assert 30 < report["snr_db"] < 120 and report["worst"]["snr_db"] <= report["snr_db"]
    assert report["worst"]["tensor"] in [t.name for t in matrices]
    assert isinstance(report["note"], str) and report["seconds"] > 0


def test_human_report_names_the_same_things(source, tmp_path):
    said = octet("quantize", source, tmp_path / "o.gguf").stdout.decode()
    for word in ["o.gguf", "tensors", "MB", "dB", "worst", "prepare", "observe", "convert"]:
        assert word in said


@pytest.mark.parametrize("alpha", ["2", "-0.1", "nan", "0.5x", "Auto"])
def test_alpha_is_auto_or_a_share(alpha, tmp_path):
    said = refused(2, "quantize", "in.gguf", tmp_path / "o.gguf", "--smooth", alpha)
    assert "--smooth" in said and "auto" in said and "0 to 1" in said


def test_q8_0_is_what_other_readers_expect(source, q8_0):
    """Matrices in Q8_0, the rest in F32, names and metadata kept, values within half a step."""
    before = {t.name: t for t in gguf.GGUFReader(source).tensors}
    reader = gguf.GGUFReader(q8_0[0])
    after = {t.name: t for t in reader.tensors}
    assert before.keys() == after.keys()
    assert reader.fields["general.file_type"].contents() == gguf.LlamaFileType.MOSTLY_Q8_0
    for name, tensor in after.items():
        want = gguf.dequantize(before[name].data, before[name].tensor_type)
        got = gguf.dequantize(tensor.data, tensor.tensor_type)
        assert tensor.tensor_type == (T.Q8_0 if len(tensor.shape) == 2 else T.F32), name
        if tensor.tensor_type == T.F32:
            assert np.array_equal(want, got), name
        else:
            error = np.abs(want - got).reshape(-1, 32)
            step = np.abs(want).reshape(-1, 32).max(axis=1, keepdims=True) / 127
            assert (error <= step * 0.57 + 1e-12).all(), name  # half a step, and f16's rounding of 127 steps


def test_flags_make_a_scheme(source, tmp_path):
    out = tmp_path / "o.gguf"
    flags = ["--group", "128", "--hadamard", "32", "--scales", "f32", "--activations", "token", "--affine", "--head", "int8"]
    report = json.loads(octet("quantize", source, out, *flags, "--json").stdout)
    assert report["scheme"] == "int8-h32-g128-token-f32-affine+head:int8-h64-g64"
    assert "rows of 576: groups of 96 for 128" in report["note"]
    info = json.loads(octet("info", out, "--json").stdout)
    assert info["scheme"] == report["scheme"]
    specs = {t["name"]: t["spec"] for t in info["tensors"] if t["name"].endswith(".octet_q")}
    wanted = {"bits": 8, "group": 96, "hadamard": 32, "act_group": 576, "act": "dynamic", "scale_f32": True, "zero": True, "act_zero": False}
    assert specs["blk.3.attn_q.octet_q"] == wanted
    assert specs["blk.3.ffn_down.octet_q"] == {**wanted, "group": 128, "act_group": 1536}
    assert specs["token_embd.octet_q"]["group"] == 64 and not specs["token_embd.octet_q"]["zero"]


def test_int4_halves_the_matrices(source, int8, tmp_path):
    out = tmp_path / "o.gguf"
    assert octet("quantize", source, out, "--scheme", "int4").returncode == 0
    info, eight = (json.loads(octet("info", f, "--json").stdout) for f in (out, int8))
    assert info["parameters"] == eight["parameters"] and info["bits_per_weight"] < 5.5
    said = octet("generate", "--model", out, "--prompt", "The capital of France is", "--max-tokens", "2", "--temperature", "0")
    assert b"Paris" in said.stdout


@pytest.mark.parametrize(
    "flags, word",
    [
        (["--scheme", "int5"], "int5"),
        (["--group", "48"], "g48"),
        (["--group", "Row"], "Row"),
        (["--activations", "16"], "a16"),
        (["--scheme", "int8-h128"], "h128"),
        (["--scheme", "int4", "--group", "row"], "whole rows"),
        (["--scheme", "int8+tail:int8"], "+tail:int8"),
        (["--head", "int9"], "int9"),
    ],
)
def test_no_such_scheme(source, tmp_path, flags, word):
    assert word in refused(2, "quantize", source, tmp_path / "o.gguf", *flags)


@pytest.mark.parametrize(
    "base, scheme, said",
    [
        ("type-q4_1", None, "(Q4_1): what its numbers mean is quantized again"),
        ("type-q8_0", "int8", "(Q8_0): what its numbers mean is quantized again"),
        ("type-q8_0", "q8_0", "(Q8_0), as it is wanted: it was copied"),
        ("type-bf16", None, ""),
        ("type-f16", "int4", ""),
    ],
)
def test_quantizing_twice_is_warned_of(tmp_path, base, scheme, said):
    """And allowed: from what the numbers mean."""
    flags = ["--scheme", scheme] if scheme else []
    once, twice, again = (tmp_path / name for name in ("once.gguf", "twice.gguf", "again.gguf"))
    done = octet("quantize", variant(tmp_path / "in.gguf", base=base), once, *flags)
    err = done.stderr.decode()
    assert done.returncode == 0 and err.count("\n") == bool(said) and said in err
    assert not said or "warning" in err and "in.gguf: the source is quantized already" in err
    done = octet("quantize", once, twice, "--scheme", "int8-g32")
    assert done.returncode == 0 and b"warning" in done.stderr and b"quantized again" in done.stderr
    done = octet("quantize", once, again, *flags)
    assert done.returncode == 0 and b"it was copied" in done.stderr and again.read_bytes() == once.read_bytes()


def test_metadata_survives(source, q8_0):
    before, after = gguf.GGUFReader(source).fields, gguf.GGUFReader(q8_0[0]).fields
    for name in before:
        if not name.startswith("GGUF.") and name not in ("general.file_type", "general.quantization_version"):
            assert after[name].contents() == before[name].contents(), name


def test_int8_is_not_mistaken_for_a_standard_file(int8):
    """Rotated weights carry names and types that other engines stop at."""
    reader = gguf.GGUFReader(int8)
    names = [t.name for t in reader.tensors]
    assert not any(n.endswith("ffn_up.weight") or n.endswith("attn_q.weight") for n in names)
    assert any(t.tensor_type == T.I8 for t in reader.tensors)
    assert any(f.startswith("octet.") for f in reader.fields)


def test_info(source, int8):
    for path in (source, int8):
        done = octet("info", "--json", path)
        assert done.returncode == 0 and isinstance(json.loads(done.stdout), dict)
        human = octet("info", path)
        assert human.returncode == 0 and b"llama" in human.stdout


def test_out_is_in(source, tmp_path):
    copy = tmp_path / "m.gguf"
    os.symlink(source, copy)
    (tmp_path / "sub").mkdir()
    for out in (copy, tmp_path / "sub" / ".." / "m.gguf", source):
        assert "same file" in refused(2, "quantize", copy, out)


def test_out_is_a_directory(source, tmp_path):
    assert "directory" in refused(2, "quantize", source, tmp_path)


def test_out_in_no_directory(source, tmp_path):
    assert "nowhere" in refused(1, "quantize", source, tmp_path / "nowhere" / "out.gguf")


def test_an_old_out_is_replaced(source, tmp_path):
    out = tmp_path / "out.gguf"
    out.write_bytes(b"old")
    assert octet("quantize", source, out).returncode == 0
    assert out.read_bytes()[:4] == b"GGUF"
    assert [p.name for p in tmp_path.iterdir()] == ["out.gguf"]


def test_killed_in_the_middle_leaves_the_old_file(source, tmp_path):
    out = tmp_path / "out.gguf"
    out.write_bytes(b"old")
    running = subprocess.Popen([BIN / "octet", "quantize", source, out], stdout=subprocess.DEVNULL)
    while len(list(tmp_path.iterdir())) == 1 and running.poll() is None:
        time.sleep(0.001)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL, "it ended before it could be killed"
    assert out.read_bytes() == b"old"


def test_a_full_disk_leaves_the_old_file(source, tmp_path):
    out = tmp_path / "out.gguf"
    out.write_bytes(b"old")

    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, 10_000_000))

    assert "out.gguf" in refused(1, "quantize", source, out, preexec_fn=small_files)
    assert out.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.gguf"], "the unfinished file is taken away"
