"""Write golden.gguf: what the Python package gguf writes and how it dequantizes, for test_dequant.c and test_gguf.c.

    python3 -m venv v && v/bin/pip install gguf==0.19.0
    v/bin/python tests/unit/format/make_golden.py tests/unit/format/golden.gguf

For each readable type T a tensor "T" of random blocks and a tensor "T.f32" of what gguf.quants.dequantize makes of
them. The scales of the first blocks are the odd ones: infinities, NaN, denormals, zeros, the largest.
"""
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T, GGUFValueType, GGUFWriter
from gguf.quants import dequantize

ODD = [0x7C00, 0xFC00, 0x7E01, 0x0001, 0x83FF, 0x0000, 0x8000, 0x7BFF, 0x0400]
# Where the f16 scales of a block stand.
SCALES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}
TYPES = [T.F32, T.F16, T.BF16, T.I8, *SCALES]


def blocks(qtype, n_blocks, rng):
    """Random blocks as bytes, the first ones with odd scales. f16 scales are otherwise of a usual size."""
    _, size = GGML_QUANT_SIZES[qtype]
    raw = rng.integers(0, 256, (n_blocks, size), dtype=np.uint8)
    for at in SCALES.get(qtype, []):
        scales = rng.normal(0, 0.1, n_blocks).astype("<f2")
        scales[:len(ODD)] = np.roll(np.array(ODD, "<u2"), at).view("<f2")[:n_blocks]
        raw[:, at:at + 2] = scales.view(np.uint8).reshape(n_blocks, 2)
    return raw


def expected(qtype, raw):
    """raw (rows, bytes) as float32."""
    if qtype == T.I8:
        return raw.view(np.int8).astype(np.float32)
    if qtype in (T.F32, T.F16):
        return raw.view({T.F32: "<f4", T.F16: "<f2"}[qtype]).astype(np.float32)
    return dequantize(raw, qtype)


def main(path):
    rng = np.random.default_rng(20)
    with np.errstate(all="ignore"):
        writer = GGUFWriter(path, "golden")
        writer.add_name("two words, é")
        for key, value, kind in [("u8", 255, "UINT8"), ("i8", -128, "INT8"), ("u16", 65535, "UINT16"),
                                 ("i16", -32768, "INT16"), ("u32", 2**32 - 1, "UINT32"), ("i32", -2**31, "INT32"),
                                 ("u64", 2**64 - 1, "UINT64"), ("i64", -2**63, "INT64"), ("f32", 0.1, "FLOAT32"),
                                 ("f64", 0.1, "FLOAT64"), ("yes", True, "BOOL"), ("no", False, "BOOL")]:
            writer.add_key_value("t." + key, value, GGUFValueType[kind])
        writer.add_array("t.strs", ["", "a", "ünï", "x" * 300])
        writer.add_array("t.ints", [-1, 0, 2**31 - 1])
        writer.add_array("t.floats", [0.5, -1e30])
        for qtype in TYPES:
            block, size = GGML_QUANT_SIZES[qtype]
            n = 12 if block > 1 else 256
            raw = blocks(qtype, n, rng).reshape(2, -1)
            dtype = {T.F32: "<f4", T.F16: "<f2", T.I8: "i1"}.get(qtype)
            if dtype:
                writer.add_tensor(qtype.name, raw.view(dtype))
            else:
                writer.add_tensor(qtype.name, raw, raw_dtype=qtype)
            writer.add_tensor(qtype.name + ".f32", expected(qtype, raw))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


if __name__ == "__main__":
    main(sys.argv[1])
