"""Write the JSON of small Hugging Face directories, three files with a NUL after each, into a folder: seeds for fuzz_hf.

    python3 tests/fuzz/make_hf_seeds.py FOLDER
"""

import hashlib
import json
import pathlib
import sys

LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 4, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
    "rope_theta": 1e4, "vocab_size": 7, "tie_word_embeddings": True, "hidden_act": "silu", "eos_token_id": [4, 5],
}  # fmt: skip
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
DIGITS = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTES]}
SPLIT = {"type": "Split", "pattern": {"Regex": "\\p{N}"}, "behavior": "Isolated", "invert": False}
TOKENIZER = {
    "added_tokens": [{"id": 4, "content": "<e>", "special": True}, {"id": 5, "content": "<|x|>", "special": False}],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": BYTES,
    "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<e>"}}, {"Sequence": {}}]},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "abb": 3}, "merges": ["a b", ["ab", "b"]]},
}
TOKENIZER_CONFIG = {
    "bos_token": "<e>", "eos_token": {"content": "<|x|>"}, "add_bos_token": True,
    "chat_template": [{"name": "default", "template": "{{ x }}"}],
}  # fmt: skip
COMPRESSED = {
    "quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {"group_0": {
        "weights": {"num_bits": 8, "type": "int", "symmetric": False, "strategy": "group", "group_size": 128},
        "input_activations": {"num_bits": 8, "dynamic": True, "strategy": "token", "symmetric": True}}},
}  # fmt: skip

SEEDS = [
    (CONFIG, TOKENIZER, TOKENIZER_CONFIG),
    ({**CONFIG, "architectures": ["Qwen2ForCausalLM"], "head_dim": 16}, {**TOKENIZER, "pre_tokenizer": DIGITS}, {}),
    ({**CONFIG, "rope_scaling": {"type": "linear", "factor": 2}}, {**TOKENIZER, "post_processor": None}, {}),
    ({**CONFIG, "rope_parameters": LLAMA3}, {**TOKENIZER, "pre_tokenizer": {**DIGITS, "pretokenizers": [SPLIT, BYTES]}}, {}),
    ({**CONFIG, "tie_word_embeddings": False, "quantization_config": COMPRESSED}, TOKENIZER, {}),
    ({**CONFIG, "quantization_config": {"quant_method": "compressed-tensors"}}, TOKENIZER, {"chat_template": "x"}),
    ({}, {}, {}),
]


def main(folder):
    out = pathlib.Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    for files in SEEDS:
        seed = b"".join(json.dumps(f, separators=(",", ":")).encode() + b"\0" for f in files)
        (out / hashlib.sha1(seed).hexdigest()).write_bytes(seed)


if __name__ == "__main__":
    main(sys.argv[1]) if len(sys.argv) == 2 else sys.exit(__doc__)
