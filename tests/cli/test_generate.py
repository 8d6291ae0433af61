"""octet generate."""
import json
import subprocess

import pytest

from conftest import BIN, octet, refused

PROMPT = "The capital of France is"


def run(int8, *args, **more):
    done = octet("generate", "--model", int8, *args, **more)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""  # not a terminal: no progress
    return done.stdout.decode()


def answer(int8, *args, **more):
    out = run(int8, *args, "--json", **more)
    assert out.count("\n") == 1
    return json.loads(out)


def test_greedy_knows_paris(int8):
    assert "Paris" in run(int8, "--prompt", PROMPT, "--temperature", 0, "--max-tokens", 8)


def test_json_is_the_body_of_v1_generate(int8):
    doc = answer(int8, "--prompt", PROMPT, "--max-tokens", 5, "--ignore-eos", "--seed", 7)
    assert {"id", "object", "created", "model", "text", "seed", "finish_reason", "stop_reason", "usage", "timings"} <= doc.keys()
    assert doc["object"] == "generation" and doc["id"].startswith("gen-") and doc["seed"] == 7
    assert doc["finish_reason"] == "length" and doc["stop_reason"] is None
    usage = doc["usage"]
    assert usage["prompt_tokens"] == 5 and usage["completion_tokens"] == 5 and usage["total_tokens"] == 10
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}
    times = doc["timings"]
    assert times.keys() == {"queue_ms", "prefill_ms", "decode_ms", "ttft_ms", "total_ms"}
    assert times["total_ms"] == pytest.approx(times["prefill_ms"] + times["decode_ms"], abs=0.01)


def test_text_and_json_say_the_same(int8):
    args = ["--prompt", PROMPT, "--seed", 3, "--max-tokens", 24]
    assert run(int8, *args) == answer(int8, *args)["text"]


def test_same_seed_same_text_on_any_number_of_threads(int8):
    args = ["--prompt", "Once upon a time", "--seed", 11, "--max-tokens", 24, "--top-p", 0.9, "--repetition-penalty", 1.1]
    texts = {run(int8, *args, "--threads", t) for t in (1, 2, 2)}
    assert len(texts) == 1


def test_another_seed_another_text(int8):
    texts = {run(int8, "--prompt", "Once upon a time", "--seed", s, "--max-tokens", 24) for s in range(4)}
    assert len(texts) > 1


def test_the_seed_made_up_makes_the_same_text_again(int8):
    args = ["--prompt", "Once upon a time", "--max-tokens", 16]
    doc = answer(int8, *args)
    assert 0 <= doc["seed"] < 2**53
    assert run(int8, *args, "--seed", doc["seed"]) == doc["text"]


def test_stop_strings(int8):
    whole = answer(int8, "--prompt", PROMPT, "--temperature", 0, "--max-tokens", 24, "--ignore-eos")["text"]
    word = whole.split()[3]
    before = whole[:whole.index(word)]
    doc = answer(int8, "--prompt", PROMPT, "--temperature", 0, "--max-tokens", 24, "--ignore-eos",
                 "--stop", "no such text", "--stop", word, "--stop=nor this")
    assert doc["text"] == before and doc["finish_reason"] == "stop" and doc["stop_reason"] == word


def test_a_prompt_that_looks_like_a_flag(int8):
    """The value after --prompt is a prompt, whatever it looks like; only real --stop flags count."""
    doc = answer(int8, "--prompt", "--stop", "--temperature", 0, "--max-tokens", 4, "--ignore-eos", "--stop", "no such text")
    assert doc["usage"]["completion_tokens"] == 4


def test_end_token_ends_and_is_named(int8):
    chat = "<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\n"
    doc = answer(int8, "--prompt", chat, "--temperature", 0, "--max-tokens", 200)
    assert doc["finish_reason"] == "stop" and doc["stop_reason"] == 2
    assert "<|im_end|>" not in doc["text"]
    longer = answer(int8, "--prompt", chat, "--temperature", 0, "--max-tokens", doc["usage"]["completion_tokens"] + 3, "--ignore-eos")
    assert longer["finish_reason"] == "length"
    assert longer["usage"]["completion_tokens"] == doc["usage"]["completion_tokens"] + 3


def test_prompt_from_stdin(int8):
    args = ["--temperature", 0, "--max-tokens", 6]
    assert run(int8, "--prompt", "-", *args, stdin=PROMPT.encode()) == run(int8, "--prompt", PROMPT, *args)


def test_empty_prompts(int8):
    assert "--prompt" in refused(2, "generate", "--model", int8, "--prompt", "")
    assert "--prompt" in refused(1, "generate", "--model", int8, "--prompt", "-")


def test_more_than_the_context(int8):
    said = refused(1, "generate", "--model", int8, "--prompt", PROMPT, "--ctx", 32, "--max-tokens", 28)
    assert "5" in said and "28" in said and "32" in said
    said = refused(1, "generate", "--model", int8, "--prompt", "x " * 50, "--ctx", 16)
    assert "--prompt" in said and "16" in said
    said = refused(1, "generate", "--model", int8, "--prompt", PROMPT, "--ctx", 1_000_000)
    assert "--ctx" in said and "8192" in said


def test_max_tokens_is_128_or_the_room_left(int8):
    doc = answer(int8, "--prompt", PROMPT, "--ctx", 32, "--ignore-eos")
    assert doc["usage"]["completion_tokens"] == 27


def test_fp32_runs_too(source):
    assert "Paris" in run(source, "--prompt", PROMPT, "--temperature", 0, "--max-tokens", 8, "--precision", "fp32")


def test_a_file_as_downloaded_is_converted_at_load(source, int8):
    args = ["--prompt", PROMPT, "--temperature", 0, "--max-tokens", 16]
    assert run(source, *args) == run(int8, *args)


def test_a_full_stdout_is_a_failure(int8):
    with open("/dev/full", "w") as full:
        done = subprocess.run([BIN / "octet", "generate", "--model", int8, "--prompt", PROMPT, "--max-tokens", "4"],
                              stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"stdout" in done.stderr
