"""Write small GGUF files of each kind of key and tensor into a folder: seeds for fuzz_gguf.

    python3 tests/unit/format/make_seeds.py FOLDER
"""
import pathlib
import struct
import sys

# Number, elements and bytes of a block of each readable type.
TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22),
         "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176),
         "Q6_K": (14, 256, 210), "I8": (24, 1, 1), "BF16": (30, 1, 2)}
SCALARS = "BbHhIif?__Qqd"


def text(value):
    return struct.pack("<Q", len(value)) + value


def gguf(keys, tensors, alignment=32):
    """keys: bytes of each; tensors: (name, type, dims)."""
    infos, data = b"", b""
    for name, kind, dims in tensors:
        number, block, size = TYPES[kind]
        data += b"\0" * (-len(data) % alignment)
        infos += text(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims)
        infos += struct.pack("<IQ", number, len(data))
        n = 1
        for dim in dims:
            n *= dim
        data += bytes(i % 251 for i in range(n // block * size))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + infos
    return head + b"\0" * (-len(head) % alignment) + data


def main(folder):
    out = pathlib.Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    scalars = [text(b"k%d" % kind) + struct.pack("<I", kind) + struct.pack("<" + SCALARS[kind], 1)
               for kind in range(13) if kind not in (8, 9)]
    arrays = [text(b"a%d" % kind) + struct.pack("<IIQ", 9, kind, 2) + 2 * struct.pack("<" + SCALARS[kind], 1)
              for kind in range(13) if kind not in (8, 9)]
    string = text(b"s") + struct.pack("<I", 8) + text(b"llama")
    strings = text(b"ss") + struct.pack("<IIQ", 9, 8, 2) + text(b"one") + text(b"")
    align = text(b"general.alignment") + struct.pack("<II", 4, 8)
    parts = text(b"split.count") + struct.pack("<IH", 2, 1)
    (out / "scalars").write_bytes(gguf(scalars, []))
    (out / "arrays").write_bytes(gguf(arrays, []))
    (out / "strings").write_bytes(gguf([string, strings], []))
    (out / "aligned").write_bytes(gguf([align, parts], [(b"a", "I8", [3]), (b"b", "F32", [2, 1, 1, 2])], 8))
    for name, (_, block, _) in TYPES.items():
        (out / name).write_bytes(gguf([], [(b"t", name, [block, 2])]))


if __name__ == "__main__":
    main(sys.argv[1])
