"""Server-sent events, byte for byte."""

import json
import re

from wire import Client, ask, events, post, wait_for


def test_frames_byte_for_byte(start):
    server = start()
    body = {"prompt": "hello", "max_tokens": 5, "temperature": 0, "seed": 7}
    text = ask(server.port, body).json["text"]
    answer = ask(server.port, {**body, "stream": True})
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "content-length" not in answer.headers
    ident = re.search(rb"gen-[0-9a-f]{16}", answer.body).group().decode()
    pieces = "".join(f'data: {{"id":"{ident}","index":0,"text":"{c}"}}\n\n' for c in text)
    last = re.compile(
        r'data: \{"id":"' + ident + r'","object":"generation","created":\d+,"model":"fake","index":0,"text":"","seed":7,'
        r'"finish_reason":"length","stop_reason":null,"usage":\{"prompt_tokens":5,"completion_tokens":5,"total_tokens":10,'
        r'"prompt_tokens_details":\{"cached_tokens":4\}\},"timings":\{"queue_ms":[\d.]+,"prefill_ms":[\d.]+,"decode_ms":[\d.]+,'
        r'"ttft_ms":[\d.]+,"total_ms":[\d.]+\}\}\n\ndata: \[DONE\]\n\n'
    )
    assert answer.body.decode().startswith(pieces)
    assert last.fullmatch(answer.body.decode()[len(pieces):]), answer.body


def test_a_stream_says_what_the_whole_answer_says(daemon):
    body = {"prompt": "The sky is", "max_tokens": 24, "seed": 11}
    whole = ask(daemon.port, body).json
    found = events(ask(daemon.port, {**body, "stream": True}).body)
    assert found[-1] == "[DONE]"
    pieces = [json.loads(e) for e in found[:-1]]
    assert "".join(p["text"] for p in pieces) == whole["text"]
    last = pieces[-1]
    assert set(last) == set(whole) | {"index"}
    for answer in (whole, last):  # the second one may find more of its prompt
        assert answer["usage"].pop("prompt_tokens_details")["cached_tokens"] < answer["usage"]["prompt_tokens"]
    for key in ("object", "model", "seed", "finish_reason", "stop_reason", "usage"):
        assert last[key] == whole[key]
    assert all(set(p) == {"id", "index", "text"} and p["text"] for p in pieces[:-1])
    assert len({p["id"] for p in pieces}) == 1


def test_held_back_text_comes_with_the_token_that_frees_it(start):
    """A stop string that begins but does not come: its beginning is held, then goes out in one piece."""
    server = start()
    body = {"prompt": "hello", "max_tokens": 6, "temperature": 0}
    text = ask(server.port, body).json["text"]
    found = events(ask(server.port, {**body, "stream": True, "stop": text[1:3] + "~"}).body)
    pieces = [json.loads(e)["text"] for e in found[:-1]]
    assert pieces == [text[0], text[1:4], text[4], text[5], ""]


def test_what_is_held_at_the_end_is_in_the_last_piece(start):
    server = start()
    body = {"prompt": "hello", "max_tokens": 3, "temperature": 0}
    text = ask(server.port, body).json["text"]
    pieces = [json.loads(e) for e in events(ask(server.port, {**body, "stream": True, "stop": text[1:3] + "~"}).body)[:-1]]
    assert [p["text"] for p in pieces] == [text[0], text[1:3]]
    assert pieces[-1]["finish_reason"] == "length"


def test_stop_string_ends_a_stream(start):
    server = start()
    body = {"prompt": "hello", "max_tokens": 50, "temperature": 0}
    text = ask(server.port, body).json["text"]
    pieces = [json.loads(e) for e in events(ask(server.port, {**body, "stream": True, "stop": [text[2:4]]}).body)[:-1]]
    assert "".join(p["text"] for p in pieces) == text[:2]
    assert pieces[-1]["finish_reason"] == "stop" and pieces[-1]["stop_reason"] == text[2:4]
    assert pieces[-1]["usage"]["completion_tokens"] == 4


def test_tokens_arrive_as_they_are_made(start):
    server = start(FAKE_STEP_US=100000)
    with Client(server.port) as client:
        client.send(post({"prompt": "x", "max_tokens": 5, "stream": True}))
        client.head()
        seen = [client.chunk() for _ in range(5)]
        assert all(c.count(b"data: ") == 1 for c in seen[:4])


def test_pings_while_nothing_comes(start):
    server = start(FAKE_STEP_US=700000, FAKE_PING_MS=200, FAKE_TICK_MS=50)
    answer = ask(server.port, {"prompt": "x", "max_tokens": 2, "stream": True})
    assert answer.body.startswith(b": ping\n\n")  # there is no deadline that could still want a status
    assert answer.body.count(b": ping\n\n") >= 3
    assert len(events(answer.body)) == 4
    answer = ask(server.port, {"prompt": "x", "max_tokens": 2, "stream": False})
    assert b"ping" not in answer.raw


def test_no_ping_before_the_status_is_decided(start):
    """In the queue with a deadline: 504 must still be possible."""
    server = start(FAKE_STEP_US=50000, FAKE_PING_MS=100, FAKE_TICK_MS=20, max_batch=1)
    with Client(server.port) as runs:
        runs.send(post({"prompt": "x", "max_tokens": 40}))
        wait_for(lambda: server.metrics()["octet_requests_running"] == 1)
        answer = ask(server.port, {"prompt": "x", "stream": True, "timeout_ms": 500})
        assert answer.status == 504 and answer.code == "deadline_exceeded"


def test_failure_after_the_first_byte_is_an_event_and_no_done(start):
    server = start(FAKE_FAIL_STEP=4)
    with Client(server.port) as client:
        client.send(post({"prompt": "x", "max_tokens": 50, "stream": True}))
        answer = client.answer()
        assert answer.status == 200
        found = events(answer.body)
        assert len(found) == 4 and "[DONE]" not in found
        error = json.loads(found[-1])
        assert set(error) == {"error"} and set(error["error"]) == {"message", "type", "param", "code"}
        assert client.is_closed()


def test_a_stream_keeps_the_connection(daemon):
    with Client(daemon.port) as client:
        for _ in range(3):
            client.send(post({"prompt": "x", "max_tokens": 2, "stream": True}))
            assert events(client.answer().body)[-1] == "[DONE]"


def test_refusals_of_a_stream_have_a_status(daemon):
    assert ask(daemon.port, {"prompt": "x", "stream": True, "max_tokens": 10**6}).status == 400
    assert ask(daemon.port, {"prompt": "x", "stream": True, "model": "other"}).status == 404
