"""Write tests/unit/text/golden: tiny vocabularies of every kind that octet reads, texts, and llama.cpp's own ids for them.

    python3 tests/oracle/tokenizer/make_golden.py LLAMA_CPP/build/bin/llama-tokenize

Needs tests/requirements.txt. NAME.gguf: a vocabulary.  texts.bin: texts, each after its length (4 bytes, little-endian).
NAME.ids: a line of ids for each text; odd texts (counting from 0) have their control tokens parsed, even ones do not."""
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

import gguf
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

import hf
import lines

GOLDEN = pathlib.Path(__file__).parents[2] / "unit" / "text" / "golden"
NORMAL, UNKNOWN, CONTROL, USER, BYTE = 1, 2, 3, 4, 6
SEPARATOR = "<|sep|>"  # user-defined, so found in either mode: texts on both sides are tokenized apart
N_TEXTS = 160


def texts():
    """Short texts, half of them with names of special tokens. Without U+0000, and without </s, of which llama.cpp makes
    a control token whatever its type."""
    rng = random.Random(11)
    found = []
    for text in lines.lines(20000, seed=11):
        if len(text) > 60 or "\0" in text or "</s" in text:
            continue
        if rng.random() < 0.5:
            for name in rng.choices(["<|im_end|>", "<s>", "<unk>", "[[user]]", "<|im_", "<|im_start|>", "<|im_end|> "], k=2):
                at = rng.randint(0, len(text))
                text = text[:at] + name + text[at:]
        found.append(text)
        if len(found) == N_TEXTS:
            return found
    raise AssertionError("too few texts")


def byte_level():
    """A trained BPE, and words that no merges lead to: only llama-bpe, which looks for whole pieces first, finds those."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    trainer = trainers.BpeTrainer(vocab_size=560, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(lines.lines(3000, seed=12), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocab = hf.Vocab.__new__(hf.Vocab)
    vocab.tokens = sorted(model["vocab"], key=model["vocab"].get)
    vocab.merges = [" ".join(m) if isinstance(m, list) else m for m in model["merges"]]
    whole = [w for w in ("Ġwould", "Ġback", "HTTPServer", "Ġnaïve".replace("ï", "Ã¯"), "ðŁĺĢ", ":Ċ") if w not in vocab.tokens]
    vocab.tokens += whole
    vocab.types = [NORMAL] * len(vocab.tokens)
    for name, kind in [("<unk>", UNKNOWN), ("<s>", CONTROL), ("<|im_start|>", CONTROL), ("<|im_end|>", CONTROL),
                       ("[[user]]", USER), (SEPARATOR, USER)]:
        vocab.tokens.append(name)
        vocab.types.append(kind)
    return vocab


def pieces():
    """SentencePiece's kind: substrings of texts with every part of one way to merge them, scores with many ties."""
    rng = random.Random(13)
    found = {}

    def add(piece):
        found.setdefault(piece, -float(rng.randint(1, 60)))
        if len(piece) > 1:
            at = rng.randint(1, len(piece) - 1)
            add(piece[:at])
            add(piece[at:])

    sample = [t.replace(" ", "\u2581") for t in lines.lines(2000, seed=14)]
    while len(found) < 500:
        text = rng.choice(sample)
        at = rng.randrange(len(text))
        piece = text[at:at + rng.randint(2, 6)]
        if piece.isprintable() and "<" not in piece and "\ufffd" not in piece:
            add(piece)
    tokens = [("<unk>", UNKNOWN, 0.0), ("<s>", CONTROL, 0.0), ("</s>", CONTROL, 0.0), ("[[user]]", USER, 0.0),
              (SEPARATOR, USER, 0.0), ("<|im_end|>", CONTROL, 0.0)]
    tokens += [(f"<0x{b:02X}>", BYTE, 0.0) for b in range(256)]
    tokens += [(piece, NORMAL, score) for piece, score in found.items()]
    return tokens


def write_pieces(path, tokens, space_first):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([t for t, _, _ in tokens])
    writer.add_token_types([k for _, k, _ in tokens])
    writer.add_token_scores([s for _, _, s in tokens])
    if not space_first:
        writer.add_add_space_prefix(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def ask(program, model, some, separator_id, *flags):
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write("".join(t + SEPARATOR for t in some).encode())
        file.flush()
        done = subprocess.run([program, "-m", model, "-f", file.name, "--ids", "--no-bos", "--no-escape", "--log-disable", *flags],
                              capture_output=True, check=True)
    found = [[]]
    for i in json.loads(done.stdout.decode().strip().splitlines()[-1]):
        if i == separator_id:
            found.append([])
        else:
            found[-1].append(i)
    assert len(found) == len(some) + 1 and not found[-1], (model, len(found))
    return found[:-1]


def main():
    program = sys.argv[1]
    some = texts()
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / "texts.bin").write_bytes(b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in some))
    separators = {}
    vocab = byte_level()
    for pre in hf.PRE:
        vocab.write(str(GOLDEN / f"{pre}.gguf"), pre)
        separators[pre] = vocab.tokens.index(SEPARATOR)
    tokens = pieces()
    for name, space_first in (("pieces", True), ("pieces-no-prefix", False)):
        write_pieces(str(GOLDEN / f"{name}.gguf"), tokens, space_first)
        separators[name] = [t for t, _, _ in tokens].index(SEPARATOR)
    for name, separator in separators.items():
        model = str(GOLDEN / f"{name}.gguf")
        plain = ask(program, model, some[0::2], separator, "--no-parse-special")
        special = ask(program, model, some[1::2], separator)
        both = [ids for pair in zip(plain, special) for ids in pair]
        (GOLDEN / f"{name}.ids").write_text("".join(" ".join(map(str, ids)) + "\n" for ids in both))


if __name__ == "__main__":
    main()
