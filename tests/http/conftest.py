"""Starts the daemon for the tests: octetd_fake (a model that only pretends, its pace set by FAKE_*), and,
if OCTET_MODEL names a model file, the real octetd too. OCTETD_FAKE and OCTETD_BIN name the binaries; without
them the newest build is taken."""

import glob
import json
import os
import signal
import subprocess
import tempfile

import pytest

import wire

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def newest(name):
    found = glob.glob(os.path.join(ROOT, "build", "*", "bin", name))
    return max(found, key=os.path.getmtime) if found else None


FAKE = os.environ.get("OCTETD_FAKE") or newest("octetd_fake")
REAL = os.environ.get("OCTETD_BIN") or newest("octetd")
MODEL = os.environ.get("OCTET_MODEL")


class Daemon:
    """A running octetd. Settings are flags; FAKE_* and OCTET_* go into its environment."""

    def __init__(self, kind="fake", wait="ready", args=(), **settings):
        self.kind = kind
        fake = {k: str(v) for k, v in settings.items() if k.startswith(("FAKE_", "OCTET_"))}
        flags = {k: v for k, v in settings.items() if k not in fake}
        self.folder = tempfile.TemporaryDirectory()
        self.paths = [os.path.join(self.folder.name, name) for name in ("stdout", "stderr")]
        command = [FAKE if kind == "fake" else REAL, "--model", "fake.gguf" if kind == "fake" else MODEL]
        if "port" not in flags:
            command += ["--port", "0"]
        for key, value in flags.items():
            command += ["--" + key.replace("_", "-"), str(value)]
        env = {k: v for k, v in os.environ.items() if not k.startswith("OCTET_")}
        with open(self.paths[0], "w") as out, open(self.paths[1], "w") as err:
            self.process = subprocess.Popen(command + list(args), stdout=out, stderr=err, env={**env, **fake})
        self.port = None
        try:
            self._wait(wait)
        except BaseException:
            self.process.kill()  # nobody else knows of it yet
            self.process.wait()
            raise

    def _wait(self, wait):
        if wait:
            self.port = wire.wait_for(lambda: self.log("listening") or self._alive(), 30)[0]["port"]
        if wait == "ready":
            wire.wait_for(lambda: self.log("ready") or self._alive(), 180)

    def _alive(self):
        assert self.process.poll() is None, f"octetd ended with {self.process.returncode}: {self.stderr()}"

    def stderr(self):
        with open(self.paths[1]) as f:
            return f.read()

    def stdout(self):
        with open(self.paths[0]) as f:
            return f.read()

    def log(self, event=None, **fields):
        """The log's lines, as far as they are complete; only those with the given fields."""
        lines = [json.loads(line) for line in self.stderr().splitlines(True) if line.endswith("\n") and line[0] == "{"]
        return [l for l in lines if (event is None or l["event"] == event) and all(l.get(k) == v for k, v in fields.items())]

    def request_log(self, request_id, within=10):
        return wire.wait_for(lambda: self.log("request", request_id=request_id), within)[0]

    def metrics(self):
        return wire.metrics(self.port)

    def signal(self, signum=signal.SIGTERM):
        self.process.send_signal(signum)

    def wait(self, timeout=30):
        return self.process.wait(timeout)

    def stop(self):
        """As a user would; whatever a test did, this must end well."""
        if self.process.poll() is None:
            self.signal()
            try:
                self.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("octetd did not end after SIGTERM")
        return self.process.returncode


@pytest.fixture
def start():
    """start(FAKE_STEP_US=…, max_batch=…): a daemon of its own for one test."""
    running = []

    def run(**settings):
        if settings.get("kind", "fake") == "fake" and not FAKE:
            pytest.skip("octetd_fake is not built")
        running.append(Daemon(**settings))
        return running[-1]

    yield run
    for daemon in running:
        ended = daemon.process.poll()
        status = daemon.stop()
        text = daemon.stderr()
        assert "Sanitizer" not in text and "runtime error" not in text and "Assertion" not in text, text[-4000:]
        assert ended is not None or status == 0, f"ended with {status}: {text[-2000:]}"


@pytest.fixture(scope="session", params=["fake", "real"])
def daemon(request):
    """One long-lived daemon for tests that change nothing about it; both kinds where there is a model."""
    if request.param == "fake" and not FAKE:
        pytest.skip("octetd_fake is not built")
    if request.param == "real" and not (REAL and MODEL):
        pytest.skip("needs octetd and OCTET_MODEL")
    server = Daemon(request.param, FAKE_CTX=2048) if request.param == "fake" else Daemon("real", ctx=2048)
    yield server
    assert server.stop() == 0
    text = server.stderr()
    assert "Sanitizer" not in text and "runtime error" not in text, text[-4000:]
    assert server.stdout() == ""


def pytest_runtest_teardown(item):
    """Whatever a test of the shared daemon did, it serves others afterwards."""
    server = item.funcargs.get("daemon")
    if isinstance(server, Daemon):
        assert server.process.poll() is None, f"octetd ended: {server.stderr()[-3000:]}"
        assert wire.fetch(server.port, "/health").status == 200
