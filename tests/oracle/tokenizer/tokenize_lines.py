"""Ask octet's tokenizer for the ids of many texts, by the test program tokenize_lines."""
import struct
import subprocess


def run(program, model, texts, *flags):
    data = b"".join(struct.pack("<I", len(t)) + t for t in texts)
    done = subprocess.run([program, model, *flags], input=data, capture_output=True)
    assert done.returncode == 0, f"{model}: status {done.returncode}: {done.stderr.decode(errors='replace')}"
    return done.stdout


def as_bytes(texts):
    return [t.encode() if isinstance(t, str) else t for t in texts]


def ids_of(program, model, texts, *flags):
    """A list of ids for each text (str or bytes)."""
    found = [[int(i) for i in line.split()] for line in run(program, model, as_bytes(texts), *flags).decode().split("\n")[:-1]]
    assert len(found) == len(texts)
    return found


def round_trip(program, model, texts, *flags):
    """The bytes that each text's ids stand for."""
    out, found = run(program, model, as_bytes(texts), "detok", *flags), []
    while out:
        n = struct.unpack_from("<I", out)[0]
        found.append(out[4:4 + n])
        out = out[4 + n:]
    assert len(found) == len(texts)
    return found
