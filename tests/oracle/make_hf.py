"""A GGUF file's model as a Hugging Face directory, written with the `safetensors` package.

    make_hf.py FILE.gguf DIR [F32|F16|BF16] [SHARDS]

The way back of llama.cpp's convert_hf_to_gguf.py, so that octet's reader can be held against octet on the GGUF file:
names turned back, rows of a llama's q and k put back into halves, the tokenizer's keys spelled as tokenizer.json.
"""

import json
import pathlib
import re
import sys

import gguf
import numpy as np
from safetensors import TensorSpec, serialize_file

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
GLOBALS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
IN_LAYER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}

WORDS = r"'s|'t|'re|'ve|'m|'ll|'d"
LINES = rf"(?i:{WORDS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|%s| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level(use_regex):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def split(pattern):
    isolated = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [isolated, byte_level(False)]}


PRE_TOKENIZERS = {
    "gpt-2": byte_level(True),
    "smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level(True)]},
    "llama-bpe": split(LINES % r"\p{N}{1,3}"),
    "qwen2": split(LINES % r"\p{N}"),
}


class Source:
    """What a GGUF file says."""

    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)
        self.arch = self.get("general.architecture")
        self.heads = self.get(f"{self.arch}.attention.head_count")
        self.kv = self.get(f"{self.arch}.attention.head_count_kv")

    def get(self, key, fallback=None):
        field = self.reader.fields.get(key)
        return field.contents() if field else fallback

    def of_arch(self, name, fallback=None):
        return self.get(f"{self.arch}.{name}", fallback)

    def tensors(self):
        """name → f32 in Hugging Face's names, shapes and row order."""
        out = {}
        for t in self.reader.tensors:
            if t.name == "rope_freqs.weight":
                continue
            values = gguf.dequantize(t.data, t.tensor_type).astype(np.float32)
            base, kind = t.name.rsplit(".", 1)
            layer = re.fullmatch(r"blk\.(\d+)\.(\w+)", base)
            if layer and self.arch == "llama" and layer[2] in ("attn_q", "attn_k"):
                values = halves(values, self.heads if layer[2] == "attn_q" else self.kv)
            out[f"model.layers.{layer[1]}.{IN_LAYER[layer[2]]}.{kind}" if layer else f"{GLOBALS[base]}.{kind}"] = values
        return out

    def config(self, dtype):
        head = self.of_arch("attention.key_length")
        scaling = self.of_arch("rope.scaling.factor")
        return {
            "architectures": [ARCHITECTURES[self.arch]],
            "model_type": self.arch,
            "hidden_size": self.of_arch("embedding_length"),
            "intermediate_size": self.of_arch("feed_forward_length"),
            "num_hidden_layers": self.of_arch("block_count"),
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv,
            **({"head_dim": head} if head else {}),
            "max_position_embeddings": self.of_arch("context_length"),
            "rms_norm_eps": float(np.float32(self.of_arch("attention.layer_norm_rms_epsilon"))),
            "rope_theta": self.of_arch("rope.freq_base"),
            "rope_scaling": {"type": "linear", "factor": scaling} if scaling else None,
            "vocab_size": len(self.get("tokenizer.ggml.tokens")),
            "tie_word_embeddings": not any(t.name == "output.weight" for t in self.reader.tensors),
            "hidden_act": "silu",
            "torch_dtype": DTYPES[dtype],
            "bos_token_id": self.get("tokenizer.ggml.bos_token_id"),
            "eos_token_id": self.get("tokenizer.ggml.eos_token_id"),
        }

    def tokenizer(self):
        tokens, types = self.get("tokenizer.ggml.tokens"), self.get("tokenizer.ggml.token_type")
        plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        added = [
            {"id": i, "content": token, "special": kind == gguf.TokenType.CONTROL, **plain}
            for i, (token, kind) in enumerate(zip(tokens, types, strict=True))
            if kind != gguf.TokenType.NORMAL
        ]
        return {
            "version": "1.0",
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": PRE_TOKENIZERS[self.get("tokenizer.ggml.pre")],
            "post_processor": None,
            "decoder": byte_level(True),
            "model": {
                "type": "BPE",
                "vocab": {token: i for i, token in enumerate(tokens)},
                "merges": self.get("tokenizer.ggml.merges"),
            },
        }


def halves(values, heads):
    """Rows 0 h/2 1 h/2+1 … of each head → 0 1 … h-1."""
    return values.reshape(heads, -1, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def stored(values, dtype):
    """The bytes of a dtype that holds the values as they are."""
    if dtype == "F32":
        return values.astype("<f4")
    if dtype == "F16":
        out = values.astype("<f2")
        assert np.array_equal(out.astype(np.float32), values)
        return out
    bits = values.astype("<f4").view("<u4")
    assert not (bits & 0xFFFF).any()
    return (bits >> 16).astype("<u2")


def save(tensors, path, dtype_of):
    kept = {name: np.ascontiguousarray(stored(values, dtype_of(values))) for name, values in tensors.items()}
    serialize_file(
        {
            name: TensorSpec(
                dtype=DTYPES[dtype_of(tensors[name])], shape=list(tensors[name].shape), data_ptr=a.ctypes.data, data_len=a.nbytes
            )
            for name, a in kept.items()
        },
        path,
        {"format": "pt"},
    )


def make(source, folder, dtype="F32", n_shards=1, config=None, tokenizer=None, more=None):
    """config, tokenizer: functions that change the JSON before it is written. more: further files, name → JSON."""
    source, folder = Source(source), pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = {"config.json": source.config(dtype), "tokenizer.json": source.tokenizer()}
    for name, change in (("config.json", config), ("tokenizer.json", tokenizer)):
        if change:
            change(files[name])
    tensors = source.tensors()

    def dtype_of(values):
        return dtype if values.ndim == 2 else "F32"

    if n_shards == 1:
        save(tensors, folder / "model.safetensors", dtype_of)
    else:
        names = list(tensors)
        parts = [f"model-{i + 1:05}-of-{n_shards:05}.safetensors" for i in range(n_shards)]
        for i, part in enumerate(parts):
            save({name: tensors[name] for name in names[i::n_shards]}, folder / part, dtype_of)
        total = sum(v.nbytes for v in tensors.values())
        where = {name: parts[i % n_shards] for i, name in enumerate(names)}
        files["model.safetensors.index.json"] = {"metadata": {"total_size": total}, "weight_map": where}
    for name, content in {**files, **(more or {})}.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 5:
        sys.exit(__doc__)
    make(sys.argv[1], sys.argv[2], *sys.argv[3:4], *map(int, sys.argv[4:5]))
