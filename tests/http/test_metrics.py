"""/metrics: what Prometheus' own checker asks for, and that the numbers are those of the requests."""

import re
import shutil
import subprocess

import pytest

from wire import ask, fetch, metrics, total, wait_for

NAME = re.compile(r"[a-z_][a-z0-9_]*")
LINE = re.compile(r'([a-z_][a-z0-9_]*)(\{(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*\})? (\S+)')


def families(text):
    """{name: (type, [(sample name, labels, value)])}; asserts the text format's rules."""
    found, current = {}, None
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, words = line[7:].split(" ", 1)
            assert NAME.fullmatch(name) and words and name not in found
            current, found[name] = name, [None, []]
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name == current and found[name][0] is None
            found[name][0] = kind
        else:
            name, labels, value = LINE.fullmatch(line).groups()
            kind = found[current][0]
            suffix = name[len(current):]
            assert name.startswith(current) and suffix in (["_bucket", "_sum", "_count"] if kind == "histogram" else [""])
            found[current][1].append((name, labels or "", float(value)))
    return found


def test_format(daemon):
    ask(daemon.port, {"prompt": "x", "max_tokens": 3})
    answer = fetch(daemon.port, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert len(answer.body) < 65536
    for name, (kind, samples) in families(answer.body.decode()).items():
        assert samples, name
        assert ":" not in name and name.startswith(("octet_", "process_"))
        assert (kind == "counter") == name.endswith("_total")
        assert len({(n, l) for n, l, _ in samples}) == len(samples)
        assert all(v >= 0 for _, _, v in samples)
        if kind == "histogram":
            assert name.endswith("_seconds")
            check_histogram(name, samples)


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool (Debian package prometheus)")
def test_promtool(daemon):
    done = subprocess.run(["promtool", "check", "metrics"], input=fetch(daemon.port, "/metrics").body, capture_output=True)
    assert done.returncode == 0 and not done.stdout and not done.stderr, done.stderr


def check_histogram(name, samples):
    groups = {}
    for sample, labels, value in samples:
        rest = re.sub(r'(,?)le="[^"]*"', "", labels)
        groups.setdefault(rest if rest != "{}" else "", []).append((sample, labels, value))
    for group in groups.values():
        buckets = [(re.search(r'le="([^"]*)"', l).group(1), v) for s, l, v in group if s == name + "_bucket"]
        bounds = [float(b.replace("+Inf", "inf")) for b, _ in buckets]
        counts = [v for _, v in buckets]
        assert bounds == sorted(set(bounds)) and bounds[-1] == float("inf")
        assert counts == sorted(counts)
        assert [v for s, _, v in group if s == name + "_count"] == [counts[-1]]


def test_build_info(daemon):
    text = fetch(daemon.port, "/metrics").body.decode()
    line = next(l for l in text.splitlines() if l.startswith("octet_build_info"))
    for label in ("version", "kernels", "precision", "kv"):
        assert re.search(label + r'="[^"]+"', line)
    assert line.endswith("} 1")


def test_numbers_are_those_of_the_requests(start):
    server = start()
    before = metrics(server.port)
    for stream in (False, True):
        ask(server.port, {"prompt": [1, 2, 3], "max_tokens": 5, "stream": stream})
    ask(server.port, {"prompt": [1], "max_tokens": 1, "stop": "x"})
    ask(server.port, {"prompt": "x", "max_tokens": 0})
    ask(server.port, {"prompt": [1] * 20, "max_tokens": 8190})
    after = wait_for(lambda: (m := metrics(server.port))["octet_requests_accepted_total"] == 4 and m)
    grew = {k: after[k] - before.get(k, 0) for k in after}
    assert grew["octet_prompt_tokens_total"] == 7
    assert grew["octet_generation_tokens_total"] == 11
    assert total(grew, "octet_requests_finished_total") == 3
    assert grew['octet_requests_failed_total{reason="context_length_exceeded"}'] == 1
    assert grew['octet_requests_refused_total{reason="out_of_range"}'] == 1
    assert grew["octet_time_to_first_token_seconds_count"] == 3
    assert grew["octet_inter_token_seconds_count"] == 8
    assert grew["octet_request_seconds_count"] == 4
    assert grew['octet_stage_seconds_count{stage="forward"}'] == 3
    assert grew['octet_stage_seconds_count{stage="parse"}'] == 5
    assert after["octet_kv_pages_used"] == 0 and after["octet_kv_pages"] > 0
    assert after["process_resident_memory_bytes"] > 1e6 and after["process_open_fds"] > 3
