#!/usr/bin/env python3
"""Seeds of fuzz_model: whole models as small as they can be, as f32, in octet's schemes and as Q8_0.

    make_model_seeds.py OCTET DIR      OCTET: the octet command; needs tests/requirements.txt
"""

import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import make_tiny  # noqa: E402

SMALL = {"d_model": 32, "d_ff": 32, "n_layer": 1, "n_vocab": 264, "tied": True}
SEEDS = {
    "llama": make_tiny.Spec(**SMALL, n_head=2, n_kv=1, head_dim=16, rope_linear=2.0),
    "qwen2": make_tiny.Spec(**SMALL, arch="qwen2", bias=True, n_head=1, n_kv=1, head_dim=32, pre="qwen2"),
}

octet, folder = sys.argv[1:]
os.makedirs(folder, exist_ok=True)
for name, spec in SEEDS.items():
    make_tiny.SPECS[name] = spec
    source = os.path.join(folder, name)
    make_tiny.make(name, source)
    for scheme in ("int8", "q8_0", "int4", "fast-affine-actaffine-f32"):
        subprocess.run([octet, "quantize", source, f"{source}-{scheme}", "--scheme", scheme], check=True, stdout=subprocess.DEVNULL)
