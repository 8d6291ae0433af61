"""POST /v1/generate: what is refused and how, and what an answer holds."""

import json
import re

import pytest

from wire import Client, ask, fetch, get, post

TOO_BIG = 1024 * 1024 + 1


def deep(n):
    return b'{"prompt":' + b"[" * n + b"]" * n + b"}"


BAD_BODIES = [
    (b"", "invalid_json", None),
    (b"{", "invalid_json", None),
    (b"[1]", "invalid_json", None),
    (b"nonsense", "invalid_json", None),
    (b'{"prompt":"x"} y', "invalid_json", None),
    (b'{"prompt":"\xff\xfe"}', "invalid_json", None),
    (b'{"prompt":"\xc0\xaf"}', "invalid_json", None),
    (b'{"prompt":"\\ud800"}', "invalid_json", None),
    (deep(100), None, None),
    (deep(100000), None, None),
    (b'{"prompt":"a","prompt":"b"}', "duplicate_field", "prompt"),
    (b'{"prompt":"a\\u0000b"}', None, None),
    (b"{}", "missing_field", "prompt"),
    (b'{"prompt":""}', "invalid_value", "prompt"),
    (b'{"prompt":[]}', "invalid_value", "prompt"),
    (b'{"prompt":5}', "wrong_type", "prompt"),
    (b'{"prompt":"x","tempreature":1}', "unknown_field", "tempreature"),
    (b'{"prompt":"x","max_tokens":"5"}', "wrong_type", "max_tokens"),
    (b'{"prompt":"x","max_tokens":1.5}', "wrong_type", "max_tokens"),
    (b'{"prompt":"x","max_tokens":-1}', "out_of_range", "max_tokens"),
    (b'{"prompt":"x","max_tokens":0}', "out_of_range", "max_tokens"),
    (b'{"prompt":"x","max_tokens":9223372036854775807}', None, "max_tokens"),
    (b'{"prompt":"x","max_tokens":99999999999999999999}', None, None),
    (b'{"prompt":"x","temperature":-0.5}', "out_of_range", "temperature"),
    (b'{"prompt":"x","temperature":1e999}', None, None),
    (b'{"prompt":"x","top_p":0}', "out_of_range", "top_p"),
    (b'{"prompt":"x","seed":-1}', "out_of_range", "seed"),
    (b'{"prompt":[1,2,99999999]}', "token_out_of_vocabulary", "prompt"),
    (b'{"prompt":[1,-2]}', None, "prompt"),
    (b'{"prompt":[1,"a"]}', None, None),
]


@pytest.mark.parametrize("body,code,param", BAD_BODIES, ids=[b[0][:40].decode("latin-1") for b in BAD_BODIES])
def test_bad_body_is_400_and_the_connection_stays(daemon, body, code, param):
    with Client(daemon.port) as client:
        client.send(post(body))
        answer = client.answer()
        assert answer.status == 400, answer.body
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(answer.json) == {"type", "title", "status", "detail", "error"}
        assert set(answer.json["error"]) == {"message", "type", "param", "code"}
        if code:
            assert answer.code == code
        if param:
            assert answer.param and answer.param.startswith(param)
        assert answer.message and "\n" not in answer.message
        client.send(get("/health"))
        assert client.answer().status == 200


def test_context_names_both_numbers(daemon):
    answer = ask(daemon.port, {"prompt": [1, 2, 3], "max_tokens": 2046})
    assert answer.status == 400 and answer.code == "context_length_exceeded"
    assert "3" in answer.message and "2046" in answer.message and "2048" in answer.message
    answer = ask(daemon.port, {"prompt": [5] * 2048})
    assert answer.status == 400 and answer.code == "context_length_exceeded" and "2048" in answer.message
    answer = ask(daemon.port, {"prompt": "x " * 400000})
    assert answer.status == 400 and answer.code == "context_length_exceeded"


def test_the_last_place_of_the_context_can_be_used(daemon):
    answer = ask(daemon.port, {"prompt": [5] * 2040, "max_tokens": 8, "ignore_eos": True, "temperature": 0})
    assert answer.status == 200 and answer.json["usage"]["total_tokens"] == 2048


def test_default_max_tokens_is_what_is_left(daemon):
    answer = ask(daemon.port, {"prompt": [5] * 2046, "ignore_eos": True})
    assert answer.json["usage"]["completion_tokens"] == 2


def test_vocabulary_error_names_the_index(daemon):
    answer = ask(daemon.port, {"prompt": [1, 2, 10**8]})
    assert answer.code == "token_out_of_vocabulary" and "2" in answer.message and str(10**8) in answer.message


def test_model_must_be_the_served_one(daemon):
    answer = ask(daemon.port, {"prompt": "x", "model": "other"})
    assert answer.status == 404 and answer.code == "model_not_found" and "other" in answer.message
    name = fetch(daemon.port, "/v1/models").json["data"][0]["id"]
    assert ask(daemon.port, {"prompt": "x", "model": name, "max_tokens": 1}).status == 200


def test_null_counts_as_absent(daemon):
    body = {k: None for k in ("model", "max_tokens", "stream", "temperature", "seed", "stop", "timeout_ms")}
    answer = ask(daemon.port, {**body, "prompt": "x", "max_tokens": 2, "ignore_eos": True})
    assert answer.status == 200


def test_whole_answer(daemon):
    answer = ask(daemon.port, {"prompt": "Hello", "max_tokens": 4, "ignore_eos": True})
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    got = answer.json
    assert list(got) == ["id", "object", "created", "model", "text", "seed", "finish_reason", "stop_reason", "usage", "timings"]
    assert got["object"] == "generation" and got["finish_reason"] == "length" and got["stop_reason"] is None
    assert re.fullmatch(r"gen-[0-9a-f]{16}", got["id"])
    assert 0 <= got["seed"] < 2**53
    usage = got["usage"]
    assert usage["completion_tokens"] == 4 and usage["total_tokens"] == usage["prompt_tokens"] + 4
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}
    timings = got["timings"]
    assert list(timings) == ["queue_ms", "prefill_ms", "decode_ms", "ttft_ms", "total_ms"]
    assert timings["ttft_ms"] <= timings["total_ms"]


def test_the_seed_in_the_answer_repeats_it(daemon):
    first = ask(daemon.port, {"prompt": "Once upon", "max_tokens": 12}).json
    again = ask(daemon.port, {"prompt": "Once upon", "max_tokens": 12, "seed": first["seed"]}).json
    assert again["text"] == first["text"] and again["seed"] == first["seed"]


@pytest.mark.parametrize("seed", [0, 2**53, 2**63 - 1])
def test_any_seed_comes_back(daemon, seed):
    assert ask(daemon.port, {"prompt": "x", "max_tokens": 1, "seed": seed}).json["seed"] == seed


def test_stop_string_is_not_in_the_text(daemon):
    body = {"prompt": "Tell me", "max_tokens": 12, "temperature": 0, "ignore_eos": True}
    whole = ask(daemon.port, body).json["text"]
    stop = whole[3:6]
    got = ask(daemon.port, {**body, "stop": ["never seen", stop]}).json
    assert got["text"] == whole[: whole.index(stop)]
    assert got["finish_reason"] == "stop" and got["stop_reason"] == stop


def test_special_tokens_are_parsed_unless_not(start):
    server = start()
    short = ask(server.port, {"prompt": "<|eos|>", "max_tokens": 1}).json["usage"]["prompt_tokens"]
    plain = ask(server.port, {"prompt": "<|eos|>", "max_tokens": 1, "parse_special": False}).json["usage"]["prompt_tokens"]
    assert (short, plain) == (1, 7)


def test_end_token_is_the_stop_reason(start):
    server = start(FAKE_EOS_EVERY=2)
    got = ask(server.port, {"prompt": "abc", "max_tokens": 400}).json
    assert got["finish_reason"] == "stop" and got["stop_reason"] == 257
    got = ask(server.port, {"prompt": "abc", "max_tokens": 400, "ignore_eos": True}).json
    assert got["finish_reason"] == "length" and got["usage"]["completion_tokens"] == 400


def test_a_model_that_goes_wrong_fails_one_request_only(start):
    server = start(FAKE_STEP_US=1000)
    with Client(server.port) as other:
        other.send(post({"prompt": "fine", "max_tokens": 50, "temperature": 0}))
        answer = ask(server.port, {"prompt": [65, 258], "max_tokens": 5})
        assert answer.status == 500 and answer.code == "internal_error"
        assert other.answer().status == 200


def test_a_failed_step_is_500_and_the_next_request_works(start):
    server = start(FAKE_FAIL_STEP=1)
    assert ask(server.port, {"prompt": "x", "max_tokens": 5}).status == 500
    assert ask(server.port, {"prompt": "x", "max_tokens": 5}).status == 200


# ---- content type, size, method, path ----


def test_an_encoded_body_is_415(daemon):
    answer = ask(daemon.port, {"prompt": "x", "max_tokens": 1}, headers=["Content-Encoding: gzip"])
    assert answer.status == 415 and "gzip" in answer.message
    answer = ask(daemon.port, {"prompt": "x", "max_tokens": 1}, headers=["Content-Encoding: identity"])
    assert answer.status == 200


def test_any_allowed_penalty_draws(daemon):
    for penalty in (1e-300, 1e-40, 1e-38, 10):
        answer = ask(daemon.port, {"prompt": "The sky is", "max_tokens": 3, "repetition_penalty": penalty})
        assert answer.status == 200, answer.body


@pytest.mark.parametrize("value", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx"])
def test_another_content_type_is_415(daemon, value):
    answer = ask(daemon.port, {"prompt": "x"}, headers=[f"Content-Type: {value}"])
    assert answer.status == 415 and "Content-Type: application/json" in answer.message


@pytest.mark.parametrize("value", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_content_types(daemon, value):
    assert ask(daemon.port, {"prompt": "x", "max_tokens": 1}, headers=[f"Content-Type: {value}"]).status == 200


def test_a_missing_content_type_is_taken_as_json(daemon):
    body = b'{"prompt":"x","max_tokens":1}'
    with Client(daemon.port) as client:
        client.send(b"POST /v1/generate HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert client.answer().status == 200


def test_exactly_1_mib_is_read(daemon):
    body = b'{"prompt":"x","max_tokens":1,"stop":["' + b'"]}'
    body = body[:-3] + b"y" * (TOO_BIG - 1 - len(body)) + body[-3:]
    assert len(body) == TOO_BIG - 1
    assert ask(daemon.port, body).status == 400  # a stop string that long is out of range


def test_one_byte_more_is_413_before_the_body(daemon):
    with Client(daemon.port) as client:
        client.send(b"POST /v1/generate HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % TOO_BIG)
        answer = client.answer()
        assert answer.status == 413 and answer.code == "body_too_large"
        assert answer.headers["connection"] == "close"


def test_413_reaches_a_client_that_sends_it_all(daemon):
    for size in (TOO_BIG, 8 * TOO_BIG):
        with Client(daemon.port) as client:
            client.send(post(b"x" * size))
            assert client.answer().status == 413
            assert client.is_closed()


def test_413_while_counting_chunks(daemon):
    with Client(daemon.port) as client:
        client.send("POST /v1/generate HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        for _ in range(17):
            client.send(chunk)
        assert client.answer().status == 413


def test_huge_content_length(daemon):
    for length in ("18446744073709551615", "99999999999999999999999", "9223372036854775808"):
        with Client(daemon.port) as client:
            client.send(f"POST /v1/generate HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n")
            assert client.answer().status in (400, 413)


def test_chunked_body(daemon):
    body = b'{"prompt":"x","max_tokens":1}'
    with Client(daemon.port) as client:
        client.send("POST /v1/generate HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(len(body)):
            client.send(b"1\r\n" + body[i : i + 1] + b"\r\n")
        client.send("0\r\n\r\n")
        assert client.answer().status == 200


def test_no_content_length_is_an_empty_body(daemon):
    with Client(daemon.port) as client:
        client.send("POST /v1/generate HTTP/1.1\r\nHost: t\r\n\r\n")
        assert client.answer().status in (400, 411)


def test_expect_continue(daemon):
    body = json.dumps({"prompt": "x", "max_tokens": 1}).encode()
    with Client(daemon.port) as client:
        client.send(post(body, headers=["Expect: 100-continue"])[: -len(body)])
        status, _ = client.head()
        assert status == 100
        client.send(body)
        assert client.answer().status == 200


def test_expect_continue_is_refused_before_the_body(daemon):
    with Client(daemon.port) as client:
        client.send(post(b"x" * TOO_BIG, headers=["Expect: 100-continue"])[:-TOO_BIG])
        assert client.answer().status == 413


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"])
def test_wrong_method_is_405_with_allow(daemon, method):
    answer = fetch(daemon.port, "/v1/generate", method)
    assert answer.status == 405 and answer.headers["allow"] == "POST"


def test_wrong_method_with_a_body(daemon):
    for path, allow in (("/v1/generate", "POST"), ("/health", "GET, HEAD")):
        with Client(daemon.port) as client:
            method = "PUT" if path == "/v1/generate" else "POST"
            client.send(post({"prompt": "x"}, path=path).replace(b"POST", method.encode(), 1))
            answer = client.answer()
            assert answer.status == 405 and answer.headers["allow"] == allow


@pytest.mark.parametrize("path", ["/", "/v1/generate/", "/v1/Generate", "/%00", "/..", "/v1/generate%2f", "/x" * 500])
def test_unknown_path_is_404(daemon, path):
    assert fetch(daemon.port, path).status == 404
    assert ask(daemon.port, {"prompt": "x"}, path=path).status == 404


def test_query_strings_and_absolute_form(daemon):
    assert fetch(daemon.port, "/health?x=1").status == 200
    assert fetch(daemon.port, "http://test/health").status == 200


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/v1/models"])
def test_head_is_get_without_a_body(daemon, path):
    with Client(daemon.port) as client:
        client.send(get(path, "HEAD"))
        answer = client.answer(head=True)
        assert answer.status == 200 and int(answer.headers["content-length"]) > 0
        client.send(get("/health"))  # nothing of a body is in the way
        assert client.answer().status == 200


# ---- X-Request-Id ----


@pytest.mark.parametrize("value", ["abc", "A.b_c-9", "x" * 128])
def test_request_id_is_echoed_and_logged(daemon, value):
    answer = ask(daemon.port, {"prompt": "x", "max_tokens": 1}, headers=[f"X-Request-Id: {value}"])
    assert answer.headers["x-request-id"] == value
    assert daemon.request_log(value)["status"] == 200


@pytest.mark.parametrize("value", ["", "x" * 129, "a b", 'a"b', "a\tb", "é", "a;b"])
def test_another_request_id_is_replaced(daemon, value):
    answer = ask(daemon.port, {"prompt": "x", "max_tokens": 1}, headers=[f"X-Request-Id: {value}"])
    assert re.fullmatch(r"req-[0-9a-f]{16}", answer.headers["x-request-id"])


def test_refusals_carry_a_request_id(daemon):
    for answer in (ask(daemon.port, b"{"), fetch(daemon.port, "/nope"), ask(daemon.port, {}, headers=["Content-Type: a/b"])):
        assert answer.headers["x-request-id"]


# ---- the log ----


def test_one_line_a_request_in_the_order_of_the_path(daemon):
    secret = "xyzzy plugh"
    answer = ask(daemon.port, {"prompt": secret, "max_tokens": 3, "ignore_eos": True}, headers=["X-Request-Id: the-one"])
    line = daemon.request_log("the-one")
    assert len(daemon.log("request", request_id="the-one")) == 1
    assert line["stage"] == "done" and line["id"] == answer.json["id"] and line["completion_tokens"] == 3
    assert line["finish_reason"] == "length" and line["status"] == 200
    order = [k[:-3] for k in line if k.endswith("_ms") and k not in ("ttft_ms", "total_ms")]
    assert order == ["receive", "route", "parse", "queue", "tokenize", "admit", "batch", "forward", "sample", "detok", "stream"]
    assert "xyzzy" not in daemon.stderr() and answer.json["text"] not in daemon.stderr()


def test_a_refusal_is_logged_with_its_reason(daemon):
    ask(daemon.port, b'{"prompt":1}', headers=["X-Request-Id: refused-1"])
    line = daemon.request_log("refused-1")
    assert line["status"] == 400 and line["stage"] == "failed" and line["after"] == "parse" and line["error"] == "wrong_type"
