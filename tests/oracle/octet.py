"""octet's programs, run for the tests."""

import json
import os
import subprocess

import numpy as np
import pytest

BIN = os.environ.get("OCTET_BIN_DIR")


def program(name):
    if not BIN:
        pytest.skip("OCTET_BIN_DIR is not set: build/release/bin, say")
    return os.path.join(BIN, name)


def run(name, *args, input=b"", cpu=None):
    """stdout of a program that must succeed."""
    env = dict(os.environ)
    env.pop("OCTET_CPU", None)
    if cpu:
        env["OCTET_CPU"] = cpu
    done = subprocess.run([program(name), *map(str, args)], input=input, capture_output=True, env=env)
    assert done.returncode == 0, f"{name} {args}: status {done.returncode}: {done.stderr.decode()[-600:]}"
    return done.stdout


def fails(name, *args):
    """What a program says that must not succeed."""
    done = subprocess.run([program(name), *map(str, args)], capture_output=True)
    assert done.returncode in (1, 2) and not done.stdout, done.stderr.decode()
    return done.stderr.decode()


class Engine:
    """octet over one file with one choice of settings."""

    def __init__(self, path, precision, kv, threads=1, chunk=64, cpu=None, together=False):
        self.args = [path, precision, kv, threads, chunk]
        self.flags = ["--together"] if together else []
        self.cpu = cpu

    def raw(self, lines, *flags):
        stdin = "".join(" ".join(map(str, ids)) + "\n" for ids in lines).encode()
        return run("octet_logits", *self.args, *flags, *self.flags, input=stdin, cpu=self.cpu)

    def logits(self, lines):
        """[ids][vocabulary] of each line."""
        flat = np.frombuffer(self.raw(lines), dtype="<f4").reshape(sum(map(len, lines)), -1)
        return np.split(flat, np.cumsum([len(ids) for ids in lines])[:-1])

    def greedy(self, lines, n):
        out = self.raw(lines, "--greedy", n).decode().splitlines()
        return [[int(id) for id in line.split()] for line in out]


def tokenize(path, text, *flags):
    return json.loads(run("octet", "tokenize", "--model", path, "--json", *flags, input=text.encode()))["ids"]


def kernel_sets():
    """The sets this CPU has, by the kernel's word and not octet's."""
    with open("/proc/cpuinfo", encoding="ascii") as f:
        flags = next((line for line in f if line.startswith(("flags", "Features"))), "").split()
    needs = {
        "generic": [],
        "avx2": ["avx2", "fma", "f16c"],
        "avxvnni512vl": ["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"],
        "avxvnni": ["avx2", "fma", "f16c", "avx_vnni"],
        "avx512vnni": ["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"],
        "amx": ["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "amx_tile", "amx_int8"],
        "neondot": ["asimddp"],
        "neoni8mm": ["asimddp", "i8mm"],
    }
    return [name for name, need in needs.items() if set(need) <= set(flags)]
