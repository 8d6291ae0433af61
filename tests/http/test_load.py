"""Full queue, deadlines, too few pages: what a server under load says."""

import threading

import pytest

from wire import Client, ask, events, fetch, post, total, wait_for

import json


def test_full_is_429_at_once_with_the_measured_wait(start):
    server = start(max_batch=1, max_queue=2, FAKE_STEP_US=50000, FAKE_TOKENIZE_MS=0)
    held = []
    for i in range(3):
        held.append(Client(server.port))
        held[-1].send(post({"prompt": "x", "max_tokens": 30, "ignore_eos": True}))
        wait_for(lambda: server.metrics()["octet_requests_accepted_total"] == i + 1)
    for stream in (False, True):
        answer = ask(server.port, {"prompt": "x", "stream": stream})
        assert answer.status == 429 and answer.code == "queue_full"
        seconds, ms = int(answer.headers["retry-after"]), int(answer.headers["retry-after-ms"])
        assert 1 <= seconds <= 60 and 1000 <= ms <= 60000 and (ms + 999) // 1000 == seconds
    assert fetch(server.port, "/health").status == 200
    assert server.metrics()['octet_requests_refused_total{reason="queue_full"}'] == 2
    for client in held:
        assert client.answer().status == 200
    assert ask(server.port, {"prompt": "x", "max_tokens": 1}).status == 200


def test_bad_requests_are_400_when_full(start):
    server = start(max_batch=1, max_queue=1, FAKE_STEP_US=100000)
    held = [Client(server.port) for _ in range(2)]
    for client in held:
        client.send(post({"prompt": "x", "max_tokens": 20}))
    wait_for(lambda: server.metrics()["octet_requests_accepted_total"] == 2)
    assert ask(server.port, b"{").status == 400
    assert ask(server.port, {"prompt": "x"}).status == 429
    for client in held:
        client.close()


@pytest.mark.parametrize("stream", [False, True])
def test_deadline_in_the_queue_is_504(start, stream):
    server = start(max_batch=1, FAKE_STEP_US=20000)
    with Client(server.port) as runs:
        runs.send(post({"prompt": "x", "max_tokens": 100, "ignore_eos": True}))
        wait_for(lambda: server.metrics()["octet_requests_running"] == 1)
        answer = ask(server.port, {"prompt": "x", "timeout_ms": 200, "stream": stream})
        assert answer.status == 504 and answer.code == "deadline_exceeded" and "200" in answer.message
        assert server.metrics()["octet_generation_tokens_total"] < 100


@pytest.mark.parametrize("stream", [False, True])
def test_deadline_in_prefill_is_504(start, stream):
    server = start(FAKE_ROW_US=2000)
    answer = ask(server.port, {"prompt": "x" * 4000, "timeout_ms": 300, "stream": stream})
    assert answer.status == 504
    assert server.metrics()["octet_kv_pages_used"] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_deadline_in_decode_is_a_finish_reason(start, stream):
    server = start(FAKE_STEP_US=20000)
    answer = ask(server.port, {"prompt": "x", "timeout_ms": 400, "max_tokens": 1000, "stream": stream})
    assert answer.status == 200
    got = json.loads(events(answer.body)[-2]) if stream else answer.json
    assert got["finish_reason"] == "deadline" and 0 < got["usage"]["completion_tokens"] < 100
    if stream:
        assert events(answer.body)[-1] == "[DONE]"
    else:
        assert len(got["text"]) == got["usage"]["completion_tokens"]


def test_the_servers_deadlines(start):
    server = start(FAKE_STEP_US=20000, timeout_ms=300, max_timeout_ms=600)
    body = {"prompt": "x", "max_tokens": 1000}
    by_default = ask(server.port, body).json
    capped = ask(server.port, {**body, "timeout_ms": 100000}).json
    assert by_default["finish_reason"] == capped["finish_reason"] == "deadline"
    assert by_default["usage"]["completion_tokens"] < capped["usage"]["completion_tokens"] < 100


def test_a_long_prompt_does_not_hold_up_a_short_one(start):
    server = start(FAKE_ROW_US=1000, FAKE_CTX=8192)
    with Client(server.port) as long:
        long.send(post({"prompt": "x" * 8000, "max_tokens": 1}))
        wait_for(lambda: server.metrics()["octet_requests_running"] == 1)
        answer = ask(server.port, {"prompt": "y" * 30, "max_tokens": 5})
        assert answer.status == 200
        values = server.metrics()
        assert values["octet_requests_running"] == 1  # the long one is still at its prompt
        assert total(values, "octet_requests_finished_total") == 1


def test_decoding_goes_on_beside_a_long_prompt(start):
    server = start(FAKE_ROW_US=200, FAKE_CTX=8192)
    with Client(server.port) as decodes, Client(server.port) as long:
        decodes.send(post({"prompt": "x", "max_tokens": 40, "stream": True, "ignore_eos": True}))
        decodes.head()
        long.send(post({"prompt": "x" * 8000, "max_tokens": 1}))
        wait_for(lambda: server.metrics()["octet_requests_running"] == 2)
        wait_for(lambda: server.metrics()["octet_generation_tokens_total"] >= 30, 20)
        assert server.metrics()["octet_requests_running"] >= 1
        long.close()


def test_the_oldest_is_never_preempted(start):
    """Pages for one long sequence only: the others come and go, the first gets on in one piece."""
    server = start(max_batch=4, FAKE_PAGES=16, FAKE_CTX=256, FAKE_STEP_US=500)
    answers = [None] * 4

    def one(i):
        answers[i] = ask(server.port, {"prompt": "x" * 16, "max_tokens": 240, "ignore_eos": True})

    threads = [threading.Thread(target=one, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(a.status == 200 and a.json["usage"]["completion_tokens"] == 240 for a in answers)
    values = server.metrics()
    assert values["octet_preemptions_total"] > 0 and values["octet_kv_pages_used"] == 0
    assert values["octet_generation_tokens_total"] == 4 * 240
