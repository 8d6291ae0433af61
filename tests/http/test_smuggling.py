"""Requests that two parsers could read differently: refused, and what follows is never taken for a request."""

import re

import pytest

from wire import Client, Closed, get

BODY = b'{"prompt":"x","max_tokens":1}'
INNER = b"GET /v1/models HTTP/1.1\r\nHost: t\r\n\r\n"


def head(*lines, version="HTTP/1.1", host=True):
    return "\r\n".join([f"POST /v1/generate {version}", *(["Host: t"] if host else []), *lines, "", ""]).encode("latin-1")


TABLE = {
    "length and chunked": (head(f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked"), 400),
    "chunked and length": (head("Transfer-Encoding: chunked", "Content-Length: 4"), 400),
    "two lengths that differ": (head("Content-Length: 3", "Content-Length: 40"), 400),
    "two lengths that agree": (head("Content-Length: 3", "Content-Length: 3"), 400),
    "lengths in one line": (head("Content-Length: 3, 3"), 400),
    "length with a plus": (head("Content-Length: +3"), 400),
    "negative length": (head("Content-Length: -3"), 400),
    "hexadecimal length": (head("Content-Length: 0x3"), 400),
    "length with letters": (head("Content-Length: 3a"), 400),
    "empty length": (head("Content-Length:"), 400),
    "space before the colon": (head("Transfer-Encoding : chunked", "Content-Length: 4"), 400),
    "tab before the colon": (head("Transfer-Encoding\t: chunked", "Content-Length: 4"), 400),
    "folded length": (head("Content-Length:", " 3"), 400),
    "folded coding": (head("Transfer-Encoding:", " chunked"), 400),
    "near miss of length": (head("Content-Length3: 3"), 400),
    "near miss of coding": (head("Transfer-Encoding-X: chunked", "Content-Length: 3"), 400),
    "two codings": (head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400),
    "gzip": (head("Transfer-Encoding: gzip"), 501),
    "xchunked": (head("Transfer-Encoding: xchunked"), 501),
    "gzip, chunked": (head("Transfer-Encoding: gzip, chunked"), 501),
    "identity": (head("Transfer-Encoding: identity"), 501),
    "vertical tab": (head("Transfer-Encoding: \x0bchunked"), 501),
    "chunked in HTTP/1.0": (head("Transfer-Encoding: chunked", version="HTTP/1.0"), 400),
    "no host": (head("Content-Length: 0", host=False), 400),
    "two hosts": (head("Host: other", "Content-Length: 0"), 400),
    "bad name": (head("Bad Name: 1", "Content-Length: 0"), 400),
    "bad characters": (head("B(a)d: 1", "Content-Length: 0"), 400),
}


@pytest.mark.parametrize("name", TABLE)
def test_refused_and_closed(daemon, name):
    request, status = TABLE[name]
    with Client(daemon.port) as client:
        client.send(request + BODY + INNER + INNER)
        answer = client.answer()
        assert answer.status == status, answer.raw
        # Then the end: the inner requests were not taken for requests. (What libmicrohttpd refuses by itself,
        # a Content-Length it can't read, it answers with the same status line twice.)
        rest = client.rest()
        assert b'"list"' not in rest and set(re.findall(rb"HTTP/1.1 (\d+)", rest)) <= {b"400"}


def test_chunk_size_overflow(daemon):
    for size in (b"ffffffffffffffffff", b"-1", b"0x10", b"8000000000000000"):
        with Client(daemon.port) as client:
            client.send(head("Transfer-Encoding: chunked") + size + b"\r\n" + BODY + b"\r\n0\r\n\r\n" + INNER)
            client.socket.settimeout(0.5)  # 2^63 is a size like any other: the rest would be waited for
            assert b'"list"' not in client.rest()


def test_http2_preface(daemon):
    with Client(daemon.port) as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert client.answer().status in (400, 404, 405, 505)


@pytest.mark.parametrize("junk", [b"\0" * 100, b"\xff" * 5000, b"GET\r\n\r\n", b"\r\n" * 2000, b"GET / HTTP/9.9\r\n\r\n", b"A" * 70000, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
def test_garbage(daemon, junk):
    with Client(daemon.port, timeout=0.3) as client:
        try:
            client.send(junk)
            client.answer()
        except (Closed, TimeoutError, ConnectionError, ValueError, IndexError):
            pass
    with Client(daemon.port) as client:
        client.send(get("/health"))
        assert client.answer().status == 200


def test_large_headers_are_refused(daemon):
    for request, status in ((get("/health", headers=["X: " + "a" * 40000]), 431), (get("/" + "a" * 40000), 414)):
        with Client(daemon.port) as client:
            client.send(request)
            assert client.answer().status == status
