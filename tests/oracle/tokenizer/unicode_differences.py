"""Find the code points that PCRE2 and `tokenizers` put into different classes (letter, number, punctuation, space), by
tokenizing each of them beside a letter, a digit, a mark and a tab, under a vocabulary whose only merges join such a
neighbour with the character's first byte.

    python3 tests/oracle/tokenizer/unicode_differences.py BUILD/bin/tokenize_lines > tests/oracle/tokenizer/unicode_differences.txt

Needs tests/requirements.txt. Takes a few minutes."""
import pathlib
import sys
import tempfile

import hf
from tokenize_lines import ids_of

NEIGHBOURS = "a1!\t"


def byte_char(byte):
    """How byte-level vocabularies write a byte: printable ones as themselves, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    if byte in printable:
        return chr(byte)
    return chr(0x100 + [b for b in range(256) if b not in printable].index(byte))


def probe():
    vocab = hf.Vocab.__new__(hf.Vocab)
    chars = [byte_char(b) for b in range(256)]
    pairs = [(byte_char(ord(n)), c) for n in NEIGHBOURS for c in chars]
    vocab.tokens = chars + [a + b for a, b in pairs]
    vocab.types = [1] * len(vocab.tokens)
    vocab.merges = [f"{a} {b}" for a, b in pairs]
    return vocab


def differences(program, points):
    found = {}
    vocab = probe()
    with tempfile.TemporaryDirectory() as folder:
        for pre in hf.PRE:
            path = str(pathlib.Path(folder) / "probe.gguf")
            vocab.write(path, pre)
            tokenizer = vocab.tokenizer(pre)
            for first in range(0, len(points), 50000):
                some = points[first:first + 50000]
                texts = [n + chr(c) for c in some for n in NEIGHBOURS]
                theirs = [e.ids for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
                ours = ids_of(program, path, texts)
                for i, (a, b) in enumerate(zip(ours, theirs)):
                    if a != b:
                        found.setdefault(some[i // len(NEIGHBOURS)], set()).add(pre)
    return found


def main():
    points = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
    found = differences(sys.argv[1], points)
    print("# Written by unicode_differences.py: FIRST[-LAST] and the pre-tokenizers whose classes of these code points differ.")
    runs = []
    for c in sorted(found):
        if runs and runs[-1][1] == c - 1 and runs[-1][2] == found[c]:
            runs[-1][1] = c
        else:
            runs.append([c, c, found[c]])
    for first, last, pres in runs:
        print(f"{first:04X}" + (f"-{last:04X}" if last > first else ""), ",".join(sorted(pres)))


if __name__ == "__main__":
    main()
