"""Shared by the oracle's tests: the tiny models, made once a session, and llama.cpp's word on them."""

import base64
import gzip
import json
import os
import sys

import numpy as np
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "../golden")
sys.path.insert(0, HERE)
import make_tiny  # noqa: E402


def pytest_generate_tests(metafunc):
    if "tiny" in metafunc.fixturenames:
        metafunc.parametrize("tiny", list(make_tiny.SPECS), indirect=True)


class Tiny:
    """A made model and its golden."""

    def __init__(self, name, path, golden):
        self.name, self.path, self.golden = name, path, golden
        self.spec = make_tiny.SPECS[name]
        self.ids, self.greedy, self.texts = golden["ids"], golden["greedy"], golden["texts"]

    def kept_logits(self):
        """(positions, llama.cpp's logits there)"""
        flat = np.frombuffer(gzip.decompress(base64.b64decode(self.golden["logits"])), dtype="<f4")
        return self.golden["positions"], flat.reshape(-1, self.spec.n_vocab)

    def farthest(self, logits):
        """The largest difference from any logit that the golden holds."""
        positions, kept = self.kept_logits()
        worst = np.abs(logits[positions] - kept).max()
        for row, best in zip(logits, self.golden["best"], strict=True):
            worst = max(worst, *(abs(row[id] - value) for id, value in best))
        return float(worst)


@pytest.fixture(scope="session")
def goldens():
    with open(os.path.join(GOLDEN, "tiny.json"), encoding="utf-8") as f:
        return json.load(f)["models"]


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def tiny(request, goldens, tiny_dir):
    name = request.param
    path = str(tiny_dir / (name + ".gguf"))
    sha = make_tiny.make(name, path)
    assert sha == goldens[name]["sha256"], f"{name} is not the file that llama.cpp saw: remake tiny.json"
    return Tiny(name, path, goldens[name])


@pytest.fixture(scope="session")
def smollm():
    path = os.environ.get("OCTET_MODEL")
    if not path:
        pytest.skip("OCTET_MODEL is not set: the path of SmolLM2-135M-Instruct.gguf")
    return path
