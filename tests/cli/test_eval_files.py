"""The files of octet eval beside its figures: stored logits that do not fit, outputs that cannot be written."""
import pathlib
import sys

import pytest

from conftest import octet, refused

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import make_tiny  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("eval")
    for name in ("llama-untied-linear", "qwen2-tied"):
        make_tiny.make(name, str(path / f"{name}.gguf"))
    (path / "text").write_text(make_tiny.TEXT * 3)
    (path / "other").write_text(make_tiny.TEXT * 3 + "?")
    done = octet(*command(path), "--reference", path / "llama-untied-linear.gguf", "--chunks", 4,
                 "--save-reference", path / "stored")
    assert done.returncode == 0, done.stderr
    return path


def command(folder, model="llama-untied-linear", text="text", ctx=32):
    return ["eval", "--model", folder / f"{model}.gguf", "--text", folder / text, "--ctx", ctx]


@pytest.mark.parametrize("how, words", [
    (dict(text="other"), ["another text"]),
    (dict(ctx=64), ["--ctx 32"]),
    (dict(model="qwen2-tied"), ["tokenizer"]),
])
def test_stored_logits_of_something_else(folder, how, words):
    said = refused(1, *command(folder, **how), "--chunks", 4, "--reference", folder / "stored")
    for word in ["--reference", "stored", *words]:
        assert word in said, said


def test_fewer_chunks_are_fine_and_more_are_not(folder):
    assert octet(*command(folder), "--reference", folder / "stored", "--chunks", 2).returncode == 0
    assert "--chunks 4" in refused(1, *command(folder), "--reference", folder / "stored")


@pytest.mark.parametrize("size", [8, 100, 239, 240, 5000, -1])
def test_stored_logits_cut_short(folder, tmp_path, size):
    (tmp_path / "short").write_bytes((folder / "stored").read_bytes()[:size])
    said = refused(1, *command(folder), "--reference", tmp_path / "short", "--chunks", 4)
    assert "short" in said


@pytest.mark.parametrize("at", [8, 16, 17, 20, 24, 31, 32, 40, 41, 103, 170, 234])
def test_stored_logits_with_a_damaged_head(folder, tmp_path, at):
    data = bytearray((folder / "stored").read_bytes())
    data[at] ^= 0x80
    (tmp_path / "bad").write_bytes(data)
    said = refused(1, *command(folder), "--reference", tmp_path / "bad", "--chunks", 4)
    assert "bad" in said


def test_a_nan_in_stored_logits_is_found(folder, tmp_path):
    data = bytearray((folder / "stored").read_bytes())
    data[240:244] = b"\x00\x00\xc0\x7f"
    (tmp_path / "nan").write_bytes(data)
    assert "not finite" in refused(1, *command(folder), "--reference", tmp_path / "nan", "--chunks", 4)


def test_int8_is_no_reference(folder, tmp_path):
    assert "--precision fp32" in refused(2, *command(folder), "--save-reference", tmp_path / "x")
    said = refused(2, *command(folder), "--precision", "fp32", "--kv", "int8", "--save-reference", tmp_path / "x")
    assert "--save-reference" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--out", "--save-reference"])
def test_outputs_that_cannot_be_written(folder, tmp_path, flag):
    reference = ["--reference", folder / "llama-untied-linear.gguf"]
    assert "nowhere" in refused(1, *command(folder), *reference, flag, tmp_path / "nowhere" / "x")
    assert "regular" in refused(1, *command(folder), *reference, flag, tmp_path)
    assert not list(tmp_path.iterdir())


# ---- questions ----

GOOD = b'{"question": "the cat", "choices": ["sat", "ran"], "answer": 0}\n'


def ask(folder, path, *args):
    return ["eval", "--model", folder / "llama-untied-linear.gguf", "--choices", path, *args]


@pytest.mark.parametrize("line, words", [
    (b"the cat", ["column"]),
    (b"[1]", ["object"]),
    (b'{"question": "a", "choices": ["b", "c"], "answer": 0, "answer": 1}', ["duplicate"]),
    (b'{"choices": ["b", "c"], "answer": 0}', ["question"]),
    (b'{"question": "", "choices": ["b", "c"], "answer": 0}', ["question", "empty"]),
    (b'{"question": "a", "choices": "bc", "answer": 0}', ["choices", "2 to 64"]),
    (b'{"question": "a", "choices": ["b"], "answer": 0}', ["choices", "2 to 64"]),
    (b'{"question": "a", "choices": ["b", ""], "answer": 0}', ["choices", "empty"]),
    (b'{"question": "a", "choices": ["b", 3], "answer": 0}', ["choices", "string"]),
    (b'{"question": "a", "choices": ["b", "c"]}', ["answer", "0 to 1"]),
    (b'{"question": "a", "choices": ["b", "c"], "answer": 2}', ["answer", "0 to 1"]),
    (b'{"question": "a", "choices": ["b", "c"], "answer": -1}', ["answer", "0 to 1"]),
    (b'{"question": "a", "choices": ["b", "c"], "answer": "b"}', ["answer", "0 to 1"]),
    (b'{"question": "\xff", "choices": ["b", "c"], "answer": 0}', ["decode byte 0xff"]),
    (b'{"question": "' + b"the cat sat on the mat. " * 3000 + b'", "choices": ["b", "c"], "answer": 0}', ["tokens"]),
])
def test_bad_lines_are_named(folder, tmp_path, line, words):
    path = tmp_path / "questions.jsonl"
    path.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD)
    said = refused(1, *ask(folder, path))
    for word in ["questions.jsonl", "line 3", *words]:
        assert word in said, said


def test_no_questions(folder, tmp_path):
    (tmp_path / "empty").write_bytes(b"\n \n")
    assert "no question" in refused(1, *ask(folder, tmp_path / "empty"))
    assert "nothing" in refused(1, *ask(folder, tmp_path / "nothing"))


def test_the_last_line_needs_no_newline(folder):
    assert octet(*ask(folder, "-", "--json"), stdin=GOOD * 40 + GOOD.strip()).returncode == 0


def test_what_does_not_go_with_questions(folder, tmp_path):
    (tmp_path / "q").write_bytes(GOOD)
    assert "--record" in refused(2, *ask(folder, tmp_path / "q", "--record", "--reference", "x"))
    assert "--save-reference" in refused(2, *ask(folder, tmp_path / "q", "--save-reference", "x"))
    assert "stored" in refused(2, *ask(folder, tmp_path / "q", "--reference", folder / "stored"))
    assert "--choices" in refused(2, *ask(folder, tmp_path / "q", "--text", folder / "text"))


def test_batch_mates_and_threads_change_nothing(folder, tmp_path):
    (tmp_path / "one").write_bytes(GOOD)
    (tmp_path / "many").write_bytes(GOOD * 300)
    for name, threads in [("one", 1), ("many", 1), ("many", 2)]:
        done = octet(*ask(folder, tmp_path / name, "--out", tmp_path / f"{name}{threads}", "--threads", threads))
        assert done.returncode == 0, done.stderr
    one, many = ((tmp_path / n).read_text().splitlines() for n in ("one1", "many1"))
    strip = [line.split(",", 1)[1] for line in many]
    assert strip == [line.split(",", 1)[1] for line in one] * 300
    assert (tmp_path / "many1").read_bytes() == (tmp_path / "many2").read_bytes()


def test_questions_for_people(folder, tmp_path):
    (tmp_path / "q").write_bytes(GOOD * 3)
    said = octet(*ask(folder, tmp_path / "q", "--reference", folder / "llama-untied-linear.gguf")).stdout.decode()
    for word in ["3 questions", "accuracy", "+-", "chance 50.00 %", "same choice"]:
        assert word in said
