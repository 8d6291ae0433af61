"""Help, version, wrong usage: no model needed."""
import subprocess

import pytest

from conftest import BIN, octet, refused

COMMANDS = ["quantize", "info", "tokenize", "generate", "eval", "bench", "bench engine"]
WITH_MODEL = ["tokenize", "generate --prompt x", "eval --text x", "bench engine"]


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_fits_a_screen(command, flag):
    done = octet(*command.split(), flag)
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0 and done.stderr == b""
    assert lines[0].startswith("usage: octet")
    assert len(lines) <= 24 and max(map(len, lines)) <= 80


def test_help_names_every_command():
    said = octet("--help").stdout.decode()
    for name in COMMANDS:
        assert f"  {name.split()[0]} " in said


def test_help_does_not_offer_what_is_not_built():
    for command in ["", "bench", "bench engine"]:
        said = octet(*command.split(), "--help").stdout.decode()
        for word in ["load", "compare"]:
            assert word not in said


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_version(command):
    done = octet(*command.split(), "--version")
    assert done.returncode == 0
    assert done.stdout.decode().split() == ["octet", *command.split(), "0.1.0"]


@pytest.mark.parametrize("command", ["", "bench"])
def test_nothing_asked_shows_help_on_stderr(command):
    done = octet(*command.split())
    assert done.returncode == 2 and done.stdout == b"" and done.stderr.startswith(b"usage: octet")


def test_unknown_command_is_named_and_the_known_listed():
    said = refused(2, "quantise")
    assert '"quantise"' in said
    for name in COMMANDS:
        assert name.split()[0] in said


def test_a_long_unknown_command_is_cut():
    assert refused(2, "x" * 5000)


@pytest.mark.parametrize("kind", ["load", "compare"])
def test_reserved_benches_are_refused_by_name(kind):
    said = refused(2, "bench", kind, "--url", "http://127.0.0.1")
    assert f'"{kind}"' in said and "not built yet" in said


def test_unknown_bench_is_named():
    assert '"engines"' in refused(2, "bench", "engines")


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "bench"])
def test_unknown_flag_is_named(command):
    assert "--wrong" in refused(2, *command.split(), "--wrong", "1")


@pytest.mark.parametrize("command", WITH_MODEL)
def test_model_is_required(command):
    assert "--model" in refused(2, *command.split())


def test_other_required_flags():
    assert "--prompt" in refused(2, "generate", "--model", "x")
    assert "--text" in refused(2, "eval", "--model", "x")


@pytest.mark.parametrize("args, flag, right", [
    ("generate --temperature -1", "--temperature", "0 to 2"),
    ("generate --temperature 2.1", "--temperature", "0 to 2"),
    ("generate --temperature nan", "--temperature", "0 to 2"),
    ("generate --temperature 1x", "--temperature", "0 to 2"),
    ("generate --top-p 0", "--top-p", "to 1"),
    ("generate --top-p 1.5", "--top-p", "to 1"),
    ("generate --min-p -0.1", "--min-p", "0 to 1"),
    ("generate --repetition-penalty 0", "--repetition-penalty", "to 10"),
    ("generate --top-k -3", "--top-k", "whole number"),
    ("generate --max-tokens 0", "--max-tokens", "1 to"),
    ("generate --max-tokens 99999999999999999999", "--max-tokens", "1 to"),
    ("generate --seed 9223372036854775808", "--seed", "9223372036854775807"),
    ("generate --precision int4", "--precision", "int8 or fp32"),
    ("generate --kv q8", "--kv", "int8, f16 or f32"),
    ("generate --threads 5000", "--threads", "0 to"),
    ("eval --text x --ctx 2", "--ctx", "4 to"),
    ("eval --text x --chunks all", "--chunks", "whole number"),
    ("bench engine --batch 1,,4", "--batch", "1,4,8"),
    ("bench engine --batch 0", "--batch", "1,4,8"),
    ("bench engine --batch 1,4,", "--batch", "1,4,8"),
    ("bench engine --batch 1025", "--batch", "1024"),
    ("bench engine --batch 4294967297", "--batch", "1024"),
    ("bench engine --rounds 0", "--rounds", "1 to 100"),
    ("bench engine --ctx 128,", "--ctx", "1,4,8"),
    ("bench engine --ctx 128 --prompt 64", "--ctx", "--prompt"),
    ("bench engine --prompt 0", "--prompt", "1 to"),
    ("bench engine --generate 0", "--generate", "1 to"),
])
def test_a_wrong_value_is_named_with_what_would_be_right(args, flag, right):
    command, rest = args.split()[0], args.split()[1:]
    extra = ["--prompt", "x"] if command == "generate" else []
    said = refused(2, command, *rest[:1], *extra, "--model", "x", *rest[1:]) if command == "bench" else \
        refused(2, command, "--model", "x", *extra, *rest)
    assert flag in said and right in said


@pytest.mark.parametrize("n", [0, 1, 3])
def test_quantize_takes_two_files(n):
    assert "quantize" in refused(2, "quantize", *["x"] * n)


def test_too_many_stops():
    args = [a for i in range(17) for a in ("--stop", str(i))]
    assert "--stop" in refused(2, "generate", "--model", "x", "--prompt", "x", *args)
    assert "--stop" in refused(2, "generate", "--model", "x", "--prompt", "x", "--stop", "x" * 1025)


def test_a_full_stdout_is_a_failure():
    with open("/dev/full", "w") as full:
        done = subprocess.run([BIN / "octet", "--help"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"stdout" in done.stderr
