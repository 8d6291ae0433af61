"""What a prompt costs those that stream meanwhile: `python3 tests/bench/pause.py octetd --model FILE [more flags]`.

Sixteen streams decode; then, again and again, a new prompt of 128 tokens comes. For each: the longest gap between two
pieces of text that a stream saw while it was computed, against that stream's usual gap, and the time to its own first
token."""
import argparse
import json
import os
import pathlib
import random
import selectors
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "http"))
import wire


class Stream:
    """A streamed request; notes when each token came. Never reads more than what is there."""

    def __init__(self, port, prompt, max_tokens, selector):
        body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True, "stream": True}
        self.client = wire.Client(port)
        self.times, self.ended, self.rest, self.selector = [], False, b"", selector
        self.sent = time.perf_counter()
        self.client.send(wire.post(body))
        selector.register(self.client.socket, selectors.EVENT_READ, self)

    def read(self):
        now = time.perf_counter()
        data = self.rest + self.client.socket.recv(1 << 16)
        self.times += [now] * (data.count(b'data: {"id"') - self.rest.count(b'data: {"id"'))
        self.ended = b"data: [DONE]" in data
        self.rest = data[-12:]
        if self.ended:
            self.close()

    def close(self):
        self.selector.unregister(self.client.socket)
        self.client.close()

    def gaps(self, since, until):
        """Between tokens, those that end in the time given."""
        return [b - a for a, b in zip(self.times, self.times[1:]) if b > a and since <= b <= until]


def pump(selector, until):
    while not until():
        for key, _ in selector.select(0.5):
            key.data.read()


def start(command):
    server = subprocess.Popen(command + ["--port", "0"], stderr=subprocess.PIPE, text=True)
    port = None
    for line in server.stderr:
        event = json.loads(line) if line.startswith("{") else {}
        port = event.get("port", port)
        if event.get("event") == "ready":
            break
    else:
        sys.exit("octetd did not start")
    subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)  # its log must not block it
    return server, port


def one_round(port, streams, prompt, selector):
    """Usual steps, then the prompt; of the stream that it cost most: (usual gap, longest gap, first token)."""
    settled = [len(s.times) + 20 for s in streams]
    began = time.perf_counter()
    pump(selector, lambda: all(len(s.times) >= n for s, n in zip(streams, settled)))
    usual = [statistics.median(s.gaps(began, time.perf_counter())) for s in streams]
    new = Stream(port, prompt, 1, selector)
    pump(selector, lambda: new.ended)
    after = [len(s.times) + 2 for s in streams]
    pump(selector, lambda: all(len(s.times) >= n for s, n in zip(streams, after)))
    worst = [max(s.gaps(new.sent, new.times[0] + u)) for s, u in zip(streams, usual)]
    most = max(range(len(streams)), key=lambda i: worst[i] / usual[i])
    return usual[most], worst[most], new.times[0] - new.sent


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="octetd and its flags")
    args = parser.parse_args()
    server, port = start(args.command)
    try:
        rng = random.Random(7)
        selector = selectors.DefaultSelector()
        streams = [Stream(port, f"Once upon a time, in the year {1900 + i}, there was", 4000, selector)
                   for i in range(args.streams)]
        pump(selector, lambda: all(len(s.times) > 5 for s in streams))
        rounds = []
        for _ in range(args.rounds):
            prompt = [rng.randrange(100, 400) for _ in range(args.prompt)]
            rounds.append(one_round(port, streams, prompt, selector))
            usual, worst, first = rounds[-1]
            print(f"usual gap {usual * 1e3:6.1f} ms, longest {worst * 1e3:6.1f} ms = {worst / usual:4.2f}x, "
                  f"first token after {first * 1e3:6.1f} ms")
        usual, worst, first = (statistics.median(r) for r in zip(*rounds))
        ratio = statistics.median(w / u for u, w, _ in rounds)
        print(json.dumps({"streams": args.streams, "prompt": args.prompt, "rounds": args.rounds,
                          "usual_gap_ms": round(usual * 1e3, 2), "longest_gap_ms": round(worst * 1e3, 2),
                          "longest_over_usual": round(ratio, 3), "ttft_ms": round(first * 1e3, 2)}))
        for stream in streams:
            stream.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
