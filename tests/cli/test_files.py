"""Files that are not what they should be: each command, status 1, one sentence that names the file."""
import os

import pytest

from conftest import refused

OPENERS = {
    "info": lambda path, tmp: ["info", path],
    "tokenize": lambda path, tmp: ["tokenize", "--model", path],
    "generate": lambda path, tmp: ["generate", "--model", path, "--prompt", "x"],
    "eval": lambda path, tmp: ["eval", "--model", path, "--text", __file__],
    "bench": lambda path, tmp: ["bench", "engine", "--model", path],
    "quantize": lambda path, tmp: ["quantize", path, tmp / "out.gguf"],
}


@pytest.fixture(params=OPENERS)
def opener(request, tmp_path):
    yield lambda path: OPENERS[request.param](path, tmp_path)
    assert not list(tmp_path.glob("out.gguf*")), "a failed quantize leaves something behind"


def test_missing(opener, tmp_path):
    said = refused(1, *opener(tmp_path / "nothing.gguf"))
    assert "nothing.gguf" in said and "No such file" in said


def test_directory(opener, tmp_path):
    (tmp_path / "folder").mkdir()
    said = refused(1, *opener(tmp_path / "folder"))
    assert "folder" in said and "directory" in said.lower()


def test_empty(opener, tmp_path):
    (tmp_path / "empty.gguf").touch()
    assert "empty.gguf" in refused(1, *opener(tmp_path / "empty.gguf"))


def test_not_a_gguf(opener, tmp_path):
    (tmp_path / "page.html").write_text("<html>" * 1000)
    said = refused(1, *opener(tmp_path / "page.html"))
    assert "page.html" in said and "GGUF" in said


# Root may read everything, unless that right is taken from it.
AS_ANYBODY = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--"] if os.geteuid() == 0 else []


def test_no_permission(opener, tmp_path):
    path = tmp_path / "secret.gguf"
    path.write_bytes(b"GGUF")
    path.chmod(0)
    said = refused(1, *opener(path), before=AS_ANYBODY)
    assert "secret.gguf" in said and "ermission" in said


@pytest.mark.parametrize("size", [10, 1000, 500_000, 50_000_000, -1])
def test_truncated(opener, source, tmp_path, size):
    whole = source.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[:size])
    if "tokenize" in opener("") and size not in (10, 1000, 500_000):
        pytest.skip("the vocabulary is whole: tokenize has all it needs")
    assert "cut.gguf" in refused(1, *opener(cut))
