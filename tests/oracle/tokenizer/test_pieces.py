"""SentencePiece-style BPE against the rule itself, written down as plainly as it can be: join the pair of neighbours that
makes the token of the highest score, the leftmost of equals, until no pair makes a token. (Kudo and Richardson 2018.)

OCTET_TOKENIZE: the built tokenize_lines."""
import os
import random

import gguf
import pytest

from tokenize_lines import ids_of, round_trip

PROGRAM = os.environ.get("OCTET_TOKENIZE")
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
SPACE = "\u2581"
ALPHABETS = ["ab", "ab ", "abc \u2581", "aé中😀 ", "0123 \n\t"]

pytestmark = pytest.mark.skipif(not PROGRAM, reason="OCTET_TOKENIZE names what is tested")


class Pieces:
    """A random vocabulary: some characters, some strings of them, scores with ties."""

    def __init__(self, rng, alphabet, with_bytes, space_first):
        self.space_first = space_first
        chars = [c for c in alphabet.replace(" ", SPACE) if rng.random() < 0.85]
        strings = {"".join(rng.choices(alphabet.replace(" ", SPACE), k=rng.randint(2, 5))) for _ in range(rng.randint(5, 40))}
        self.tokens = [("<unk>", UNKNOWN, 0.0), ("<s>", CONTROL, 0.0), ("</s>", CONTROL, 0.0)]
        if with_bytes:
            self.tokens += [(f"<0x{b:02X}>", BYTE, 0.0) for b in range(256)]
        self.tokens += [(s, NORMAL, float(rng.randint(-6, 2))) for s in dict.fromkeys([*chars, *sorted(strings)])]
        self.ids = {t: i for i, (t, kind, _) in enumerate(self.tokens) if kind == NORMAL}
        self.bytes = {int(t[3:5], 16): i for i, (t, kind, _) in enumerate(self.tokens) if kind == BYTE}

    def write(self, path):
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_tokenizer_model("llama")
        writer.add_token_list([t for t, _, _ in self.tokens])
        writer.add_token_types([k for _, k, _ in self.tokens])
        writer.add_token_scores([s for _, _, s in self.tokens])
        writer.add_add_space_prefix(self.space_first)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()

    def encode(self, text):
        if not text:
            return []
        parts = list(((" " if self.space_first else "") + text).replace(" ", SPACE))
        while True:
            pairs = [(-self.tokens[self.ids[a + b]][2], i) for i, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in self.ids]
            if not pairs:
                break
            i = min(pairs)[1]
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
        ids = []
        for part in parts:
            if part in self.ids:
                ids.append(self.ids[part])
            elif self.bytes:
                ids += [self.bytes[b] for b in part.encode()]
            else:
                ids.append(0)
        return ids


@pytest.mark.parametrize("seed", range(40))
def test_rule(seed, tmp_path):
    rng = random.Random(seed)
    alphabet = ALPHABETS[seed % len(ALPHABETS)]
    pieces = Pieces(rng, alphabet, with_bytes=rng.random() < 0.7, space_first=rng.random() < 0.5)
    path = str(tmp_path / "pieces.gguf")
    pieces.write(path)
    texts = ["", " "] + ["".join(rng.choices(alphabet + "z", k=rng.randint(1, 40))) for _ in range(200)]
    assert ids_of(PROGRAM, path, texts) == [pieces.encode(t) for t in texts]
    if pieces.bytes and SPACE in pieces.ids:
        # Back again, but for the space put first, and for U+2581, which is a space's other spelling.
        first = " " if pieces.space_first else ""
        assert round_trip(PROGRAM, path, texts) == [(first + t if t else "").replace(SPACE, " ").encode() for t in texts]
