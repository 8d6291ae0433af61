"""The same request gives the same text: among 31 others or alone, on one thread or two, on every kernel set.

The reference is one server (the best set, one thread) asked one request at a time; every other server is asked all of
them at once. Real model, real sockets."""

import concurrent.futures
import json

import pytest

from conftest import MODEL, REAL
from wire import ask

SUBJECTS = ["the sea", "a clock", "bread", "winter", "a bridge", "letters", "the moon", "a violin"]
REQUESTS = [
    {
        "prompt": f"Write about {SUBJECTS[i % 8]}." + " Then go on." * (i % 5),
        "max_tokens": 6 + i % 5,
        "temperature": [0, 0.7, 1.0, 1.3][i % 4],
        "top_p": [1, 0.9][i % 2],
        "top_k": [0, 0, 40][i % 3],
        "repetition_penalty": [1.0, 1.2][i // 16],
        "ignore_eos": True,
        "seed": 1000 + i,
    }
    for i in range(32)
]


def kernel_sets():
    with open("/proc/cpuinfo") as f:
        flags = next((line.split() for line in f if line.startswith(("flags", "Features"))), [])
    sets = {"avx2": "avx2", "avxvnni512vl": "avx512_vnni", "avxvnni": "avx_vnni", "amx": "amx_int8",
            "avx512vnni": "avx512_vnni", "neondot": "asimddp", "neoni8mm": "i8mm"}
    return ["generic"] + [name for name, flag in sets.items() if flag in flags]


def text(port, request):
    answer = ask(port, request, timeout=600)
    assert answer.status == 200, answer.body
    body = json.loads(answer.body)
    assert body["usage"]["completion_tokens"] == request["max_tokens"] and body["seed"] == request["seed"]
    return body["text"]


@pytest.fixture(scope="module")
def alone():
    """Every text from a server that has nothing else to do. Filled by the first test that asks."""
    return {}


@pytest.mark.skipif(not (REAL and MODEL), reason="needs octetd and OCTET_MODEL")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("cpu", kernel_sets())
def test_32_streams_equal_one_at_a_time(start, alone, cpu, threads):
    if not alone:
        server = start(kind="real", OCTET_CPU=kernel_sets()[-1], threads=1, ctx=512)
        alone.update({i: text(server.port, r) for i, r in enumerate(REQUESTS)})
        assert len(set(alone.values())) > 24  # they do differ
        server.stop()
    server = start(kind="real", OCTET_CPU=cpu, threads=threads, ctx=512)
    assert server.log("ready")[0]["kernels"] == cpu
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        texts = list(pool.map(lambda r: text(server.port, r), REQUESTS))
    assert texts == [alone[i] for i in range(32)]
