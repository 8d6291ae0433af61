"""A quantized GGUF file as an FP32 master whose weights lie on no grid.

    make_continuous.py IN.gguf OUT.gguf [--seed 1]

Every Q4_1 and Q8_0 weight is moved uniformly inside its own cell, half a step of its block to either side, those at
the ends of the range too; the other tensors are only dequantized. What is made again of IN's own levels can be free
of loss by luck; what is made of this file can't.
"""

import argparse
import os

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

STEPPED = (T.Q4_1, T.Q8_0)  # blocks of 32 that begin with their step, an f16


def values_of(tensor):
    """Dequantized, in numpy's order of dimensions."""
    values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    return values.reshape([int(n) for n in tensor.shape[::-1]])


def steps_of(tensor):
    """The step of each weight's block."""
    n, n_bytes = gguf.GGML_QUANT_SIZES[tensor.tensor_type]
    d = np.ascontiguousarray(tensor.data.reshape(-1, n_bytes)[:, :2]).view("<f2").astype(np.float32)
    return np.repeat(d, n, axis=1).reshape([int(n) for n in tensor.shape[::-1]])


def moved(tensor, rng):
    values = values_of(tensor)
    if tensor.tensor_type not in STEPPED:
        return values
    return values + (rng.random(values.shape, dtype=np.float32) - np.float32(0.5)) * steps_of(tensor)


def copy_keys(reader, writer):
    """But for those that the writer makes."""
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type", "general.quantization_version"):
            continue
        writer.add_key_value(name, field.contents(), field.types[0], field.types[-1] if len(field.types) > 1 else None)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def make(source, out, seed=1):
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(f"{out}.part", reader.fields["general.architecture"].contents())
    writer.data_alignment = reader.alignment
    copy_keys(reader, writer)
    for tensor in reader.tensors:
        shape = [int(n) for n in tensor.shape[::-1]]
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.float32), 4 * int(tensor.n_elements))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.Generator(np.random.PCG64(seed))
    for tensor in reader.tensors:
        writer.write_tensor_data(moved(tensor, rng))
    writer.close()
    os.replace(f"{out}.part", out)


if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("source", metavar="IN.gguf")
    args.add_argument("out", metavar="OUT.gguf")
    args.add_argument("--seed", type=int, default=1)
    make(**vars(args.parse_args()))
