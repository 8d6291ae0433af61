"""`octet eval --choices` against numpy over octet's own logits, and the float64 oracle for the reference."""

import json

import eval_check
import make_tiny
import numpy as np
import octet
import oracle
import pytest
from octet import Engine

WORDS = make_tiny.TEXT.split()


def questions():
    """Deterministic, of many lengths; one ends in white space, one has a choice that begins with it."""
    made = []
    for i in range(23):
        question = " ".join(WORDS[i : i + 3 + i % 7 * 4])
        choices = [" ".join(WORDS[j : j + 1 + (i + j) % 4]) for j in range(i % 11, i % 11 + 2 + i % 4)]
        made.append({"question": question, "choices": choices, "answer": i % len(choices)})
    made[3]["question"] += "\n"
    made[4]["choices"][0] = " " + made[4]["choices"][0]
    made[5]["choices"][1] = "é" + made[5]["choices"][1]
    return made


def ids_of(path, bos, text):
    ids = octet.tokenize(path, text)
    return ids if bos is None else [bos, *ids]


def log_likelihoods(path, bos, made, logits_of):
    """[(question, choice) → (log p, tokens, bytes)]; logits_of: sequences of ids → logits of each"""
    spans, sizes = [], []
    for q in made:
        alone = ids_of(path, bos, q["question"])
        for choice in q["choices"]:
            space = "" if q["question"][-1] in " \t\n\r" or choice[0] in " \t\n\r" else " "
            ids = ids_of(path, bos, q["question"] + space + choice)
            first = next((i for i, (a, b) in enumerate(zip(ids, alone)) if a != b), min(len(ids), len(alone)))
            first = max(1, min(first, len(ids) - 1))
            spans.append((ids, first))
            sizes.append(len(choice.encode()))
    told = []
    for (ids, first), size, logits in zip(spans, sizes, logits_of([ids for ids, _ in spans]), strict=True):
        log_p = eval_check.log_softmax(logits)
        told.append((sum(log_p[i - 1, ids[i]] for i in range(first, len(ids))), len(ids) - first, size))
    return np.array(told)


def accuracies(made, scores):
    """By byte, by token, undivided; and what is picked by byte."""
    right, picked, at = np.zeros(3), [], 0
    for q in made:
        log_p, tokens, size = scores[at : at + len(q["choices"])].T
        at += len(q["choices"])
        picks = [int(np.argmax(log_p / by)) for by in (size, tokens, 1)]
        right += [pick == q["answer"] for pick in picks]
        picked.append(picks[0])
    return right / len(made), np.array(picked)


@pytest.mark.parametrize("name", ["llama-untied-linear", "llama-spm"])
def test_choices(name, tmp_path):
    path, file, out = str(tmp_path / "model.gguf"), tmp_path / "questions", tmp_path / "out"
    make_tiny.make(name, path)
    made = questions()
    file.write_text("".join(json.dumps(q) + "\n" for q in made), encoding="utf-8")
    told = json.loads(octet.run("octet", "eval", "--model", path, "--choices", file, "--reference", path, "--out", out, "--json"))

    bos = 1 if make_tiny.SPECS[name].pre == "" else None
    ours = log_likelihoods(path, bos, made, Engine(path, "int8", "int8").logits)
    theirs = log_likelihoods(path, bos, made, lambda all_ids: map(oracle.Model(path).logits, all_ids))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["line"], line["choice"]) for line in lines] == [
        (i + 1, j) for i, q in enumerate(made) for j in range(len(q["choices"]))
    ]
    assert [line["tokens"] for line in lines] == list(ours[:, 1]) and [line["bytes"] for line in lines] == list(ours[:, 2])
    assert [line["logprob"] for line in lines] == pytest.approx(list(ours[:, 0]), rel=1e-4, abs=1e-4)
    assert [line["reference_logprob"] for line in lines] == pytest.approx(list(theirs[:, 0]), rel=1e-3, abs=1e-3)

    n = len(made)
    assert (told["questions"], told["choices"], told["tokens"]) == (n, len(ours), ours[:, 1].sum())
    assert told["chance"] == pytest.approx(np.mean([1 / len(q["choices"]) for q in made]))
    for doc, scores in [(told, ours), (told["reference"], theirs)]:
        want, _ = accuracies(made, scores)
        for key, accuracy in zip(["accuracy", "accuracy_per_token", "accuracy_undivided"], want, strict=True):
            assert doc[key] == pytest.approx(accuracy), key
            assert doc[key + "_se"] == pytest.approx(np.sqrt(accuracy * (1 - accuracy) / (n - 1))), key
    same = (accuracies(made, ours)[1] == accuracies(made, theirs)[1]).mean()
    assert told["reference"]["same_choice"] == pytest.approx(same)
