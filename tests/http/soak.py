#!/usr/bin/env python3
"""Soak: many clients for a long time, of whom a tenth disconnect, some read slowly and some send garbage.

Starts a daemon (octetd with OCTET_MODEL, else octetd_fake; see conftest.py) and checks at the end: every answer was
the one that the same request gave alone, memory and descriptors are flat, the counters add up, nothing is left inside.

    OCTET_MODEL=… python3 tests/http/soak.py --seconds 900
"""

import argparse
import json
import os
import random
import statistics
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from conftest import MODEL, REAL, Daemon  # noqa: E402
from wire import Client, Closed, ask, events, get, post, total, wait_for  # noqa: E402

WORDS = "the sky is blue because light of a short wave is scattered more than others when it meets air".split()


def make_requests(n, rng, tokens):
    found = []
    for i in range(n):
        body = {"prompt": " ".join(rng.choices(WORDS, k=rng.randint(2, 90))), "max_tokens": rng.randint(1, tokens), "seed": i}
        if i % 3 == 0:
            body["temperature"] = 0
        if i % 5 == 0:
            body["stop"] = ["e a", "xyz"]
        if i % 7 == 0:
            body["repetition_penalty"] = 1.3
        found.append(body)
    return found


def text_of(answer):
    if answer.headers["content-type"].startswith("application/json"):
        return answer.json["text"]
    found = events(answer.body)
    assert found[-1] == "[DONE]", found[-1]
    return "".join(json.loads(e)["text"] for e in found[:-1])


class Soak:
    def __init__(self, daemon, requests, want):
        self.daemon, self.requests, self.want = daemon, requests, want
        self.lock = threading.Lock()
        self.counts = {}
        self.wrong = []
        self.stop = threading.Event()

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def check(self, i, answer):
        if answer.status == 429:
            self.count("refused 429")
        elif answer.status != 200 or text_of(answer) != self.want[i]:
            with self.lock:
                self.wrong.append((self.requests[i], answer.status, answer.body[-300:]))
        else:
            self.count("right")

    def well_behaved(self, rng):
        with Client(self.daemon.port, timeout=120) as client:
            for _ in range(rng.randint(1, 4)):
                i = rng.randrange(len(self.requests))
                client.send(post({**self.requests[i], "stream": rng.random() < 0.6}))
                self.check(i, client.answer())

    def disconnects(self, rng):
        client = Client(self.daemon.port)
        client.send(post({**self.requests[rng.randrange(len(self.requests))], "stream": rng.random() < 0.7, "max_tokens": 400}))
        time.sleep(rng.random() * 0.5)
        client.reset() if rng.random() < 0.5 else client.close()
        self.count("disconnected")

    def slow(self, rng):
        """Reads the whole stream, but in small sips."""
        i = rng.randrange(len(self.requests))
        with Client(self.daemon.port, timeout=120, rcvbuf=4096) as client:
            client.send(post({**self.requests[i], "stream": True}))
            while True:
                try:
                    got = client.socket.recv(rng.randint(1, 700))
                except ConnectionError:
                    break
                client.buffer += got
                if not got or client.buffer.endswith(b"0\r\n\r\n"):
                    break
                time.sleep(0.01)
            self.check(i, client.answer())

    def garbage(self, rng):
        kind = rng.randrange(6)
        with Client(self.daemon.port, timeout=2) as client:
            try:
                if kind == 0:
                    client.send(rng.randbytes(rng.randint(1, 3000)))
                elif kind == 1:
                    client.send(post(rng.randbytes(200)))
                elif kind == 2:
                    client.send(post({"prompt": "x"})[: rng.randint(1, 120)])
                elif kind == 3:
                    client.send(post({"prompt": "x", "nonsense": 1}))
                elif kind == 4:
                    client.send(post(b"x" * 100, headers=["Content-Length: 5"]))
                else:
                    client.send(get("/" + "y" * rng.randint(1, 3000)))
                client.socket.settimeout(0.2)
                client.rest()
            except (ConnectionError, TimeoutError, Closed):
                pass
        self.count("garbage")

    def client(self, seed):
        rng = random.Random(seed)
        while not self.stop.is_set():
            dice = rng.random()
            try:
                if dice < 0.1:
                    self.disconnects(rng)
                elif dice < 0.15:
                    self.slow(rng)
                elif dice < 0.2:
                    self.garbage(rng)
                else:
                    self.well_behaved(rng)
            except (Closed, OSError, AssertionError, ValueError, KeyError) as error:
                with self.lock:
                    self.wrong.append(("", type(error).__name__, str(error)[-300:]))
                time.sleep(0.1)


def settled(daemon):
    def check():
        m = daemon.metrics()
        ends = total(m, "octet_requests_finished_total") + m["octet_requests_cancelled_total"] + total(m, "octet_requests_failed_total")
        inside = m["octet_requests_running"] + m["octet_requests_waiting"] + m["octet_kv_pages_used"]
        return m["octet_requests_accepted_total"] == ends and inside == 0 and m["octet_http_connections"] == 1 and m

    return wait_for(check, 30)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=40, help="different ones")
    parser.add_argument("--tokens", type=int, default=48, help="most tokens of one")
    parser.add_argument("--kv-cache", default="", help="as octetd's: little makes it preempt")
    args = parser.parse_args()
    settings = {"max_batch": 16, "max_queue": 64, "ctx": 2048}
    if args.kv_cache:
        settings["kv_cache"] = args.kv_cache
    kind = "real" if MODEL and REAL else "fake"
    daemon = Daemon(kind, FAKE_STEP_US=2000, FAKE_PAGES=40, FAKE_CTX=2048, **settings)
    requests = make_requests(args.requests, random.Random(1), args.tokens)
    want = [text_of(ask(daemon.port, body)) for body in requests]
    base = settled(daemon)

    soak = Soak(daemon, requests, want)
    threads = [threading.Thread(target=soak.client, args=(seed,), daemon=True) for seed in range(args.clients)]
    for thread in threads:
        thread.start()
    rss, fds, end = [], [], time.monotonic() + args.seconds
    while time.monotonic() < end and daemon.process.poll() is None:
        time.sleep(min(1, args.seconds / 20))
        m = daemon.metrics()
        rss.append(m["process_resident_memory_bytes"])
        fds.append(m["process_open_fds"] - m["octet_http_connections"])
    soak.stop.set()
    for thread in threads:
        thread.join(150)
    last = settled(daemon)

    quarter = max(1, len(rss) // 4)
    early, late = statistics.median(rss[quarter : 2 * quarter] or rss), statistics.median(rss[-quarter:])
    failures = []
    if soak.wrong:
        failures.append(f"{len(soak.wrong)} wrong answers, the first: {soak.wrong[0]}")
    with open(f"/proc/{daemon.process.pid}/maps") as maps:
        sanitized = "libasan" in maps.read()  # its quarantine grows by design
    if late > early * 1.02 + (2 << 20) and not sanitized:
        failures.append(f"memory grew from {early / 2**20:.1f} to {late / 2**20:.1f} MiB")
    status = daemon.stop()
    if last["process_open_fds"] != base["process_open_fds"]:
        failures.append(f"{base['process_open_fds']:.0f} descriptors before, {last['process_open_fds']:.0f} after")
    if max(fds) - min(fds) > 2:
        failures.append(f"between {min(fds):.0f} and {max(fds):.0f} descriptors beside the connections")
    if status != 0:
        failures.append(f"ended with {status}")
    if "Sanitizer" in daemon.stderr() or "runtime error" in daemon.stderr():
        failures.append("a sanitizer spoke: " + daemon.stderr()[-2000:])
    print(json.dumps({
        "kind": kind, "seconds": args.seconds, "clients": args.clients, **soak.counts, "wrong": len(soak.wrong),
        "accepted": last["octet_requests_accepted_total"], "finished": total(last, "octet_requests_finished_total"),
        "cancelled": last["octet_requests_cancelled_total"], "failed": total(last, "octet_requests_failed_total"),
        "preemptions": last["octet_preemptions_total"], "tokens": last["octet_generation_tokens_total"],
        "slow_clients": last["octet_slow_clients_total"],
        "rss_mib": [round(v / 2**20, 1) for v in (base["process_resident_memory_bytes"], early, late)],
        "loop_lag_ms_mean": round(1000 * last["octet_loop_lag_seconds_sum"] / last["octet_loop_lag_seconds_count"], 3),
        "failures": failures,
    }, indent=1))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
