"""Progress: on a terminal, and nowhere else (the other tests hold stderr to be empty)."""
import os
import pty
import subprocess
import threading

from conftest import BIN


def on_terminal(*args):
    """Run with stderr on a terminal; returns stdout's and stderr's bytes."""
    ours, theirs = pty.openpty()
    seen = []

    def drain():
        while True:
            try:
                seen.append(os.read(ours, 4096))
            except OSError:  # the other end is closed
                return

    reader = threading.Thread(target=drain)
    running = subprocess.Popen([BIN / "octet", *map(str, args)], stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    reader.start()
    out = running.communicate()[0]
    reader.join()
    os.close(ours)
    assert running.returncode == 0, b"".join(seen)
    return out, b"".join(seen).decode()


def test_quantize(source, tmp_path):
    out, shown = on_terminal("quantize", source, tmp_path / "o.gguf", "--json")
    assert out.startswith(b"{") and "quantizing" in shown and "%" in shown and shown.endswith("\r\n")


def test_loading(source):
    out, shown = on_terminal("generate", "--model", source, "--prompt", "x", "--max-tokens", 1, "--json")
    assert out.startswith(b"{") and "100 %" in shown and shown.endswith("\r\n")


def test_eval_shows_chunks_and_perplexity(int8, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("one two three four five six seven eight nine ten. " * 20)
    out, shown = on_terminal("eval", "--model", int8, "--text", text, "--ctx", 32, "--json")
    assert out.startswith(b"{") and "chunks" in shown and "perplexity" in shown and shown.endswith("\r\n")
