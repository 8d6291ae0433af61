"""octet quantize --plan: what is refused, what info shows, and that the server runs it."""
import json
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request

import gguf
import pytest
from gguf import GGMLQuantizationType as T

from conftest import BIN, octet, refused

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import make_tiny  # noqa: E402

MIXED = {"blk.*.ffn_down": "f16", "blk.1.attn_q": "int4-g32", "blk.0.ffn_up": "f32", "*.attn_v": "f16"}


@pytest.fixture(scope="module", params=["qwen2-untied", "llama3-freqs"])
def tiny(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "tiny.gguf"
    make_tiny.make(request.param, str(path))
    return path


@pytest.fixture
def plan(tmp_path):
    def write(modules=None, **fields):
        path = tmp_path / "plan.json"
        path.write_text(json.dumps({"version": 1, **({"modules": modules} if modules else {}), **fields}))
        return path

    return write


@pytest.fixture
def mixed(tiny, plan, tmp_path):
    out = tmp_path / "mixed.gguf"
    done = octet("quantize", tiny, out, "--plan", plan(MIXED, default="int8-g128"), "--json")
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_modules_are_stored_as_planned(mixed):
    out, report = mixed
    reader = gguf.GGUFReader(out)
    types = {t.name: t.tensor_type for t in reader.tensors}
    for i in (0, 1):
        assert types[f"blk.{i}.ffn_down.weight"] == types[f"blk.{i}.attn_v.weight"] == T.F16
        assert types[f"blk.{i}.attn_k.octet_q"] == T.I8
    assert types["blk.0.ffn_up.weight"] == T.F32 and types["blk.1.ffn_up.octet_q"] == T.I8
    assert report["scheme"] == reader.get_field("octet.scheme").contents() == "mixed:int8-h64-g128"
    assert json.loads(reader.get_field("octet.plan").contents())["modules"]["blk.0.ffn_up"] == "f32"
    assert report["quantized"] == sum(name.endswith(".octet_q") for name in types)


def test_info_counts_what_is_stored(mixed):
    info = json.loads(octet("info", mixed[0], "--json").stdout)
    tensors = gguf.GGUFReader(mixed[0]).tensors
    halves = [t for t in tensors if t.tensor_type == T.F16 and t.name.endswith(".weight")]
    f16 = info["choices"]["f16"]
    assert (f16["modules"], f16["weights"]) == (len(halves), sum(int(t.n_elements) for t in halves))
    assert f16["bits_per_weight"] == 16 and f16["bytes"] == 2 * f16["weights"]
    four = info["choices"]["int4-h64-g32"]
    assert four["modules"] == 1 and four["bits_per_weight"] == 4.5
    matrices = [t for t in tensors if len(t.shape) == 2]
    assert sum(c["bytes"] for c in info["choices"].values()) == sum(int(t.n_bytes) for t in matrices)
    said = octet("info", mixed[0]).stdout.decode()
    assert "f16: 4 modules" in said and "int4-h64-g32: 1 module," in said and "mixed:int8-h64-g128" in said


def test_a_uniform_file_shows_a_plan_too(tiny, tmp_path):
    out = tmp_path / "o.gguf"
    octet("quantize", tiny, out, "--scheme", "int4")
    plan = json.loads(octet("info", out, "--json").stdout)["plan"]
    assert plan == {"version": 1, "default": "int4-h64-g32+head:int8-h64-g64", "modules": {}}
    assert json.loads(octet("info", tiny, "--json").stdout)["plan"] is None


def test_the_plan_shown_is_edited_and_given_back(tiny, mixed, tmp_path):
    shown = json.loads(octet("info", mixed[0], "--json").stdout)["plan"]
    shown["modules"]["blk.0.ffn_down"] = "int8-g32"
    edited, out = tmp_path / "edited.json", tmp_path / "again.gguf"
    edited.write_text(json.dumps(shown, indent=1))
    assert octet("quantize", tiny, out, "--plan", edited).returncode == 0
    names = [t.name for t in gguf.GGUFReader(out).tensors]
    assert "blk.0.ffn_down.octet_q" in names and "blk.1.ffn_down.weight" in names


@pytest.mark.parametrize(
    "modules, fields, words",
    [
        ({"blk.9.ffn_down": "f16"}, {}, ["blk.9.ffn_down", "0 to 1", ".ffn_down"]),
        ({"blk.0.ffn_dwon": "f16"}, {}, ["blk.0.ffn_dwon", ".ffn_down"]),
        ({"blk.0.ffn_down.weight": "f16"}, {}, ["blk.0.ffn_down.weight", ".ffn_down"]),
        ({"blk.0.ffn_norm": "f16"}, {}, ["blk.0.ffn_norm", "is no module"]),
        ({"blk.0.ffn_down": "int3"}, {}, ["blk.0.ffn_down", "int3", "f16"]),
        ({"blk.0.ffn_down": 8}, {}, ["blk.0.ffn_down", "a choice"]),
        ({}, {"default": "int7"}, ["int7"]),
        ({}, {"version": 2}, ["version must be 1"]),
        ({}, {"module": {}}, ['"module"', "modules"]),
    ],
)
def test_a_wrong_plan_is_named_with_what_would_be_right(tiny, plan, tmp_path, modules, fields, words):
    out = tmp_path / "o.gguf"
    said = refused(1, "quantize", tiny, out, "--plan", plan(modules, **fields), "--compensate")
    assert all(word in said for word in words), said
    assert not out.exists()


@pytest.mark.parametrize("text, word", [("", "empty"), ("{", "line 1"), ("[1]", "object"), ('{"version": 1, "modules": {"*": "f16", "*": "f32"}}', "duplicate")])
def test_what_is_no_plan(tiny, tmp_path, text, word):
    (tmp_path / "plan.json").write_text(text)
    said = refused(1, "quantize", tiny, tmp_path / "o.gguf", "--plan", tmp_path / "plan.json")
    assert "plan.json" in said and word in said
    assert "nowhere" in refused(1, "quantize", tiny, tmp_path / "o.gguf", "--plan", tmp_path / "nowhere")
    assert "directory" in refused(1, "quantize", tiny, tmp_path / "o.gguf", "--plan", tmp_path)


def test_a_head_that_is_the_embedding_is_said(tiny, plan, tmp_path):
    tied = not any(t.name == "output.weight" for t in gguf.GGUFReader(tiny).tensors)
    out = tmp_path / "o.gguf"
    done = octet("quantize", tiny, out, "--plan", plan({"output": "f16"}))
    assert done.returncode == tied
    if tied:
        assert b"token_embd (the head too)" in done.stderr
    report = json.loads(octet("quantize", tiny, out, "--embedding", "int4", "--json").stdout)
    assert ("the embedding is the head" in report["note"]) == tied


def test_the_scheme_is_said_once(tiny, plan, tmp_path):
    said = refused(2, "quantize", tiny, tmp_path / "o.gguf", "--plan", plan(MIXED), "--group", "32")
    assert "--plan" in said and "default" in said


def test_a_weight_beyond_f16_is_named(tiny, plan, tmp_path):
    broken = tmp_path / "large.gguf"
    data = bytearray(tiny.read_bytes())
    tensor = next(t for t in gguf.GGUFReader(tiny).tensors if t.name == "blk.1.ffn_up.weight")
    data[tensor.data_offset + 8 : tensor.data_offset + 12] = b"\0\0\x80\x47"  # 65536
    broken.write_bytes(data)
    said = refused(1, "quantize", broken, tmp_path / "o.gguf", "--plan", plan({"*.ffn_up": "f16"}))
    assert "blk.1.ffn_up.weight" in said and "beyond f16" in said and "f32" in said


def test_a_record_names_the_whole_scheme(tiny, plan, tmp_path):
    """A gate compares it with what is to run: a name cut short would be another."""
    out, text = tmp_path / "o.gguf", tmp_path / "text"
    text.write_text(make_tiny.TEXT * 3)
    octet("quantize", tiny, out, "--plan", plan(MIXED, default="int8-g128-token-f32-affine+head:int8-g32-f32-affine"))
    done = octet("eval", "--model", out, "--reference", tiny, "--text", text, "--ctx", 64, "--record")
    assert done.returncode == 0, done.stderr
    info = json.loads(octet("info", out, "--json", "--check").stdout)
    assert info["quality_matches"] and info["quality"]["scheme"] == info["scheme"] and len(info["scheme"]) > 63


def test_the_server_runs_it(mixed):
    """What it says is what the file says without a server."""
    here = json.loads(octet("generate", "--model", mixed[0], "--prompt", "the cat", "--max-tokens", 9, "--temperature", 0, "--json").stdout)
    server = subprocess.Popen([BIN / "octetd", "--model", mixed[0], "--port", "0"], stderr=subprocess.PIPE)
    try:
        lines = iter(lambda: json.loads(server.stderr.readline()), None)
        port = next(line["port"] for line in lines if line.get("event") == "listening")
        body = json.dumps({"prompt": "the cat", "max_tokens": 9, "temperature": 0}).encode()
        ask = urllib.request.Request(f"http://127.0.0.1:{port}/v1/generate", body, {"Content-Type": "application/json"})
        for _ in range(300):
            try:
                with urllib.request.urlopen(ask, timeout=30) as answer:
                    assert json.load(answer)["text"] == here["text"]
                break
            except urllib.error.HTTPError as error:
                assert error.code == 503, error.read()  # loading
                time.sleep(0.1)
        else:
            pytest.fail("never ready")
    finally:
        server.terminate()
        assert server.wait(30) == 0
