"""The continuous master: every weight in its cell, anywhere in it."""

import gguf
import make_continuous
import make_tiny
import numpy as np
import pytest
from gguf import GGMLQuantizationType as T


def with_a_zero_block(path):
    """The first matrix's first block gets a step of 0 and keeps its levels."""
    tensor = next(t for t in gguf.GGUFReader(path, "r+").tensors if len(t.shape) == 2)
    tensor.data.reshape(-1)[:2] = 0
    tensor.data.flush()
    return tensor.name


@pytest.fixture(scope="module", params=["type-q4_1", "type-q8_0"])
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    source, out = str(folder / "in.gguf"), str(folder / "out.gguf")
    make_tiny.make(request.param, source)
    zeroed = with_a_zero_block(source)
    make_continuous.make(source, out)
    return source, out, zeroed


def tensors(path):
    return {t.name: t for t in gguf.GGUFReader(path).tensors}


def places(source, out):
    """Where in its cell each weight is: -0.5 … 0.5."""
    for name, t in tensors(source).items():
        if t.tensor_type == T.F32:
            continue
        blocks = t.data.reshape(-1, 20 if t.tensor_type == T.Q4_1 else 34)
        step = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float64)
        was = gguf.dequantize(t.data, t.tensor_type).astype(np.float64).reshape(-1, 32)
        yield name, step, tensors(out)[name].data.astype(np.float64).reshape(-1, 32) - was


def test_all_of_it_is_f32_with_the_same_keys(made):
    before, after = gguf.GGUFReader(made[0]), gguf.GGUFReader(made[1])
    assert [(t.name, t.shape.tolist()) for t in before.tensors] == [(t.name, t.shape.tolist()) for t in after.tensors]
    assert {t.tensor_type for t in after.tensors} == {T.F32}
    for name, field in before.fields.items():
        if not name.startswith("GGUF.") and name != "general.file_type":
            assert after.fields[name].contents() == field.contents(), name
    for name, t in tensors(made[0]).items():
        if t.tensor_type == T.F32:
            assert np.array_equal(t.data, tensors(made[1])[name].data), name


def test_every_weight_is_anywhere_in_its_cell(made):
    at = []
    for name, step, by in places(*made[:2]):
        assert (np.abs(by) <= np.abs(step) * 0.501).all(), name  # 0.5, and the rounding of f32
        at.append((by[step[:, 0] != 0] / step[step[:, 0] != 0].reshape(-1, 1)).ravel())
    at = np.concatenate(at)
    share = np.histogram(at, 20, (-0.5, 0.5))[0] / len(at)
    assert len(at) > 100_000 and np.abs(share - 0.05).max() < 6 * (0.05 * 0.95 / len(at)) ** 0.5


def test_a_block_without_a_step_stays(made):
    same = [name for name, step, by in places(*made[:2]) if step[0] == 0 and not by[0].any()]
    assert same == [made[2]]


def test_a_seed_is_a_file(made, tmp_path):
    again, other = tmp_path / "again.gguf", tmp_path / "other.gguf"
    make_continuous.make(made[0], str(again), 1)
    make_continuous.make(made[0], str(other), 2)
    with open(made[1], "rb") as f:
        first = f.read()
    assert again.read_bytes() == first != other.read_bytes()
