"""Runs the `octet` command as a user would. OCTET_BIN_DIR: where it is (build/release/bin);
OCTET_MODEL: the default model as downloaded, without which tests that need a model are skipped."""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("OCTET_BIN_DIR", ROOT / "build/release/bin"))
SENTENCE_MAX = 512  # bytes: one sentence, not a page


def octet(*args, stdin=b"", before=(), **more):
    return subprocess.run([*before, BIN / "octet", *map(str, args)], input=stdin, capture_output=True, timeout=600, **more)


def refused(status, *args, stdin=b"", **more):
    """The command ends with that status, prints nothing on stdout and one sentence, which is returned."""
    done = octet(*args, stdin=stdin, **more)
    said = done.stderr.decode()
    assert done.returncode == status, (done.returncode, said)
    assert done.stdout == b""
    assert said.startswith("octet") and said.endswith("\n") and said.count("\n") == 1, said
    assert len(said) < SENTENCE_MAX
    return said


@pytest.fixture(scope="session")
def source():
    path = os.environ.get("OCTET_MODEL")
    if not path:
        pytest.skip("OCTET_MODEL is not set")
    return pathlib.Path(path)


@pytest.fixture(scope="session")
def int8(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "int8.gguf"
    done = octet("quantize", source, path)
    assert done.returncode == 0, done.stderr
    return path
