"""docs/QUANTIZATION.md: its examples run, and the functions they define make the integers that octet makes."""

import doctest
import pathlib
import re

import gguf
import make_tiny
import numpy as np
import octet
import oracle
import pytest
import test_compensate
from stored import Stored, turn

DOC = pathlib.Path(__file__).resolve().parents[2] / "docs/QUANTIZATION.md"


@pytest.fixture(scope="module")
def page():
    """The names that the examples leave behind; each printed what the page says."""
    names, parser = {}, doctest.DocTestParser()
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    blocks = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.S)
    assert len(blocks) >= 8
    said = []
    for i, block in enumerate(blocks):
        test = parser.get_doctest(block, names, f"example {i + 1}", str(DOC), 0)
        runner.run(test, out=said.append, clear_globs=False)
        names.update(test.globs)
    assert runner.failures == 0, "".join(said)
    return names


def with_row(path, name, values):
    """The tiny model with these numbers as the first row of a matrix, zeros after them."""
    make_tiny.make("llama-untied-linear", str(path))
    tensor = next(t for t in gguf.GGUFReader(path, "r+").tensors if t.name == name)
    row = tensor.data.reshape([int(n) for n in tensor.shape[::-1]])[0]
    row[:] = 0
    row[: len(values)] = values
    tensor.data.flush()


def stored(path, scheme, folder):
    out = str(folder / "out.gguf")
    octet.run("octet", "quantize", path, out, "--scheme", scheme)
    return Stored(out)


@pytest.mark.parametrize("name, scheme", [("symmetric", "int8-h0-g64"), ("affine", "int8-h0-g64-affine"), ("four_bits", "int4-h0-g64")])
def test_the_eight_weights(page, tmp_path, name, scheme):
    x, base = page["x"], "blk.0.ffn_up"
    with_row(tmp_path / "in.gguf", base + ".weight", x)
    file = stored(tmp_path / "in.gguf", scheme, tmp_path)
    q, s, *zero = page[name](x)
    got = file.rows(base + ".octet_q")[0]
    if name == "four_bits":
        got = np.stack([got.view(np.uint8) & 15, got.view(np.uint8) >> 4], axis=-1).reshape(-1).astype(int) - 8
    assert got[:8].tolist() == q.tolist()
    assert file.rows(base + ".octet_scale")[0, 0] == s
    if zero:
        assert file.rows(base + ".octet_zero")[0, 0] == zero[0]


def means(page, name, group):
    """Numbers of one group after the page's function."""
    q, s, *zero = page[name](group)
    return s * (q - (zero[0] if zero else 0))


@pytest.mark.parametrize(
    "name, scheme, block",
    [("searched", "int8", 64), ("symmetric", "int8-h0", 0), ("affine", "int8-h0-affine", 0), ("four_bits", "int4-h0-g64", 0)],
)
def test_whole_matrices(page, tmp_path, name, scheme, block):
    """After the page's Hadamard blocks, or without."""
    make_tiny.make("llama-untied-linear", str(tmp_path / "in.gguf"))
    file, source = stored(tmp_path / "in.gguf", scheme, tmp_path), oracle.File(str(tmp_path / "in.gguf"))
    for base in ("blk.0.ffn_up", "blk.1.ffn_down"):
        w = source.tensor(base + ".weight")
        groups = w.reshape(-1, 64)
        if block:
            groups = groups @ page["hadamard"](block)
        want = np.array([means(page, name, g) for g in groups.astype(np.float32)]).reshape(w.shape)
        off = np.abs(want - file.integers(base)) > 1e-6
        assert off.mean() < (0.02 if name == "searched" else 2e-3), "but for those half way between two levels in float32"


def test_compensation(page, tmp_path):
    made = test_compensate.Made("llama-untied-linear", tmp_path)
    out, source = Stored(str(made.out)), oracle.File(str(made.path))
    w = turn(source.tensor("blk.1.ffn_down.weight"), 64)
    h = test_compensate.gram(made.reader, "blk.1.ffn_down") / made.tokens
    h = turn(turn(h.T, 64).T, 64)
    h += np.eye(len(h)) * 0.01 * np.mean(np.diag(h))
    got = out.rows("blk.1.ffn_down.octet_q")
    steps = out.integers("blk.1.ffn_down")[:24]
    want = np.array([page["compensated"](row, h, 64) for row in w[:24]])
    plain = np.array([np.concatenate([page["symmetric"](g.astype(np.float32))[0] for g in row.reshape(-1, 64)]) for row in w[:24]])
    same, same_as_plain = (want == got[:24]).mean(), (plain == got[:24]).mean()
    assert same > 0.92 > 0.88 > same_as_plain, "a rounding that falls the other way changes some after it"
    scale = np.repeat(out.rows("blk.1.ffn_down.octet_scale").astype(float)[:24], 64, axis=1)
    losses = [np.einsum("nk,kj,nj->", e, h, e) for e in (w[:24] - want * scale, w[:24] - steps, w[:24] - plain * scale)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05) and losses[2] > 1.5 * losses[1], losses


def test_observer(page):
    x = page["x"]
    lines = octet.run("octet_observer", len(x), input=x.tobytes()).decode().splitlines()
    _, _, _, scale, zero = next(line.split() for line in lines if line.startswith("minmax-u8"))
    assert page["min_max"](x) == (float.fromhex(scale), int(zero))


def test_flags_that_the_page_names_are_there():
    help_text = octet.run("octet", "quantize", "--help").decode()
    for flag in set(re.findall(r"`(--[a-z-]+)|octet quantize[^`]*?(--[a-z-]+)", DOC.read_text())):
        assert re.search((flag[0] or flag[1]) + r"\b(?!-)", help_text), flag
