"""Remake greedy.json: make_greedy.py MODEL LLAMA_LOGITS (see README.md). A few minutes.

llama.cpp turns the texts into ids; what follows them is the float64 oracle's."""

import hashlib
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../oracle"))
import oracle  # noqa: E402
from make_golden import escape  # noqa: E402

N = 64

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a village at the edge of a great forest,",
    "def fibonacci(n):\n    ",
    "The three laws of thermodynamics say that",
    "To bake a loaf of bread you need",
    "In 1969, two people",
    "Q: What is the largest planet of the solar system?\nA:",
    "The quick brown fox",
    "#include <stdio.h>\n\nint main(void)\n{\n",
    "Dear Sir or Madam,\n\nI am writing to",
    "Photosynthesis is the process by which",
    "Les enfants jouent dans",
    "1, 2, 4, 8, 16,",
    "The difference between a virus and a bacterium is",
    "SELECT name, price FROM products WHERE",
    "She opened the old wooden box and found",
    "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWrite a haiku about rain.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>system\nYou answer in one sentence.<|im_end|>\n<|im_start|>user\nWhat is a compiler?<|im_end|>\n"
    "<|im_start|>assistant\n",
    "<|im_start|>user\nList three uses for a brick.<|im_end|>\n<|im_start|>assistant\n",
]

# Texts whose every position is compared; the oracle computes their logits when the test runs.
TEXTS = [
    "The lighthouse keeper had lived alone on the island for eleven years, and in all that time he had never once let "
    "the lamp go out. Every evening he climbed the hundred and twelve steps, trimmed the wick, and watched the ships "
    "pass far out in the channel.",
    "for (size_t i = 0; i < n; i++) {\n    if (a[i] > best)\n        best = a[i];\n}\nreturn best; /* 3.14159 */\n",
    "Der Fluss tritt jedes Fr\u00fchjahr \u00fcber die Ufer \u2014 \u0438 \u043d\u0438\u043a\u0442\u043e "
    "\u043d\u0435 \u0443\u0434\u0438\u0432\u043b\u044f\u0435\u0442\u0441\u044f. \u6771\u4eac\u3067\u306f\u96ea\u304c"
    "\u964d\u3063\u305f \U0001f328\ufe0f  (2024-02-05, -3 \u00b0C).",
]


def tokenize(llama_logits, model, texts):
    """Ids of each text, special tokens parsed, no BOS."""
    lines = "".join(escape(text) + "\n" for text in texts)
    told = subprocess.run(
        [llama_logits, model, os.devnull, "0"], input="0\n" + lines, check=True, capture_output=True, text=True
    ).stdout.split("\n")
    return [[int(id) for id in line.split()] for line in told[2 : 2 + len(texts)]]


def main(args):
    if len(args) != 2:
        sys.exit(__doc__)
    path, llama_logits = args
    ids = tokenize(llama_logits, path, PROMPTS + TEXTS)
    model = oracle.Model(path)
    rows = []
    for text, prompt in zip(PROMPTS, ids):
        out, leads = model.greedy(prompt, N)
        rows.append({"prompt": text, "ids": prompt, "greedy": out, "lead": [round(lead, 6) for lead in leads]})
    with open(path, "rb") as f:
        sha = hashlib.file_digest(f, "sha256").hexdigest()
    texts = [{"text": text, "ids": some} for text, some in zip(TEXTS, ids[len(PROMPTS) :])]
    with open(os.path.join(HERE, "greedy.json"), "w", encoding="utf-8") as f:
        f.write(f'{{"sha256": "{sha}",\n"prompts": [\n')
        f.write(",\n".join(map(json.dumps, rows)) + '\n],\n"texts": [\n')
        f.write(",\n".join(map(json.dumps, texts)) + "\n]}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
