"""A transformer in float64, slow and plain: the truth that octet's engine is held against.

Written from the papers, not from octet's code: RMSNorm (Zhang & Sennrich 2019), rotary positions (Su et al. 2021),
grouped queries (Ainslie et al. 2023), SwiGLU (Shazeer 2020). Only the reading of the file comes from elsewhere: the
`gguf` package finds and dequantizes the tensors.

    oracle.py logits MODEL IDS.json OUT.npy     scores of every position, float64 [n][vocabulary]
    oracle.py greedy MODEL IDS.json N           prints the N ids that follow, as JSON
"""

import json
import sys

import gguf
import numpy as np


class File:
    """Metadata and float64 tensors of a GGUF file; remembers which tensors nobody asked for."""

    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)
        self.tensors = {t.name: t for t in self.reader.tensors}
        self.unread = set(self.tensors)
        self.arch = self.get("general.architecture")

    def get(self, key, default=None):
        field = self.reader.get_field(key)
        return default if field is None else field.contents()

    def arch_get(self, key, default=None):
        value = self.get(f"{self.arch}.{key}", default)
        if value is None:
            raise ValueError(f"{self.arch}.{key} is missing")
        return value

    def tensor(self, name, optional=False):
        """Row-major with K last, as GGUF means it; None if optional and absent."""
        found = self.tensors.get(name)
        if found is None:
            if optional:
                return None
            raise ValueError(f"tensor {name} is missing")
        self.unread.discard(name)
        values = gguf.quants.dequantize(found.data, found.tensor_type)
        return values.reshape([int(n) for n in found.shape[::-1]]).astype(np.float64)


class Linear:
    """A file may have another class for it, which says how it multiplies."""

    def __new__(cls, file, name):
        return super().__new__(getattr(file, "linear", cls))

    def __init__(self, file, name):
        self.weight = file.tensor(name + ".weight")
        self.bias = file.tensor(name + ".bias", optional=True)

    def __call__(self, x):
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias


class Rope:
    """Rotates pairs of a head by position * base^(-2i/d).

    A llama file pairs neighbours (2i, 2i+1), since its converter reordered the rows of q and k so; a qwen2 file
    pairs the halves (i, i + d/2). Linear scaling divides the position; llama3's divides each frequency by its
    own factor, which the file holds as the tensor rope_freqs.weight."""

    def __init__(self, file, head_dim):
        self.halves = file.arch == "qwen2"
        self.dims = int(file.arch_get("rope.dimension_count", head_dim))
        base = float(file.arch_get("rope.freq_base", 10000.0))
        self.freqs = base ** (-np.arange(0, self.dims, 2, dtype=np.float64) / self.dims)
        scaling = file.arch_get("rope.scaling.type", "none")
        if scaling == "linear":
            self.freqs /= float(file.arch_get("rope.scaling.factor"))
        elif scaling != "none":
            raise ValueError(f"rope scaling {scaling} is not built")
        if file.arch == "llama":
            factors = file.tensor("rope_freqs.weight", optional=True)
            if factors is not None:
                self.freqs /= factors

    def __call__(self, x, positions):
        """x [n][heads][head_dim]"""
        angle = positions[:, None, None] * self.freqs
        cos, sin = np.cos(angle), np.sin(angle)
        if self.halves:
            first, second = slice(0, self.dims // 2), slice(self.dims // 2, self.dims)
        else:
            first, second = slice(0, self.dims, 2), slice(1, self.dims, 2)
        y = x.copy()
        y[..., first] = x[..., first] * cos - x[..., second] * sin
        y[..., second] = x[..., first] * sin + x[..., second] * cos
        return y


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Layer:
    def __init__(self, file, index):
        name = f"blk.{index}."
        self.norm1 = file.tensor(name + "attn_norm.weight")
        self.q, self.k, self.v, self.o = (
            Linear(file, name + part) for part in ("attn_q", "attn_k", "attn_v", "attn_output")
        )
        self.norm2 = file.tensor(name + "ffn_norm.weight")
        self.gate, self.up, self.down = (
            Linear(file, name + part) for part in ("ffn_gate", "ffn_up", "ffn_down")
        )


class Model:
    def __init__(self, path, file=None):
        file = file or File(path)
        if file.arch not in ("llama", "qwen2"):
            raise ValueError(f"architecture {file.arch} is not built")
        self.n_head = int(file.arch_get("attention.head_count"))
        self.n_kv = int(file.arch_get("attention.head_count_kv", self.n_head))
        self.eps = float(file.arch_get("attention.layer_norm_rms_epsilon"))
        self.embed = file.tensor("token_embd.weight")
        self.layers = [Layer(file, i) for i in range(int(file.arch_get("block_count")))]
        self.norm = file.tensor("output_norm.weight")
        head = file.tensor("output.weight", optional=True)
        self.head = self.embed if head is None else head
        smooth = file.tensor("token_embd.octet_smooth", optional=True)
        if smooth is not None:  # the head's columns were multiplied by it
            self.embed = self.embed / smooth
        self.head_input = file.head_input() if hasattr(file, "head_input") else lambda x: x
        self.head_dim = self.layers[0].q.weight.shape[0] // self.n_head
        self.rope = Rope(file, self.head_dim)
        if file.unread:
            raise ValueError(f"tensors that nothing reads: {sorted(file.unread)}")

    def rms(self, x, weight):
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.eps) * weight

    def attention(self, q, k, v, positions):
        """q [n][n_head][d] over k, v [past + n][n_kv][d]: each position sees itself and what came before."""
        group = self.n_head // self.n_kv
        seen = np.arange(len(k))[None, :] <= positions[:, None]
        out = np.empty_like(q)
        for h in range(self.n_head):
            scores = q[:, h] @ k[:, h // group].T / np.sqrt(self.head_dim)
            out[:, h] = softmax(np.where(seen, scores, -np.inf)) @ v[:, h // group]
        return out.reshape(len(q), -1)

    def run(self, ids, cache=None):
        """Hidden states [n][d] of ids that follow what cache (a list, filled here) already holds."""
        cache = [] if cache is None else cache
        past = len(cache[0][0]) if cache else 0
        n = len(ids)
        positions = np.arange(past, past + n)
        x = self.embed[np.asarray(ids)]
        for i, layer in enumerate(self.layers):
            h = self.rms(x, layer.norm1)
            q = self.rope(layer.q(h).reshape(n, self.n_head, -1), positions)
            k = self.rope(layer.k(h).reshape(n, self.n_kv, -1), positions)
            v = layer.v(h).reshape(n, self.n_kv, -1)
            if past:
                k, v = np.concatenate([cache[i][0], k]), np.concatenate([cache[i][1], v])
                cache[i] = (k, v)
            else:
                cache.append((k, v))
            x = x + layer.o(self.attention(q, k, v, positions))
            h = self.rms(x, layer.norm2)
            gate = layer.gate(h)
            x = x + layer.down(gate / (1 + np.exp(-gate)) * layer.up(h))
        return self.rms(x, self.norm)

    def logits(self, ids):
        return self.head_input(self.run(ids)) @ self.head.T

    def greedy(self, ids, n):
        """The n ids that follow, and by how much each beat the runner-up."""
        cache, out, margins = [], [], []
        step = list(ids)
        for _ in range(n):
            scores = self.run(step, cache)[-1] @ self.head.T
            best = int(scores.argmax())
            out.append(best)
            margins.append(float(scores[best] - np.partition(scores, -2)[-2]))
            step = [best]
        return out, margins


def main(args):
    if len(args) != 4 or args[0] not in ("logits", "greedy"):
        sys.exit(__doc__)
    command, path, ids_path, last = args
    with open(ids_path, encoding="utf-8") as f:
        ids = json.load(f)
    model = Model(path)
    if command == "logits":
        np.save(last, model.logits(ids))
    else:
        print(json.dumps(model.greedy(ids, int(last))[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
