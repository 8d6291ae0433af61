"""Write small .safetensors files, sound and broken, into a folder: seeds for fuzz_safetensors.

    python3 tests/fuzz/make_safetensors_seeds.py FOLDER
"""

import hashlib
import json
import pathlib
import struct
import sys


def file(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1}


def every_type():
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, size in SIZES.items():
        header[f"layer.{name}"] = tensor(name, [2, 3], end, end + 6 * size)
        end += 6 * size
    return file(header, bytes(end))


one = tensor("F32", [1], 0, 4)
SEEDS = [
    every_type(),
    file({}),
    file({"w": tensor("F32", [], 0, 4)}, bytes(4)),
    file({"w": tensor("I8", [1, 1, 1, 2], 0, 2)}, bytes(2)),
    file({"a": one, "b": tensor("F32", [1], 4, 8)}, bytes(8)),
    file({"a": one, "b": one}, bytes(4)),  # overlap
    file({"a": tensor("F32", [1], 4, 8)}, bytes(8)),  # hole
    file({"w": one}, bytes(3)),  # cut short
    file({"w": one}, bytes(5)),
    file({"w": tensor("F32", [2**32, 2**32], 0, 0)}),
    file({"w": tensor("F64", [2**60], 0, 2**63 - 1)}),
    file({"w": tensor("F32", [0], 0, 0)}),
    file({"w": {"dtype": "F32"}}),
    file({"w": 1}),
    file(b'{"w":{},"w":{}}'),
    file(b"{" + b'"w":{' * 40),
    file(b'{"\\u0000":{}}'),
    file(b"{}   "),
    struct.pack("<Q", 2**63) + b"{}",
    struct.pack("<Q", 64) + b"{}",
    b"\2",
]


def main(folder):
    out = pathlib.Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS:
        (out / hashlib.sha1(seed).hexdigest()).write_bytes(seed)


if __name__ == "__main__":
    main(sys.argv[1]) if len(sys.argv) == 2 else sys.exit(__doc__)
