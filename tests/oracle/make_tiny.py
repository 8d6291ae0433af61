"""Tiny random models with what the default model lacks, made alike on every machine.

    make_tiny.py DIR [NAME …]     writes DIR/NAME.gguf for the named models, or all, and prints their SHA-256

The weights come from integers of a seeded generator and exactly rounded operations, so no libm and no CPU can change
a byte. Matrices are scaled so that scores spread over several units: the best token is rarely close to the next.
"""

import hashlib
import os
import sys
import zlib
from dataclasses import dataclass, field

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

TEXT = (
    "the cat sat on the mat and the rat sat on the cat. there is nothing like the weather in the north: "
    "rain, then more rain, then the sun. she said that they had seen the ship and the lantern on the shore. "
    "what other reason would there be to stand in the cold and wait for another answer?"
)

BPE_CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
NORMAL, UNKNOWN, CONTROL, BYTE = (
    int(gguf.TokenType[name]) for name in ("NORMAL", "UNKNOWN", "CONTROL", "BYTE")
)


@dataclass
class Spec:
    """One model. Rows of a matrix are outputs, columns its K."""

    arch: str = "llama"
    d_model: int = 128
    d_ff: int = 192
    n_layer: int = 2
    n_head: int = 4
    n_kv: int = 2
    head_dim: int = 32
    n_vocab: int = 328
    tied: bool = False
    bias: bool = False
    type: T = T.F32
    pre: str = "gpt-2"  # "": SentencePiece
    rope_base: float = 10000.0
    rope_linear: float = 0.0  # the factor; 0: none
    rope_freqs: list = field(default_factory=list)
    seed: int = 0  # beside the name: changed where a greedy continuation met a tie


# Shaped like llama3's: fast dimensions untouched, slow ones eight times slower, a ramp between.
LLAMA3_FREQS = [1, 1, 1.125, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 8, 8, 8]

ONE_TYPE = {"d_model": 256, "d_ff": 256, "n_layer": 1, "head_dim": 64, "n_vocab": 300, "tied": True}

SPECS = {
    "llama-untied-linear": Spec(rope_linear=4.0),
    "llama3-freqs": Spec(rope_freqs=LLAMA3_FREQS, tied=True, pre="llama-bpe", d_ff=160, n_kv=1),
    "qwen2-untied": Spec(arch="qwen2", bias=True, pre="qwen2", rope_base=1000000.0),
    "qwen2-tied": Spec(arch="qwen2", bias=True, pre="qwen2", tied=True, n_kv=4, n_vocab=317, seed=1),
    "llama-spm": Spec(pre="", head_dim=64, n_head=2, n_kv=1, n_vocab=352),
    # Widths that blocks of 64 do not divide: 160 = 5 x 32, 288 = 9 x 32; 200 and 300 not even by 32.
    "head80": Spec(d_model=160, d_ff=288, n_layer=1, n_head=2, n_kv=1, head_dim=80, n_vocab=331, tied=True, pre="smollm"),
    "head96": Spec(d_model=192, d_ff=224, n_layer=1, n_head=2, n_kv=1, head_dim=96, n_vocab=303),
    "head100": Spec(d_model=200, d_ff=300, n_layer=1, n_head=2, n_kv=1, head_dim=100, n_vocab=301, tied=True, pre="default"),
    # Heads that together are wider than the model.
    "head-wide": Spec(d_model=96, d_ff=160, n_head=3, n_kv=1, head_dim=64, n_vocab=290),
    "type-f16": Spec(**ONE_TYPE, type=T.F16),
    "type-bf16": Spec(**ONE_TYPE, type=T.BF16),
    "type-q8_0": Spec(**ONE_TYPE, type=T.Q8_0),
    "type-q4_0": Spec(**ONE_TYPE, type=T.Q4_0),
    "type-q4_1": Spec(**ONE_TYPE, type=T.Q4_1),
    "type-q5_0": Spec(**ONE_TYPE, type=T.Q5_0),
    "type-q5_1": Spec(**ONE_TYPE, type=T.Q5_1),
    "type-q4_k": Spec(**ONE_TYPE, type=T.Q4_K),
    "type-q5_k": Spec(**ONE_TYPE, type=T.Q5_K),
    "type-q6_k": Spec(**ONE_TYPE, type=T.Q6_K, seed=1),
}


class Weights:
    """Random tensors of one model, in the order they are asked for."""

    def __init__(self, seed):
        self.rng = np.random.Generator(np.random.PCG64(seed))

    def spread(self, shape, deviation):
        """Nearly normal values: sums of four uniform integers, exact until the one rounding to f32."""
        sums = self.rng.integers(-1000, 1001, size=(4, *shape), dtype=np.int64).sum(axis=0)
        return (sums * (deviation / 1155.0)).astype(np.float32)  # 1155: the deviation of such a sum

    def blocks(self, rows, columns, deviation, kind):
        """Random valid blocks of a type that the gguf package reads but does not write."""
        _, size = gguf.GGML_QUANT_SIZES[kind]
        out = self.rng.integers(0, 256, size=(rows, columns // 256, size), dtype=np.uint8)
        if kind == T.Q6_K:  # d * scale * (q - 32): scales of deviation 74, quants of 18.5
            out[..., 208:210] = half(deviation / (74 * 18.5))
        else:  # d * scale * q - dmin * min, scale and min 0..63: dmin is d times the mean of q, so that means cancel
            mean = 7.5 if kind == T.Q4_K else 15.5
            d = deviation / (mean * 32)
            out[..., 0:2], out[..., 2:4] = half(d), half(d * mean)
        return out.reshape(rows, -1)


def half(value):
    return np.array([value], dtype="<f2").view(np.uint8)


def train_merges(words, count):
    """Byte-pair merges learnt from words (lists of symbols): most frequent pair first, then the least."""
    merges = []
    while len(merges) < count:
        pairs = {}
        for word in words:
            for pair in zip(word, word[1:]):
                pairs[pair] = pairs.get(pair, 0) + 1
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = [merge_word(word, best) for word in words]
    return merges


def merge_word(word, pair):
    out = []
    for symbol in word:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return out


def byte_letters():
    """The printable letter that byte-level BPE writes for each byte (GPT-2's table)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    return {b: chr(b) for b in shown} | {b: chr(256 + i) for i, b in enumerate(hidden)}


def add_bpe(writer, spec):
    letters = byte_letters()
    words = [
        [letters[b] for b in (" " * (i > 0) + word).encode()] for i, word in enumerate(TEXT.split(" "))
    ]
    wanted = spec.n_vocab - 256 - len(BPE_CONTROL)
    merges = train_merges(words, wanted)
    tokens = BPE_CONTROL + [letters[b] for b in range(256)] + [a + b for a, b in merges]
    assert len(tokens) == len(set(tokens)) == spec.n_vocab
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(spec.pre)
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL] * len(BPE_CONTROL) + [NORMAL] * (len(tokens) - len(BPE_CONTROL)))
    writer.add_token_merges([f"{a} {b}" for a, b in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def add_spm(writer, spec):
    words = [list("\u2581" + word) for word in TEXT.split(" ")]
    letters = sorted({letter for word in words for letter in word})
    merges = train_merges(words, spec.n_vocab - 259 - len(letters))
    pieces = [a + b for a, b in merges] + letters
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + pieces
    assert len(tokens) == len(set(tokens)) == spec.n_vocab
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(i) for i in range(len(pieces))])
    writer.add_token_types([UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * len(pieces))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(True)


def add_metadata(writer, name, spec):
    writer.add_name(name)
    writer.add_context_length(1024)
    writer.add_embedding_length(spec.d_model)
    writer.add_block_count(spec.n_layer)
    writer.add_feed_forward_length(spec.d_ff)
    writer.add_head_count(spec.n_head)
    writer.add_head_count_kv(spec.n_kv)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(spec.rope_base)
    writer.add_vocab_size(spec.n_vocab)
    if spec.arch == "llama":
        writer.add_rope_dimension_count(spec.head_dim)
    if spec.head_dim * spec.n_head != spec.d_model:
        writer.add_key_length(spec.head_dim)
        writer.add_value_length(spec.head_dim)
    if spec.rope_linear:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(spec.rope_linear)


def add_matrix(writer, weights, spec, name, rows, columns, gain):
    deviation = gain / columns**0.5
    if spec.type in (T.Q4_K, T.Q5_K, T.Q6_K):
        data = weights.blocks(rows, columns, deviation, spec.type)
    else:
        data = weights.spread((rows, columns), deviation)
        if spec.type != T.F32:
            data = gguf.quants.quantize(data, spec.type)
    writer.add_tensor(name, data, raw_dtype=spec.type)


def add_tensors(writer, weights, spec):
    d, heads, kv = spec.d_model, spec.n_head * spec.head_dim, spec.n_kv * spec.head_dim

    def matrix(name, rows, columns, gain, bias=False):
        add_matrix(writer, weights, spec, name + ".weight", rows, columns, gain)
        if bias:
            writer.add_tensor(name + ".bias", weights.spread((rows,), 0.5))

    def norm(name, gain=1.0):
        writer.add_tensor(name + ".weight", gain * (1 + weights.spread((d,), 0.2)))

    matrix("token_embd", spec.n_vocab, d, 1.0)  # small, so that a tied head does not just repeat its input
    for i in range(spec.n_layer):
        norm(f"blk.{i}.attn_norm")
        matrix(f"blk.{i}.attn_q", heads, d, 1.5, spec.bias)
        matrix(f"blk.{i}.attn_k", kv, d, 1.5, spec.bias)
        matrix(f"blk.{i}.attn_v", kv, d, 1.0, spec.bias)
        matrix(f"blk.{i}.attn_output", d, heads, 1.0)
        norm(f"blk.{i}.ffn_norm")
        matrix(f"blk.{i}.ffn_gate", spec.d_ff, d, 1.5)
        matrix(f"blk.{i}.ffn_up", spec.d_ff, d, 1.5)
        matrix(f"blk.{i}.ffn_down", d, spec.d_ff, 1.0)
    norm("output_norm", 4.0)
    if not spec.tied:
        matrix("output", spec.n_vocab, d, 1.0)
    if spec.rope_freqs:
        writer.add_tensor("rope_freqs.weight", np.array(spec.rope_freqs, dtype=np.float32))


def make(name, path):
    """Write the model called name; returns the SHA-256 of the file."""
    spec = SPECS[name]
    writer = gguf.GGUFWriter(path + ".part", spec.arch)
    add_metadata(writer, name, spec)
    if spec.pre:
        add_bpe(writer, spec)
    else:
        add_spm(writer, spec)
    add_tensors(writer, Weights(zlib.crc32(name.encode()) + spec.seed), spec)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(path + ".part", path)
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def main(args):
    if not args or not set(args[1:]) <= set(SPECS):
        sys.exit(__doc__ + "\nNames: " + " ".join(SPECS))
    os.makedirs(args[0], exist_ok=True)
    for name in args[1:] or SPECS:
        print(make(name, os.path.join(args[0], name + ".gguf")), name)


if __name__ == "__main__":
    main(sys.argv[1:])
