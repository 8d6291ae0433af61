"""Remake tiny.json from llama.cpp: make_golden.py LLAMA_CPP_DIR LLAMA_LOGITS (see README.md)."""

import base64
import gzip
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../oracle"))
import make_tiny  # noqa: E402

N_IDS = 150  # beyond two pages and attention blocks of 64
N_GREEDY = 32
TEXTS = [
    "the cat sat on the mat",
    " Hello  world!   123456 7",
    "na\u00efve caf\u00e9 \u2014 \u65e5\u672c\u8a9e \U0001f600",
    "it's they're I'LL \tx",
    "<|im_start|>user\n\n\nhi \\ there<|im_end|>\n",
    "",
]


def escape(text):
    """A text as one line, the way llama_logits takes it."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def run_model(name, quantize, llama_logits, dir):
    spec = make_tiny.SPECS[name]
    path = os.path.join(dir, name + ".gguf")
    sha = make_tiny.make(name, path)
    f32 = path
    if name.startswith("type-"):
        f32 = os.path.join(dir, name + ".f32.gguf")
        subprocess.run([quantize, "--allow-requantize", path, f32, "F32"], check=True, capture_output=True)
    rng = np.random.Generator(np.random.PCG64(len(name)))
    ids = rng.integers(0, spec.n_vocab, N_IDS).tolist()
    lines = [" ".join(map(str, ids)), *map(escape, TEXTS)]
    out = os.path.join(dir, "logits.f32")
    told = subprocess.run(
        [llama_logits, f32, out, str(N_GREEDY)],
        input="".join(line + "\n" for line in lines), check=True, capture_output=True, text=True,
    ).stdout.split("\n")
    logits = np.fromfile(out, dtype="<f4").reshape(N_IDS, spec.n_vocab)
    kept = [0, N_IDS - 1] if f32 != path else [0, 1, 31, 63, 64, 65, 100, 127, 128, N_IDS - 1]
    best = np.argsort(-logits, axis=1, kind="stable")[:, :3]
    return {
        "sha256": sha,
        "ids": ids,
        "best": [
            [[int(i), round(float(row[i]), 5)] for i in top] for row, top in zip(logits, best)
        ],
        "positions": kept,
        "logits": base64.b64encode(gzip.compress(logits[kept].tobytes(), mtime=0)).decode(),
        "greedy": [int(id) for id in told[0].split()],
        "greedy_lead": [float(lead) for lead in told[1].split()],
        "texts": [[text, [int(id) for id in line.split()]] for text, line in zip(TEXTS, told[2:])],
    }


def main(args):
    if len(args) != 2:
        sys.exit(__doc__)
    llama, llama_logits = args
    commit = subprocess.run(
        ["git", "-C", llama, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    quantize = os.path.join(llama, "build/bin/llama-quantize")
    with tempfile.TemporaryDirectory() as dir:
        models = {name: run_model(name, quantize, llama_logits, dir) for name in make_tiny.SPECS}
    # One model, one line: a change of one shows as one.
    body = ",\n".join(f"{json.dumps(name)}: {json.dumps(told)}" for name, told in models.items())
    with open(os.path.join(HERE, "tiny.json"), "w", encoding="utf-8") as f:
        f.write(f'{{"llama.cpp": "{commit}",\n"models": {{\n{body}\n}}}}\n')


if __name__ == "__main__":
    main(sys.argv[1:])
