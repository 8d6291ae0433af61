"""Prompts that begin like earlier ones start where they differ, and every place that counts says so."""

import json

import pytest

from wire import ask, events, metrics, wait_for


def cached(answer):
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_a_prompt_that_was_seen(daemon):
    """More than one page of either model; the text must not change with what was found."""
    body = {"prompt": [i % 200 + 1 for i in range(150)], "max_tokens": 8, "temperature": 0}
    before = metrics(daemon.port)
    first = ask(daemon.port, body, headers=["X-Request-Id: first"]).json
    again = ask(daemon.port, body, headers=["X-Request-Id: again"]).json
    stream = json.loads(events(ask(daemon.port, {**body, "stream": True}).body)[-2])
    assert cached(first) == 0 and cached(again) == cached(stream) == 149
    assert first["text"] == again["text"]
    assert daemon.request_log("first")["cached_tokens"] == 0
    assert daemon.request_log("again")["cached_tokens"] == 149
    after = wait_for(lambda: (m := metrics(daemon.port))["octet_requests_running"] == 0 and m)
    assert after["octet_prefix_cache_queries_total"] - before["octet_prefix_cache_queries_total"] == 450
    assert after["octet_prefix_cache_hits_total"] - before["octet_prefix_cache_hits_total"] == 298
    assert after["octet_prefix_cache_pages"] > 0 and after["octet_kv_pages_used"] == 0


def test_another_end(daemon):
    """A history that goes on: what both have is found, however it ends."""
    history = [i * 7 % 199 + 1 for i in range(160)]
    body = {"max_tokens": 4, "temperature": 0, "ignore_eos": True}
    ask(daemon.port, {**body, "prompt": history + [11] * 20})
    other = ask(daemon.port, {**body, "prompt": history + [12] * 20}).json
    assert 160 - 64 < cached(other) <= 160
    same = ask(daemon.port, {**body, "prompt": history + [12] * 20}).json
    assert same["text"] == other["text"] and cached(same) == 179


def test_an_answer_becomes_part_of_the_next_prompt(daemon):
    prompt = [i * 3 % 197 + 1 for i in range(70)]
    for _ in range(3):
        before = len(prompt)
        ask(daemon.port, {"prompt": prompt, "max_tokens": 1})
        prompt = prompt + [50 + len(prompt)] * 30
        assert cached(ask(daemon.port, {"prompt": prompt, "max_tokens": 1}).json) >= before - 1


@pytest.mark.parametrize("kind", ["fake", "real"])
def test_off(start, daemon, kind):
    if daemon.kind != kind:
        pytest.skip("one of each")
    server = start(kind=kind, prefix_cache=0, ctx=512)
    body = {"prompt": [1] * 100, "max_tokens": 1}
    assert [cached(ask(server.port, body).json) for _ in range(2)] == [0, 0]
    now = metrics(server.port)
    assert now["octet_prefix_cache_queries_total"] == now["octet_prefix_cache_pages"] == 0
