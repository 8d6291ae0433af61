"""Start, loading, draining, end."""

import os
import signal
import socket
import subprocess
import time

import pytest

from conftest import FAKE
from wire import Client, ask, events, fetch, get, post, wait_for


def test_loading_answers_503(start):
    server = start(wait="listening", FAKE_LOAD_MS=2000)
    assert fetch(server.port, "/health").status == 200
    answer = fetch(server.port, "/ready")
    assert answer.status == 503 and answer.json == {"status": "loading"}
    assert fetch(server.port, "/v1/models").json["data"] == []
    assert "octet_ready 0" in fetch(server.port, "/metrics").body.decode()
    answer = ask(server.port, {"prompt": "x"})
    assert answer.status == 503 and answer.code == "loading" and int(answer.headers["retry-after"]) >= 1
    wait_for(lambda: fetch(server.port, "/ready").status == 200)
    assert fetch(server.port, "/ready").json == {"status": "ready"}
    assert ask(server.port, {"prompt": "x", "max_tokens": 1}).status == 200


def test_signal_while_loading(start):
    server = start(wait="listening", FAKE_LOAD_MS=5000)
    server.signal()
    assert server.wait(2) == 0


def run(*args):
    env = {k: v for k, v in os.environ.items() if not k.startswith("OCTET_")}
    return subprocess.run([FAKE, *args], capture_output=True, text=True, timeout=20, env=env)


def test_a_model_that_does_not_load(start):
    server = start(wait=None, FAKE_LOAD_FAIL=1)
    assert server.wait() == 1
    lines = [l for l in server.stderr().splitlines() if not l.startswith("{")]
    assert lines == ["octetd: fake.gguf: this file is not a model"]


def test_busy_port_names_host_and_port(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = start(wait=None, port=port)
        assert server.wait() == 1
        text = server.stderr()
        assert f"127.0.0.1:{port}" in text and text.count("\n") == 1 and server.stdout() == ""


def test_impossible_host(start):
    server = start(wait=None, host="no such host")
    assert server.wait() == 1
    assert "no such host" in server.stderr()


def test_wrong_usage_is_2():
    for args in (["--no-such-flag", "1"], ["--model"], [], ["--model", "m", "--port", "99999"]):
        done = run(*args)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stdout == ""


def test_help_and_version():
    done = run("--help")
    assert done.returncode == 0 and "--drain-timeout-ms" in done.stdout
    done = run("--version")
    assert done.returncode == 0 and done.stdout.startswith("octetd ")


def test_idle_costs_no_cpu(start):
    server = start()
    ask(server.port, {"prompt": "x", "max_tokens": 3})

    def ticks():
        with open(f"/proc/{server.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(1.5)
    assert ticks() - before <= 1


def test_alias(start):
    server = start(alias="mine")
    assert fetch(server.port, "/v1/models").json["data"][0]["id"] == "mine"
    assert ask(server.port, {"prompt": "x", "model": "mine", "max_tokens": 1}).json["model"] == "mine"


# ---- the end ----


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_idle_server_ends_at_once(start, signum):
    server = start()
    with Client(server.port) as idle:
        idle.send(get("/health"))
        idle.answer()
        server.signal(signum)
        assert server.wait(5) == 0


def test_running_requests_may_finish(start):
    server = start(FAKE_STEP_US=20000)
    with Client(server.port) as whole, Client(server.port) as stream, Client(server.port) as asks:
        asks.send(get("/health"))
        asks.answer()
        whole.send(post({"prompt": "x", "max_tokens": 40, "ignore_eos": True}))
        stream.send(post({"prompt": "y", "max_tokens": 40, "ignore_eos": True, "stream": True}))
        wait_for(lambda: server.metrics()["octet_requests_running"] == 2)
        server.signal()
        wait_for(lambda: server.log("signal"))
        answer = ask(server.port, {"prompt": "x"})
        assert answer.status == 503 and answer.code == "draining" and int(answer.headers["retry-after"]) >= 1
        assert answer.headers["connection"] == "close"
        answer = fetch(server.port, "/ready")
        assert answer.status == 503 and answer.json == {"status": "draining"}
        assert fetch(server.port, "/health").status == 200
        answer = whole.answer()
        assert answer.status == 200 and answer.json["finish_reason"] == "length"
        assert answer.headers["connection"] == "close"
        assert events(stream.answer().body)[-1] == "[DONE]"
    assert server.wait(5) == 0


def test_new_work_is_taken_during_the_delay(start):
    server = start(drain_delay_ms=1500)
    server.signal()
    wait_for(lambda: fetch(server.port, "/ready").status == 503)
    assert ask(server.port, {"prompt": "x", "max_tokens": 1}).status == 200
    assert server.process.poll() is None
    assert server.wait(5) == 0


def test_after_the_drain_those_that_began_end_with_deadline(start):
    server = start(FAKE_STEP_US=20000, drain_timeout_ms=400, max_batch=1)
    with Client(server.port) as runs, Client(server.port) as waits:
        runs.send(post({"prompt": "x", "max_tokens": 2000, "ignore_eos": True}))
        wait_for(lambda: server.metrics()["octet_generation_tokens_total"] > 0)
        waits.send(post({"prompt": "x", "max_tokens": 10}))
        wait_for(lambda: server.metrics()["octet_requests_waiting"] == 1)
        server.signal()
        answer = runs.answer()
        assert answer.status == 200 and answer.json["finish_reason"] == "deadline"
        answer = waits.answer()
        assert answer.status == 503 and answer.code == "draining"
    assert server.wait(5) == 0


def test_a_second_signal_ends_at_once(start):
    server = start(FAKE_STEP_US=20000)
    with Client(server.port) as client:
        client.send(post({"prompt": "x", "max_tokens": 2000}))
        wait_for(lambda: server.metrics()["octet_requests_running"] == 1)
        server.signal()
        wait_for(lambda: server.log("signal"))
        server.signal(signal.SIGINT)
        assert server.wait(2) != 0


def test_a_slow_upload_does_not_hold_the_drain_up_for_ever(start):
    server = start(drain_timeout_ms=300, FAKE_FLUSH_MS=300)
    with Client(server.port) as client:
        client.send(post(b"x" * 100)[:-50])
        wait_for(lambda: server.metrics()["octet_http_requests_total"] >= 2)
        server.signal()
        assert server.wait(5) == 0


def test_a_long_step_at_the_end_of_the_drain(start):
    """Time is up for everything while the engine computes: it ends after that step, and well."""
    server = start(FAKE_STEP_US=1500000, FAKE_TOKENIZE_MS=300, drain_timeout_ms=100, FAKE_FLUSH_MS=100)
    with Client(server.port) as runs, Client(server.port) as tokenizes:
        runs.send(post({"prompt": "x", "max_tokens": 100, "stream": True}))
        wait_for(lambda: server.metrics()["octet_requests_running"] == 1)
        tokenizes.send(post({"prompt": "x", "max_tokens": 100}))
        wait_for(lambda: server.metrics()["octet_requests_accepted_total"] == 2)
        server.signal()
        assert server.wait(6) == 0
