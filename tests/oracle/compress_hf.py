"""A Hugging Face directory of floats as llm-compressor leaves it after its W8A8 recipe ("compressed-tensors").

    compress(DIR, …)     changes model.safetensors and config.json in place

Written from the format's description, with the `safetensors` package: each matrix of a Linear module becomes I8 with a
scale (and zero point) a row or group in a tensor beside it; what the recipe ignores stays as it is.
"""

import json
import pathlib

import numpy as np
from make_hf import DTYPES
from safetensors import TensorSpec, deserialize, serialize_file

NUMPY = {"F32": "<f4", "F16": "<f2", "I8": "i1"}


def load(path):
    """name → array, BF16 as the f32 that it is. (safetensors.numpy knows no BF16.)"""
    out = {}
    for name, t in deserialize(pathlib.Path(path).read_bytes()):
        if t["dtype"] == "BF16":
            values = (np.frombuffer(t["data"], "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(t["data"], NUMPY[t["dtype"]])
        out[name] = values.reshape(t["shape"])
    return out


def rounded(values, dtype):
    """To what the dtype holds, as f32."""
    if dtype == "F16":
        return values.astype(np.float16).astype(np.float32)
    if dtype == "BF16":
        bits = values.astype(np.float32).view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)
    return values.astype(np.float32)


def integers(w, group, scale_dtype, affine):
    """(q, scales, zero points): all 256 levels are used, as by compressed-tensors' own observer."""
    n, k = w.shape
    g = w.reshape(n, -1, group or k)
    if affine:
        low, high = np.minimum(g.min(axis=-1), 0), np.maximum(g.max(axis=-1), 0)
        scale = rounded((high - low) / 255, scale_dtype)
        zero = np.clip(np.rint(-128 - low / scale), -128, 127)
    else:
        scale = rounded(np.abs(g).max(axis=-1) / 127.5, scale_dtype)
        zero = np.zeros_like(scale)
    q = np.clip(np.rint(g / scale[..., None]) + zero[..., None], -128, 127)
    return q.reshape(n, k).astype(np.int8), scale, zero.astype(np.int8)


def scheme(group, affine, act_affine):
    """The config_groups entry."""
    shared = {"num_bits": 8, "type": "int", "block_structure": None, "observer_kwargs": {}}
    weights = {**shared, "symmetric": not affine, "strategy": "group" if group else "channel", "dynamic": False}
    inputs = {**shared, "symmetric": not act_affine, "strategy": "token", "dynamic": True, "observer": None, "group_size": None}
    return {
        "targets": ["Linear"],
        "weights": {**weights, "group_size": group or None, "observer": "minmax", "actorder": None},
        "input_activations": inputs,
        "output_activations": None,
    }


def raw(values, dtype):
    if dtype == "BF16":
        return (values.view(np.uint32) >> 16).astype("<u2")
    return values.astype(NUMPY[dtype])


def compress(folder, group=0, scale_dtype="BF16", affine=False, act_affine=False, ignore=("lm_head",), floats="F32"):
    """group: inputs that share a scale; 0: a row. ignore: parts of the names of modules that stay floats, then of that
    dtype."""
    folder = pathlib.Path(folder)
    out = {}
    for name, w in load(folder / "model.safetensors").items():
        module, _, kind = name.rpartition(".")
        linear = kind == "weight" and module.endswith(("_proj", "lm_head")) and not any(part in module for part in ignore)
        if not linear:
            dtype = floats if w.ndim == 2 else "F32"
            out[name] = (dtype, rounded(w, dtype))
            continue
        q, scale, zero = integers(w, group, scale_dtype, affine)
        out[name], out[f"{module}.weight_scale"] = ("I8", q), (scale_dtype, scale)
        if affine:
            out[f"{module}.weight_zero_point"] = ("I8", zero)
    kept = {name: np.ascontiguousarray(raw(values, dtype)) for name, (dtype, values) in out.items()}
    types = {**DTYPES, "I8": "int8"}
    serialize_file(
        {
            name: TensorSpec(dtype=types[out[name][0]], shape=list(out[name][1].shape), data_ptr=a.ctypes.data, data_len=a.nbytes)
            for name, a in kept.items()
        },
        folder / "model.safetensors",
        {"format": "pt"},
    )
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": scheme(group, affine, act_affine)},
        "ignore": list(ignore),
        "kv_cache_scheme": None,
        "sparsity_config": {},
        "transform_config": {},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
