"""octet's ids against the Hugging Face `tokenizers` library on the same vocabulary, and back to the same bytes.

OCTET_TOKENIZE: the built tokenize_lines.  OCTET_MODEL: a GGUF file with a byte-level vocabulary (the default model)."""
import os
import random

import pytest

import hf
import lines
from tokenize_lines import ids_of, round_trip

PROGRAM = os.environ.get("OCTET_TOKENIZE")
MODEL = os.environ.get("OCTET_MODEL")
N_LINES = 12000

pytestmark = pytest.mark.skipif(not (PROGRAM and MODEL), reason="OCTET_TOKENIZE and OCTET_MODEL name what is tested")


@pytest.fixture(scope="module")
def vocab():
    return hf.Vocab(MODEL)


@pytest.fixture(scope="module")
def texts():
    found = lines.lines(N_LINES)
    assert len(found) >= 10000
    return found


@pytest.fixture(scope="module", params=list(hf.PRE))
def case(request, vocab, tmp_path_factory):
    """A pre-tokenizer's name and a vocabulary-only file that asks for it."""
    path = str(tmp_path_factory.mktemp("vocab") / "vocab.gguf")
    vocab.write(path, request.param)
    return request.param, path


def assert_same(texts, ours, theirs):
    bad = [(t, a, b) for t, a, b in zip(texts, ours, theirs) if a != b]
    assert not bad, f"{len(bad)} of {len(texts)} texts differ; the first: {bad[0]!r}"


def test_model_as_it_is(vocab, texts):
    theirs = [e.ids for e in vocab.tokenizer("smollm").encode_batch(texts, add_special_tokens=False)]
    assert_same(texts, ids_of(PROGRAM, MODEL, texts), theirs)


def test_plain(case, vocab, texts):
    pre, path = case
    theirs = [e.ids for e in vocab.tokenizer(pre).encode_batch(texts, add_special_tokens=False)]
    assert_same(texts, ids_of(PROGRAM, path, texts), theirs)


def test_special(case, vocab, texts):
    """Names of control tokens strewn over the texts."""
    pre, path = case
    rng = random.Random(2)
    names = [t for t, kind in zip(vocab.tokens, vocab.types) if kind == 3]
    mixed = []
    for text in texts[:3000]:
        for _ in range(rng.randint(1, 3)):
            at = rng.randint(0, len(text))
            name = rng.choice(names)
            text = text[:at] + rng.choice([name, name, name[:-1], name[1:], name + name]) + text[at:]
        mixed.append(text)
    theirs = [e.ids for e in vocab.tokenizer(pre, special=True).encode_batch(mixed, add_special_tokens=False)]
    assert_same(mixed, ids_of(PROGRAM, path, mixed, "special"), theirs)
    theirs = [e.ids for e in vocab.tokenizer(pre).encode_batch(mixed, add_special_tokens=False)]
    assert_same(mixed, ids_of(PROGRAM, path, mixed), theirs)


def written(vocab):
    """The bytes that are tokens: a vocabulary may lack some, and then has no way to write them."""
    from unicode_differences import byte_char
    tokens = set(vocab.tokens)
    return bytes(b for b in range(256) if byte_char(b) in tokens)


def test_round_trip(case, vocab, texts):
    """Byte for byte, invalid UTF-8 too, as far as the vocabulary has the bytes."""
    _, path = case
    rng = random.Random(3)
    known = written(vocab)
    drop = bytes(set(range(256)) - set(known))
    noise = [bytes(rng.choices(known, k=rng.randint(1, 40))) for _ in range(2000)]
    broken = []
    for text in texts[:3000]:
        data = bytearray(text.encode())
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.choice(known)
        broken.append(bytes(data))
    all_texts = [t for t in [*(t.encode() for t in texts), *noise, *broken] if t == t.translate(None, drop)]
    assert len(all_texts) > 14000
    assert round_trip(PROGRAM, path, all_texts) == all_texts


def test_one_letter(case, vocab):
    """The longest pieces there are."""
    pre, path = case
    texts = [text * (60000 // len(text.encode())) for text in ["a", " ", "\n", "1", "!", "😀", "é", "中", "\t "]]
    theirs = [e.ids for e in vocab.tokenizer(pre).encode_batch(texts, add_special_tokens=False)]
    assert_same(texts, ids_of(PROGRAM, path, texts), theirs)
