"""dequant.c against the Python package gguf (gguf==0.19.0) and numpy, wider than the golden file: many random blocks of
each type with every kind of scale, all 65536 halves both ways, and (with OCTET_MODEL=FILE) each tensor of a model.

    pytest tests/unit/format/test_dequant_oracle.py
"""
import ctypes
import os
import pathlib
import subprocess

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGUFReader

from make_golden import TYPES, expected

ROOT = pathlib.Path(__file__).parents[3]
SOURCES = [*sorted((ROOT / "model/format").glob("*.c")), ROOT / "config/status.c", ROOT / "config/sha256.c"]


@pytest.fixture(scope="session")
def lib(tmp_path_factory):
    path = tmp_path_factory.mktemp("dequant") / "dequant.so"
    subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-O3", "-ffp-contract=off", "-D_GNU_SOURCE", "-shared", "-fPIC",
                    "-I", str(ROOT), *map(str, SOURCES), "-o", str(path), "-ljansson", "-lm"], check=True)
    loaded = ctypes.CDLL(str(path))
    loaded.dequant_row.argtypes = [ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    loaded.f32_to_f16.argtypes, loaded.f32_to_f16.restype = [ctypes.c_float], ctypes.c_uint16
    return loaded


def dequantized(lib, qtype, raw):
    block, size = GGML_QUANT_SIZES[qtype]
    raw = np.ascontiguousarray(raw).view(np.uint8).reshape(-1)
    out = np.empty(raw.size // size * block, np.float32)
    lib.dequant_row(int(qtype), raw.ctypes.data, out.ctypes.data, out.size)
    return out


def same_bits(got, want):
    """Equal to the bit, but a NaN is a NaN."""
    want = np.ascontiguousarray(want, np.float32).reshape(-1)
    return got.size == want.size and bool(
        np.all((got.view(np.uint32) == want.view(np.uint32)) | (np.isnan(got) & np.isnan(want))))


@pytest.mark.parametrize("qtype", TYPES, ids=lambda t: t.name)
def test_random_blocks(lib, qtype):
    """Every byte random: scales are then of all sizes, infinities and NaN among them."""
    raw = np.random.default_rng(int(qtype)).integers(0, 256, (20000, GGML_QUANT_SIZES[qtype][1]), dtype=np.uint8)
    with np.errstate(all="ignore"):
        assert same_bits(dequantized(lib, qtype, raw), expected(qtype, raw))


def test_halves_to_floats(lib):
    halves = np.arange(65536, dtype=np.uint16)
    f16 = next(t for t in TYPES if t.name == "F16")
    assert same_bits(dequantized(lib, f16, halves), halves.view(np.float16).astype(np.float32))


def test_floats_to_halves(lib):
    rng = np.random.default_rng(1)
    with np.errstate(all="ignore"):
        floats = np.concatenate([rng.integers(0, 2**32, 100000, dtype=np.uint32).view(np.float32),
                                 rng.normal(0, 1, 50000).astype(np.float32),
                                 (rng.normal(0, 1, 50000) * 2.0**-18).astype(np.float32)])
        floats = floats[~np.isnan(floats)]
        want = floats.astype(np.float16).view(np.uint16)
    got = np.array([lib.f32_to_f16(float(f)) for f in floats], np.uint16)
    assert np.array_equal(got, want)


@pytest.mark.skipif("OCTET_MODEL" not in os.environ, reason="OCTET_MODEL names no file")
def test_model(lib):
    tensors = GGUFReader(os.environ["OCTET_MODEL"]).tensors
    assert tensors
    for tensor in tensors:
        want = expected(tensor.tensor_type, np.asarray(tensor.data))
        assert same_bits(dequantized(lib, tensor.tensor_type, tensor.data), want), tensor.name
