"""Connections that are slow, cut, idle, many or pipelined: others are served all the while."""

import json
import random
import socket
import threading
import time

import pytest

from wire import Client, Closed, ask, events, fetch, get, post, total, wait_for

SMALL = {"prompt": "x", "max_tokens": 2, "temperature": 0, "ignore_eos": True}


def test_keep_alive_serves_many(daemon):
    with Client(daemon.port) as client:
        for i in range(30):
            client.send(post(SMALL) if i % 2 else get("/health"))
            assert client.answer().status == 200


def test_connection_close_is_honoured(daemon):
    with Client(daemon.port) as client:
        client.send(post(SMALL, headers=["Connection: close"]))
        assert client.answer().status == 200
        assert client.is_closed()


def test_http_1_0(daemon):
    with Client(daemon.port) as client:
        client.send(post({**SMALL, "stream": True}).replace(b"HTTP/1.1", b"HTTP/1.0"))
        answer = client.answer()
        assert answer.status == 200 and "transfer-encoding" not in answer.headers
        assert events(answer.body)[-1] == "[DONE]"


def test_pipelined_requests_are_answered_in_order(daemon):
    with Client(daemon.port) as client:
        ids = [f"pipe-{i}" for i in range(8)]
        client.send(b"".join(post(SMALL, headers=[f"X-Request-Id: {i}"]) if n % 2 else get("/health", headers=[f"X-Request-Id: {i}"]) for n, i in enumerate(ids)))
        for i in ids:
            answer = client.answer()
            assert answer.status == 200 and answer.headers["x-request-id"] == i


def test_a_request_in_single_bytes(daemon):
    with Client(daemon.port) as client:
        for byte in post(SMALL):
            client.send(bytes([byte]))
        assert client.answer().status == 200


def test_cut_at_every_byte(start):
    server = start(FAKE_STEP_US=200)
    request = post({**SMALL, "stream": True})
    for n in range(len(request)):
        client = Client(server.port)
        client.send(request[:n])
        client.reset() if n % 2 else client.close()
    assert fetch(server.port, "/health").status == 200
    assert ask(server.port, SMALL).status == 200
    # The whole request, then gone: whatever it had begun must end too.
    for n in range(20):
        client = Client(server.port)
        client.send(request)
        client.reset() if n % 2 else client.close()
    settled(server)


def settled(server, within=10):
    """Nothing is inside, the books balance, no descriptor is left."""

    def check():
        m = server.metrics()
        ends = total(m, "octet_requests_finished_total") + m["octet_requests_cancelled_total"] + total(m, "octet_requests_failed_total")
        return (
            m["octet_requests_accepted_total"] == ends
            and m["octet_requests_running"] == 0
            and m["octet_requests_waiting"] == 0
            and m["octet_kv_pages_used"] == 0
            and m["octet_http_connections"] == 1
            and m
        )

    return wait_for(check, within)


def test_answers_cut_at_every_byte(start):
    """The client leaves after having read n bytes of the stream."""
    server = start(FAKE_STEP_US=500)
    for n in range(0, 900, 45):
        client = Client(server.port)
        client.send(post({"prompt": "x", "max_tokens": 100, "stream": True}))
        if n:
            client.take(n)
        client.reset() if n % 2 else client.close()
    settled(server)


def test_slow_headers_get_408(start):
    server = start(FAKE_HEADER_MS=300, FAKE_TICK_MS=50)
    with Client(server.port) as client:
        with pytest.raises((Closed, ConnectionError)):
            for byte in get("/health", headers=["X: " + "y" * 500]):
                client.send(bytes([byte]))
                time.sleep(0.01)
            client.answer()
            client.answer()
    values = server.metrics()
    assert values["octet_http_timeouts_total"] == 1
    assert values['octet_requests_refused_total{reason="request_timeout"}'] == 1
    with Client(server.port) as client:
        client.send(b"GET /health HT")
        answer = client.answer()
        assert answer.status == 408 and answer.headers["connection"] == "close"
        assert client.is_closed()


def test_slow_second_request_on_a_connection(start):
    server = start(FAKE_HEADER_MS=300, FAKE_TICK_MS=50)
    with Client(server.port) as client:
        client.send(get("/health"))
        assert client.answer().status == 200
        time.sleep(0.6)  # idle is not slow
        client.send(get("/health"))
        assert client.answer().status == 200
        client.send(b"GET /hea")
        assert client.answer().status == 408


def test_slow_body_gets_408(start):
    server = start(FAKE_BODY_MS=300, FAKE_TICK_MS=50)
    with Client(server.port) as client:
        client.send(post(b"x" * 500)[:-400])
        for _ in range(200):
            try:
                client.send(b"x")
            except ConnectionError:
                break
            time.sleep(0.01)
            if client.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) if _ > 60 else False:
                break
        answer = client.answer()
        assert answer.status == 408 and answer.code == "request_timeout"
    assert server.metrics()["octet_http_timeouts_total"] == 1


def test_refused_client_that_keeps_sending_is_cut(start):
    server = start(FAKE_LINGER_MS=300, FAKE_TICK_MS=50)
    with Client(server.port) as client:
        client.send("POST /v1/generate HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                client.send(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
                time.sleep(0.005)
    wait_for(lambda: server.metrics()["octet_http_connections"] == 1)


def test_idle_connection_is_closed_in_its_time(start):
    server = start(FAKE_IDLE_MS=1000, FAKE_TICK_MS=50)
    with Client(server.port) as quiet, Client(server.port) as used:
        used.send(get("/health"))
        assert used.answer().status == 200
        assert quiet.is_closed(5) and used.is_closed(5)


def test_a_thousand_idle_connections(start):
    server = start()
    idle = []
    try:
        for i in range(1000):
            idle.append(Client(server.port))
            if i % 2:
                idle[-1].send(get("/health"))
        for client in idle[1::2]:
            assert client.answer().status == 200
        assert wait_for(lambda: server.metrics()["octet_http_connections"] == 1001)
        assert ask(server.port, SMALL).status == 200
        for client in idle[::50]:
            client.send(get("/health"))
            assert client.answer().status == 200
    finally:
        for client in idle:
            client.close()
    settled(server)


def test_more_connections_than_the_limit_wait(start):
    server = start(FAKE_CONNECTIONS=8)
    held = [Client(server.port) for _ in range(8)]
    late = Client(server.port, timeout=10)
    late.send(get("/health"))
    time.sleep(0.2)
    for client in held:
        client.close()
    assert late.answer().status == 200
    late.close()


def test_reader_that_stops_reading_is_cut(start):
    server = start(FAKE_TOKEN_BYTES=2000, FAKE_STREAM_BYTES=65536, FAKE_STEP_US=200)
    with Client(server.port, rcvbuf=4096) as stuck, Client(server.port) as other:
        stuck.send(post({"prompt": "x", "max_tokens": 8000, "stream": True, "ignore_eos": True}))
        time.sleep(0.1)
        other.send(post({"prompt": "y", "max_tokens": 50, "stream": True}))
        assert events(other.answer().body)[-1] == "[DONE]"
        other.send(get("/health"))
        assert other.answer().status == 200
        wait_for(lambda: server.metrics()["octet_slow_clients_total"] == 1, 20)
    values = settled(server)
    assert values["octet_requests_cancelled_total"] == 1
    assert values["octet_generation_tokens_total"] < 2000


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["close", "reset", "half"])
@pytest.mark.parametrize("when", ["prefill", "decode"])
def test_a_client_that_leaves_frees_its_place(start, stream, how, when):
    slow = {"FAKE_ROW_US": 3000} if when == "prefill" else {"FAKE_STEP_US": 20000}
    server = start(max_batch=1, **slow)
    body = {"prompt": "x" * (4000 if when == "prefill" else 2), "max_tokens": 1000, "stream": stream, "ignore_eos": True}
    client = Client(server.port)
    client.send(post(body))
    wait_for(lambda: server.metrics()["octet_requests_running"] == 1)
    if when == "decode":
        wait_for(lambda: server.metrics()["octet_generation_tokens_total"] >= 1)
    if how == "half":
        client.socket.shutdown(socket.SHUT_WR)
    else:
        client.reset() if how == "reset" else client.close()
    values = settled(server, 5)  # all of it would take twelve seconds and more
    client.close()
    assert values["octet_requests_cancelled_total"] == 1
    assert values["octet_generation_tokens_total"] < 500
    assert values["octet_client_disconnects_total"] == 1


def test_a_client_that_leaves_the_queue(start):
    server = start(max_batch=1, FAKE_STEP_US=20000)
    with Client(server.port) as runs:
        runs.send(post({"prompt": "x", "max_tokens": 40, "ignore_eos": True}))
        wait_for(lambda: server.metrics()["octet_requests_running"] == 1)
        waits = Client(server.port)
        waits.send(post(SMALL))
        wait_for(lambda: server.metrics()["octet_requests_waiting"] == 1)
        waits.close()
        wait_for(lambda: server.metrics()["octet_requests_waiting"] == 0, 5)
        assert runs.answer().status == 200
    assert settled(server)["octet_requests_cancelled_total"] == 1


def test_a_client_that_leaves_while_its_prompt_is_tokenized(start):
    server = start(FAKE_TOKENIZE_MS=300)
    client = Client(server.port)
    client.send(post(SMALL))
    time.sleep(0.1)
    client.close()
    assert settled(server)["octet_requests_cancelled_total"] == 1


def test_a_long_prompt_on_a_worker_stalls_nobody(start):
    server = start(FAKE_TOKENIZE_MS=1500)
    with Client(server.port) as client:
        client.send(post(SMALL))
        for _ in range(5):
            assert fetch(server.port, "/health").status == 200
        assert server.metrics()["octet_generation_tokens_total"] == 0
        assert client.answer().status == 200


def test_many_at_once_get_their_own_texts(start):
    """Sequences join and leave between steps; with too few pages they are preempted and recomputed."""
    alone = start()
    crowded = start(max_batch=8, FAKE_PAGES=24, FAKE_CTX=256, FAKE_STEP_US=300)
    rng = random.Random(5)
    bodies = [{"prompt": "".join(rng.choices("abcdefgh ", k=rng.randint(1, 120))), "max_tokens": rng.randint(1, 100),
               "seed": rng.randint(0, 99), "stream": rng.random() < 0.5} for _ in range(48)]
    want = [text_of(ask(alone.port, b)) for b in bodies]
    got = [None] * len(bodies)

    def one(i):
        got[i] = text_of(ask(crowded.port, bodies[i]))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == want
    values = settled(crowded)
    assert values["octet_preemptions_total"] > 0
    assert values["octet_generation_tokens_total"] == sum(b["max_tokens"] for b in bodies)


def text_of(answer):
    assert answer.status == 200, answer.body
    if answer.headers["content-type"].startswith("application/json"):
        return answer.json["text"]
    return "".join(json.loads(e)["text"] for e in events(answer.body)[:-1])


@pytest.mark.parametrize("stream", [False, True])
def test_the_idle_timeout_does_not_hit_those_that_wait(start, stream):
    server = start(FAKE_IDLE_MS=1000, FAKE_STEP_US=400000, FAKE_TICK_MS=50)
    answer = ask(server.port, {"prompt": "x", "max_tokens": 7, "stream": stream})
    assert answer.status == 200


def test_ipv6(start):
    server = start(host="::1")
    with socket.create_connection(("::1", server.port), 5) as s:
        s.sendall(get("/health"))
        assert s.recv(4096).startswith(b"HTTP/1.1 200")
