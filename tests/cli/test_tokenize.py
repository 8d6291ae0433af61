"""octet tokenize: stdin byte for byte."""
import json

import gguf
import pytest

from conftest import octet, refused


@pytest.fixture(scope="module")
def vocabulary(source):
    """Pieces by id, as text in GPT-2's byte alphabet, and back to bytes."""
    return gguf.GGUFReader(source).fields["tokenizer.ggml.tokens"].contents()


def byte_alphabet():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, n = {chr(b): b for b in plain}, 0
    for b in range(256):
        if b not in plain:
            table[chr(256 + n)] = b
            n += 1
    return table


def ids(model, text, *flags):
    done = octet("tokenize", "--model", model, "--json", *flags, stdin=text)
    assert done.returncode == 0 and done.stderr == b""
    doc = json.loads(done.stdout)
    assert list(doc) == ["ids"]
    return doc["ids"]


def spelled(vocabulary, tokens):
    table = byte_alphabet()
    return b"".join(bytes(table[c] for c in vocabulary[t]) for t in tokens)


def test_empty(source):
    assert ids(source, b"") == []


@pytest.mark.parametrize("text", [
    b"Hello, world",
    b"final newline\n",
    b"two\n\n",
    b"\n",
    b" ",
    b"\r\n\ttabs and  runs   of    spaces ",
    "naïve 東京 🙂 e\u0301 \u00a0 العربية".encode(),
    b"1234567890",
    b"<|im_start|>user",
    b"-",
])
def test_ids_spell_the_text(source, vocabulary, text):
    assert spelled(vocabulary, ids(source, text)) == text


@pytest.mark.parametrize("text", [b"a\0b", b"\0", b"\xff\xfe", b"cut \xe6\x9d", b"\x80mid\xc3dle\n"])
def test_bytes_that_are_no_text_are_kept(source, vocabulary, text):
    """All but those that no UTF-8 holds, which the default vocabulary has no token for."""
    known = {bytes([b]) for c, b in byte_alphabet().items() if c in vocabulary}
    assert b"\0" in known and b"\xff" not in known
    assert spelled(vocabulary, ids(source, text)) == b"".join(bytes([b]) for b in text if bytes([b]) in known)


def test_special_tokens_only_when_asked_for(source):
    assert ids(source, b"<|im_start|>", "--special") == [1]
    assert len(ids(source, b"<|im_start|>")) > 1


def test_bos_only_when_asked_for(source):
    plain = ids(source, b"Hello")
    assert ids(source, b"Hello", "--bos") == [1, *plain]
    assert ids(source, b"", "--bos") == [1]


def test_a_quantized_file_has_the_same_vocabulary(source, int8):
    text = b"The same text, twice: 12345\n"
    assert ids(source, text) == ids(int8, text)


def test_lines_for_people(source, vocabulary):
    text = b"Hello\n\\ \xe2\x82"
    lines = octet("tokenize", "--model", source, stdin=text).stdout.decode().splitlines()
    assert [int(line.split("\t")[0]) for line in lines] == ids(source, text)
    for line in lines:
        token, piece = line.split("\t")
        assert piece.replace("\\\\", "\\") == vocabulary[int(token)]


def test_vocabulary_alone_is_enough(source, tmp_path):
    """A file without a tensor, of an architecture that octet does not run."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(tmp_path / "vocab.gguf", "mamba")
    for name, field in reader.fields.items():
        if name.startswith("tokenizer.ggml."):
            kind = field.types[0]
            writer.add_key_value(name, field.contents(), kind, field.types[1] if len(field.types) > 1 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    text = "Any architecture will do, even “mamba”.\n".encode()
    assert ids(tmp_path / "vocab.gguf", text) == ids(source, text)


def test_a_file_without_a_vocabulary(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "bare.gguf", "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    said = refused(1, "tokenize", "--model", tmp_path / "bare.gguf")
    assert "bare.gguf" in said and "tokenizer" in said
