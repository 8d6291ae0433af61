"""HTTP by hand: bytes out, bytes in. No client library, so that nothing tidies up what is sent or read."""

import json
import socket
import time


class Answer:
    def __init__(self, status, headers, body, raw):
        self.status, self.headers, self.body, self.raw = status, headers, body, raw

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """error.code of a refusal."""
        return self.json["error"]["code"]

    @property
    def param(self):
        return self.json["error"]["param"]

    @property
    def message(self):
        return self.json["error"]["message"]


class Closed(Exception):
    """The server ended the connection before the answer was complete; .got is what came."""

    def __init__(self, got):
        super().__init__(f"closed after {got!r}")
        self.got = got


class Client:
    """One connection. Reads exactly one answer at a time; what follows stays in the buffer."""

    def __init__(self, port, timeout=20, rcvbuf=None, host="127.0.0.1"):
        self.socket = socket.socket()
        if rcvbuf:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.socket.settimeout(timeout)
        self.socket.connect((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.taken = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def _more(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            raise Closed(self.taken + self.buffer)
        self.buffer += data

    def take(self, n):
        while len(self.buffer) < n:
            self._more()
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        self.taken += data
        return data

    def until(self, mark):
        while mark not in self.buffer:
            self._more()
        return self.take(self.buffer.index(mark) + len(mark))

    def head(self):
        self.taken = b""
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            if line:
                name, value = line.split(":", 1)
                assert name.lower() not in headers, f"{name} twice"
                headers[name.lower()] = value.strip()
        return int(lines[0].split()[1]), headers

    def chunk(self):
        """The next chunk of a chunked body, b"" at its end."""
        n = int(self.until(b"\r\n"), 16)
        data = self.take(n)
        assert self.take(2) == b"\r\n"
        return data

    def answer(self, head=False):
        status, headers = self.head()
        body = b""
        if head or status == 204:
            pass
        elif headers.get("transfer-encoding") == "chunked":
            while True:
                data = self.chunk()
                if not data:
                    break
                body += data
        elif "content-length" in headers:
            body = self.take(int(headers["content-length"]))
        else:
            try:
                while True:
                    self._more()
            except Closed:
                body, self.buffer = self.buffer, b""
        return Answer(status, headers, body, self.taken)

    def rest(self):
        """Everything until the server closes, or until nothing comes for the timeout."""
        try:
            while True:
                self._more()
        except (Closed, TimeoutError):
            return self.buffer

    def is_closed(self, within=10):
        """The server closes; anything it still sends is an error."""
        self.socket.settimeout(within)
        try:
            data = self.socket.recv(4096)
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        assert data == b"", f"more came: {data[:200]!r}"
        return True


def post(body, path="/v1/generate", headers=(), host="test", length=True):
    """Bytes of a POST. body: bytes as they are, or something for json.dumps."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}"]
    if not any(h.lower().startswith("content-type") for h in headers):
        lines.append("Content-Type: application/json")
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def get(path, method="GET", headers=()):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: test", *headers, "", ""]).encode()


def ask(port, body, headers=(), timeout=60, **kw):
    """POST on a connection of its own."""
    with Client(port, timeout) as client:
        client.send(post(body, headers=headers, **kw))
        return client.answer()


def fetch(port, path, method="GET", headers=()):
    with Client(port) as client:
        client.send(get(path, method, headers))
        return client.answer(head=method == "HEAD")


def events(body):
    """Events of a stream, comments left out; every one must be a single data line."""
    text = body.decode()
    assert text.endswith("\n\n")
    found = []
    for event in text[:-2].split("\n\n"):
        if event.startswith(": "):
            continue
        assert event.startswith("data: ") and "\n" not in event, event
        found.append(event[6:])
    return found


def metrics(port):
    """{'name{labels}': value} of /metrics."""
    values = {}
    for line in fetch(port, "/metrics").body.decode().splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            values[name] = float(value)
    return values


def total(values, name):
    """Sum over a metric's labels."""
    return sum(v for k, v in values.items() if k == name or k.startswith(name + "{"))


def wait_for(check, within=10, every=0.02):
    end = time.monotonic() + within
    while time.monotonic() < end:
        value = check()
        if value:
            return value
        time.sleep(every)
    raise AssertionError(f"did not happen within {within} s: {check}")
