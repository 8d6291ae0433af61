"""What was measured is bound to the file: octet eval --record, octet quantize --evaluate, octetd --require-*."""
import hashlib
import json
import os
import pathlib
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time

import gguf
import numpy as np
import pytest

from conftest import BIN, octet, refused
from test_models import variant

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import make_tiny  # noqa: E402

FIGURES = ["ppl_ratio", "kld_mean", "kld_median", "kld_p99", "kld_max", "same_top", "rms_dp"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A source, a model made of it, and a text."""
    path = tmp_path_factory.mktemp("record")
    make_tiny.make("llama-untied-linear", str(path / "source.gguf"))
    (path / "text").write_text(make_tiny.TEXT * 3)
    assert octet("quantize", path / "source.gguf", path / "plain.gguf").returncode == 0
    return path


def command(folder, model, *args):
    return ["eval", "--model", model, "--text", folder / "text", "--ctx", 32, "--json", *args]


def measure(folder, model, *args):
    done = octet(*command(folder, model, "--reference", folder / "source.gguf", *args))
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def model(folder, tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes((folder / "plain.gguf").read_bytes())
    return path


@pytest.fixture(scope="module")
def recorded(folder):
    """The file with a record, and what eval printed as it was made."""
    path = folder / "recorded.gguf"
    path.write_bytes((folder / "plain.gguf").read_bytes())
    return path, measure(folder, path, "--record")


def quality(path):
    return json.loads(octet("info", "--json", path).stdout)["quality"]


def matches(path):
    return json.loads(octet("info", "--json", "--check", path).stdout)["quality_matches"]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def keys(path):
    """{name: (bytes of the key as it stands in the file)} by a reader of our own."""
    data = path.read_bytes()
    sizes = [1, 1, 2, 2, 4, 4, 4, 1, None, None, 8, 8, 8]

    def skip(at, kind):
        if kind == 8:
            return at + 8 + struct.unpack_from("<Q", data, at)[0]
        if kind == 9:
            elem, n = struct.unpack_from("<IQ", data, at)
            at += 12
            for _ in range(n):
                at = skip(at, elem)
            return at
        return at + sizes[kind]

    found, at = {}, 24
    for _ in range(struct.unpack_from("<Q", data, 16)[0]):
        start, (length,) = at, struct.unpack_from("<Q", data, at)
        name = data[at + 8 : at + 8 + length].decode()
        at = skip(at + 8 + length + 4, *struct.unpack_from("<I", data, at + 8 + length))
        found[name] = data[start:at]
    return found


def digest(path):
    """As model/format/digest.h defines it."""
    sha = hashlib.sha256()
    for name, entry in sorted(keys(path).items(), key=lambda item: item[0].encode()):
        described = name.startswith("general.") and name != "general.architecture"
        if not described and not name.startswith(("octet.quality.", "tokenizer.chat_template")):
            sha.update(entry)
    for tensor in sorted(gguf.GGUFReader(path).tensors, key=lambda t: t.name.encode()):
        dims = [int(d) for d in tensor.shape]
        name = tensor.name.encode()
        sha.update(struct.pack("<Q", len(name)) + name + struct.pack("<II", tensor.tensor_type, len(dims)))
        sha.update(struct.pack("<4Q", *dims, *[1] * (4 - len(dims))))
        sha.update(hashlib.sha256(tensor.data.tobytes()).digest())
    return sha.hexdigest()


def test_the_record_is_what_was_measured(folder, recorded):
    path, told = recorded
    q = quality(path)
    assert told["recorded"] is True
    for name in ["tokens", "chunks", "ctx", "ppl", "ppl_se"]:
        assert q[name] == told[name], name
    for name in FIGURES:
        assert q[name] == told["reference"][name], name
    assert (q["precision"], q["kv"], q["scheme"]) == ("int8", "int8", "int8-h64-g64")
    assert q["version"] == octet("--version").stdout.decode().split()[1]
    assert q["text_sha256"] == sha256(folder / "text") and q["source_sha256"] == sha256(folder / "source.gguf")
    assert q["digest"] == digest(path) == digest(folder / "plain.gguf")


def test_for_people(recorded, folder):
    said = octet("info", recorded[0]).stdout.decode()
    assert f"{recorded[1]['reference']['kld_mean']:.6f}" in said and "same top token" in said
    assert "none recorded" in octet("info", folder / "plain.gguf").stdout.decode()
    assert quality(folder / "plain.gguf") is None


def test_everything_else_is_as_it_was(recorded, folder):
    before, after = keys(folder / "plain.gguf"), keys(recorded[0])
    assert {n: e for n, e in after.items() if not n.startswith("octet.quality.")} == before
    assert list(after)[: len(before)] == list(before)
    old, new = (gguf.GGUFReader(p).tensors for p in (folder / "plain.gguf", recorded[0]))
    assert [(t.name, t.tensor_type, list(t.shape)) for t in old] == [(t.name, t.tensor_type, list(t.shape)) for t in new]
    assert all(np.array_equal(a.data, b.data) for a, b in zip(old, new, strict=True))
    ask = ["--prompt", "the cat", "--max-tokens", 8, "--seed", 1, "--json"]
    texts = [json.loads(octet("generate", "--model", p, *ask).stdout)["text"] for p in (folder / "plain.gguf", recorded[0])]
    assert texts[0] == texts[1]


def test_a_later_record_replaces(recorded, folder, tmp_path):
    path = tmp_path / "again.gguf"
    path.write_bytes(recorded[0].read_bytes())
    measure(folder, path, "--record", "--chunks", 2, "--kv", "f16")
    assert (quality(path)["chunks"], quality(path)["kv"]) == (2, "f16")
    assert path.stat().st_size == pytest.approx(recorded[0].stat().st_size, abs=64)
    measure(folder, path, "--record")
    assert path.read_bytes() == recorded[0].read_bytes()


def test_alignment_permissions_and_links_stay(folder, tmp_path):
    path, link = tmp_path / "m.gguf", tmp_path / "link.gguf"
    real, make_tiny.gguf.GGUFWriter = gguf.GGUFWriter, type("W", (gguf.GGUFWriter,), {})
    make_tiny.gguf.GGUFWriter.__init__ = lambda self, *a, **k: (real.__init__(self, *a, **k), self.add_custom_alignment(256))[0]
    try:
        make_tiny.make("llama-untied-linear", str(path))
    finally:
        make_tiny.gguf.GGUFWriter = real
    path.chmod(0o640)
    link.symlink_to(path)
    before = keys(path)
    measure(folder, link, "--record")
    assert link.is_symlink() and path.stat().st_mode & 0o777 == 0o640
    assert {n: e for n, e in keys(path).items() if not n.startswith("octet.")} == before
    assert gguf.GGUFReader(path).alignment == 256
    assert quality(link)["digest"] == digest(path)


def test_quantize_evaluate(folder, tmp_path):
    """The same record in one step: here in chunks of 512, so the text is long."""
    out, text = tmp_path / "out.gguf", tmp_path / "text"
    text.write_text(make_tiny.TEXT * 12)
    done = octet("quantize", folder / "source.gguf", out, "--scheme", "q8_0", "--evaluate", text, "--chunks", 1, "--json")
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    told = json.loads(done.stdout)["evaluation"]
    q = quality(out)
    assert q["chunks"] == told["chunks"] == 1 and q["ctx"] == 512 and q["scheme"] == "q8_0"
    assert all(q[name] == told["reference"][name] for name in FIGURES)
    assert q["source_sha256"] == sha256(folder / "source.gguf") and q["digest"] == digest(out)
    assert json.loads(octet("quantize", folder / "source.gguf", out, "--json").stdout)["evaluation"] is None
    assert quality(out) is None, "a record does not carry over to other weights"


def test_quantize_finds_a_missing_text_first(folder, tmp_path):
    out = tmp_path / "out.gguf"
    assert "nothing" in refused(1, "quantize", folder / "source.gguf", out, "--evaluate", tmp_path / "nothing")
    assert not out.exists()


# ---- what goes wrong ----


def test_record_needs_a_reference(folder, model):
    assert "--reference" in refused(2, *command(folder, model, "--record"))
    assert model.read_bytes() == (folder / "plain.gguf").read_bytes()


def test_a_directory_takes_no_record(folder, tmp_path):
    said = refused(1, *command(folder, tmp_path, "--reference", folder / "source.gguf", "--record"))
    assert "directory" in said and "--record" in said


def only_the_old(folder, model):
    assert model.read_bytes() == (folder / "plain.gguf").read_bytes()
    assert [p.name for p in model.parent.iterdir()] == [model.name]


def test_a_full_disk_leaves_the_old_file(folder, model):
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    args = command(folder, model, "--reference", folder / "source.gguf", "--record")
    assert "model.gguf" in refused(1, *args, preexec_fn=small_files)
    only_the_old(folder, model)


def test_killed_in_the_middle_leaves_the_old_file(source, int8, tmp_path):
    """The default model: large enough to be caught while it is copied."""
    model, text = tmp_path / "model.gguf", tmp_path / "text"
    shutil.copy(int8, model)
    text.write_text(make_tiny.TEXT)
    args = ["eval", "--model", model, "--text", text, "--ctx", "32", "--chunks", "1", "--reference", source, "--record"]
    running = subprocess.Popen([BIN / "octet", *args], stdout=subprocess.DEVNULL)
    while len(list(tmp_path.iterdir())) == 2 and running.poll() is None:
        time.sleep(0.001)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL, "it ended before it could be killed"
    assert model.read_bytes() == int8.read_bytes()


def test_a_folder_that_may_not_be_written(folder, model):
    model.parent.chmod(0o500)
    args = command(folder, model, "--reference", folder / "source.gguf", "--record")
    anybody = ["setpriv", "--bounding-set", "-dac_override", "--"] if os.geteuid() == 0 else []
    said = refused(1, *args, before=anybody)
    model.parent.chmod(0o700)
    assert "model.gguf" in said and "ermission" in said
    only_the_old(folder, model)


@pytest.mark.parametrize("name, value, words", [
    ("octet.quality.kld_mean", -1.0, ["kld_mean", "0 or more"]),
    ("octet.quality.same_top", 1.5, ["same_top", "0 to 1"]),
    ("octet.quality.kld_max", float("nan"), ["kld_max", "finite"]),
    ("octet.quality.kld_p99", "high", ["kld_p99"]),
    ("octet.quality.ctx", 7.5, ["ctx"]),
    ("octet.quality.digest", "0123", ["digest", "64"]),
    ("octet.quality.scheme", "x" * 96, ["scheme"]),
    ("octet.quality.tokens", None, ["not whole"]),
])
def test_a_record_that_cannot_be(folder, recorded, tmp_path, name, value, words):
    """Refused by who would rely on it; octet info still describes the file."""
    fields = {n: f.contents() for n, f in gguf.GGUFReader(recorded[0]).fields.items() if n.startswith("octet.quality.")}
    fields[name] = value
    path = variant(tmp_path / "bad.gguf", keys={n: v for n, v in fields.items() if v is not None})
    said = refused(1, "generate", "--model", path, "--prompt", "the cat", "--max-tokens", 1)
    human = octet("info", path).stdout.decode()
    for word in ["bad.gguf", *words]:
        assert word in said and word in human, said
    assert quality(path) is None


# ---- the gate ----


def daemon(path, *args):
    """(exit status or None where it serves, what it said beside its log)"""
    running = subprocess.Popen([BIN / "octetd", "--model", path, "--port", "0", "--threads", "1", *map(str, args)],
                               stderr=subprocess.PIPE, text=True)
    said = ""
    for line in running.stderr:
        if line.startswith("{") and json.loads(line)["event"] == "ready":
            running.terminate()
            assert running.wait(30) == 0
            return None, said
        said += "" if line.startswith("{") else line
    return running.wait(30), said


def test_the_gate(recorded, folder):
    path, told = recorded
    kld, top, ratio = (told["reference"][n] for n in ("kld_mean", "same_top", "ppl_ratio"))
    good = ["--require-kld", kld * 1.01, "--require-same-top", top * 0.999, "--require-ppl-ratio", ratio * 1.001]
    assert daemon(path, *good) == (None, "")
    status, said = daemon(path, "--require-kld", kld * 0.9)
    assert status == 1 and said.count("\n") == 1 and "--require-kld" in said and "recorded.gguf" in said
    assert daemon(folder / "plain.gguf", *good)[0] == 1
    assert daemon(path, "--kv", "f32", *good)[0] == 1
    assert daemon(path, "--precision", "fp32", *good)[0] == 1


def change(path, to, *, tensor=None, key=None):
    """A copy with one bit of a tensor's data, or one byte of a key's value, changed."""
    data = bytearray(path.read_bytes())
    if tensor:
        found = next(t for t in gguf.GGUFReader(path).tensors if t.name == tensor)
        data[found.data_offset + 5] ^= 1
    else:
        entry = keys(path)[key]
        data[data.index(entry) + len(entry) - 1] ^= 1
    to.write_bytes(data)
    return to


@pytest.mark.parametrize("what", [
    dict(tensor="blk.1.ffn_down.octet_q"),
    dict(tensor="blk.0.attn_k.octet_scale"),
    dict(tensor="output_norm.weight"),
    dict(key="llama.rope.freq_base"),
])
def test_a_changed_file_fails_the_gate(recorded, tmp_path, what):
    path = change(recorded[0], tmp_path / "changed.gguf", **what)
    status, said = daemon(path, "--require-kld", 1)
    assert status == 1 and "changed" in said and "changed.gguf" in said
    assert daemon(path) == (None, ""), "without the gate nobody looks"
    assert "NOT" in octet("info", "--check", path).stdout.decode() and matches(path) is False


def test_a_changed_description_does_not(recorded, tmp_path):
    path = change(recorded[0], tmp_path / "renamed.gguf", key="general.name")
    assert "checked" in octet("info", "--check", path).stdout.decode() and matches(path) is True
    assert json.loads(octet("info", "--json", path).stdout)["quality_matches"] is None
    assert daemon(path, "--require-kld", 1) == (None, "")
