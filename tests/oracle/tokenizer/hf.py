"""The Hugging Face `tokenizers` library over the vocabulary of a GGUF file, for each pre-tokenizer that GGUF names."""
import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

LINES = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def bytes_only():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def gpt2():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


# As the tokenizer.json of these families has them (openai-community/gpt2, HuggingFaceTB/SmolLM2, meta-llama/Llama-3,
# Qwen/Qwen2 without its NFC, which GGUF files know nothing of). "default" is GGUF's own list.
PRE = {
    "gpt-2": lambda: gpt2(),
    "smollm": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2()]),
    "llama-bpe": lambda: pre_tokenizers.Sequence([split(LINES % "{1,3}"), bytes_only()]),
    "qwen2": lambda: pre_tokenizers.Sequence([split(LINES % ""), bytes_only()]),
    "default": lambda: pre_tokenizers.Sequence([
        split(r"[\p{P}\$\+<=>\^~\|]+"),
        split(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"),
        split(r"\p{N}+"), split(r"[0-9][0-9][0-9]"), bytes_only()]),
}


class Vocab:
    """Tokens, types and merges of a GGUF file."""

    def __init__(self, path):
        fields = gguf.GGUFReader(path).fields
        self.tokens = fields["tokenizer.ggml.tokens"].contents()
        self.types = fields["tokenizer.ggml.token_type"].contents()
        self.merges = fields["tokenizer.ggml.merges"].contents()

    def write(self, path, pre):
        """A vocabulary-only GGUF with another pre-tokenizer."""
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        writer.add_token_merges(self.merges)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()

    def tokenizer(self, pre, special=False):
        merges = [tuple(m.split(" ")) for m in self.merges]
        ids = {token: i for i, token in enumerate(self.tokens)}
        tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges, ignore_merges=pre == "llama-bpe"))
        tokenizer.pre_tokenizer = PRE[pre]()
        tokenizer.decoder = decoders.ByteLevel()
        if special:
            tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True)
                                          for t, kind in zip(self.tokens, self.types) if kind == 3])
        return tokenizer
