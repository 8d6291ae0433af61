"""Prompt lookup: guesses make steps fewer and change nothing else, greedy or seeded, alone or among others."""

import concurrent.futures
import json

import pytest

from conftest import MODEL, REAL
from wire import ask, events, metrics

CODE = """def total(items, rate):
    subtotal = 0
    for item in items:
        price = item["price"]
        count = item["count"]
        if count <= 0:
            raise ValueError("count must be positive")
        subtotal += price * count
    return subtotal + subtotal * rate
"""
EDIT = f"<|im_start|>user\nRepeat this code, subtotal renamed to result.\n\n{CODE}<|im_end|>\n<|im_start|>assistant\n"
REQUESTS = [
    {"prompt": EDIT, "max_tokens": 90, "temperature": 0},
    {"prompt": EDIT, "max_tokens": 70, "temperature": 0.7, "top_p": 0.9, "seed": 3},
    {"prompt": EDIT, "max_tokens": 60, "temperature": 0, "stop": "raise"},
    {"prompt": EDIT, "max_tokens": 50, "temperature": 1.0, "repetition_penalty": 1.1, "seed": 4, "ignore_eos": True},
    {"prompt": "One, two, three. One, two, three. One, two,", "max_tokens": 60, "temperature": 0, "ignore_eos": True},
]


def told(port, body):
    """What an answer says of the text, and the frames that a stream has, but the last two."""
    whole = ask(port, body, timeout=300).json
    *frames, last, done = events(ask(port, {**body, "stream": True}, timeout=300).body)
    assert done == "[DONE]"
    pieces = [json.loads(frame)["text"] for frame in frames]
    last = json.loads(last)
    assert "".join(pieces) + last["text"] == whole["text"]
    keys = ("finish_reason", "stop_reason")
    assert [last[k] for k in keys] == [whole[k] for k in keys]
    return whole["text"], pieces, *(whole[k] for k in keys), whole["usage"]["completion_tokens"]


def compare(start, bodies, **settings):
    plain = start(draft_max=0, **settings)
    alone = [told(plain.port, body) for body in bodies]
    assert metrics(plain.port)["octet_spec_decode_draft_tokens_total"] == 0
    plain.stop()
    server = start(**settings)
    assert [told(server.port, body) for body in bodies] == alone
    now = metrics(server.port)
    drafted, accepted = (now[f"octet_spec_decode_{what}_tokens_total"] for what in ("draft", "accepted"))
    assert 20 < accepted <= drafted
    logged = server.log("request", status=200)
    assert sum(line.get("draft_tokens", 0) for line in logged) == drafted
    assert sum(line.get("accepted_tokens", 0) for line in logged) == accepted
    tokens = sum(line["completion_tokens"] for line in logged if "completion_tokens" in line)
    assert now["octet_generation_tokens_total"] == tokens
    assert now["octet_inter_token_seconds_count"] == tokens - 2 * len(bodies)
    with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
        assert list(pool.map(lambda body: told(server.port, body), bodies)) == alone


@pytest.mark.skipif(not (REAL and MODEL), reason="needs octetd and OCTET_MODEL")
def test_the_same_text_real(start):
    compare(start, REQUESTS, kind="real", ctx=1024)


def test_the_same_text_fake(start):
    bodies = [
        {"prompt": "tell me more and more and more", "max_tokens": 300, "temperature": 0},
        {"prompt": "round and round", "max_tokens": 120, "temperature": 0, "ignore_eos": True},
        {"prompt": "until", "max_tokens": 200, "temperature": 0, "stop": ["abc", "q", "zz"]},
        {"prompt": "x", "max_tokens": 2, "temperature": 0, "ignore_eos": True},
    ]
    compare(start, bodies, FAKE_PERIOD=4, FAKE_STEP_US=300, FAKE_EOS_EVERY=200)


def test_a_frame_a_token_however_many_a_step(start):
    server = start(FAKE_PERIOD=3, FAKE_STEP_US=500)
    body = {"prompt": "abcabcabc", "max_tokens": 100, "temperature": 0, "ignore_eos": True, "stream": True}
    frames = events(ask(server.port, body).body)[:-2]
    assert len(frames) == 100 and all(len(json.loads(f)["text"]) == 1 for f in frames)
    now = metrics(server.port)
    assert now["octet_engine_steps_total"] < 90 and now["octet_spec_decode_accepted_tokens_total"] > 10


def test_one_sequence_has_room_for_its_guesses(start):
    """--max-batch 1: rows that want logits are not one then."""
    server = start(FAKE_PERIOD=3, FAKE_STEP_US=500, max_batch=1, draft_max=7)
    ask(server.port, {"prompt": "abcabcabc", "max_tokens": 200, "temperature": 0, "ignore_eos": True})
    assert metrics(server.port)["octet_spec_decode_accepted_tokens_total"] > 10


def test_a_bad_number_is_named(start):
    with pytest.raises(AssertionError, match="0 to 15"):
        start(draft_max=16)
