"""The engines that are compared: how each comes to be on this machine, how it is run, how its output is read.

All of them live in one folder (OCTET_PEERS_DIR, else ~/.cache/octet-peers): llama.cpp/ with its build, venv/ with
OpenVINO GenAI, and the default model as q4_1.gguf (what is downloaded), f32.gguf and q8_0.gguf (made from it).
What is there already is taken as it is."""
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = pathlib.Path(os.environ.get("OCTET_PEERS_DIR") or pathlib.Path.home() / ".cache/octet-peers")
MODELS = pathlib.Path(os.environ.get("OCTET_HOME") or pathlib.Path.home() / ".local/share/octet")

# Another repository, or a folder with one, may stand in for GitHub: OCTET_LLAMA_CPP.
LLAMA_CPP = os.environ.get("OCTET_LLAMA_CPP") or "https://github.com/ggml-org/llama.cpp"
LLAMA_CPP_COMMIT = "de3ff815ea7d559ee917f063901b8986f038abc6"
OPENVINO = "openvino-genai==2026.4.1.0"


class Failed(Exception):
    """One sentence for the user."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sequences at once, tokens of each one's prompt, tokens decoded after its first."""
    batches: tuple = (1, 4, 8, 16, 32)
    prompt: int = 128
    generate: int = 64

    @property
    def name(self):
        return f"{self.prompt}+{self.generate}"


@dataclasses.dataclass(frozen=True)
class Times:
    prefill_s: float
    decode_s: float

    def best(self, other):
        return Times(min(self.prefill_s, other.prefill_s), min(self.decode_s, other.decode_s))


def run(*command, **more):
    """stdout of a command, or Failed with the end of what it said."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True, **more)
    except FileNotFoundError:
        raise Failed(f"{command[0]} is needed and not installed") from None
    except subprocess.CalledProcessError as e:
        said = (e.stderr or e.stdout).strip().splitlines()
        raise Failed(f"{' '.join(map(str, command[:6]))} … ended with {e.returncode}: {' / '.join(said[-3:])}") from None
    return done.stdout


def json_lines(text):
    """The JSON objects of a text that may hold other lines too."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def cells(rows, shape):
    """{batch: Times} of (batch, prefill_s, decode_s), one for each batch of the shape."""
    found = {batch: Times(float(prefill), float(decode)) for batch, prefill, decode in rows}
    missing = [batch for batch in shape.batches if batch not in found]
    if missing:
        raise Failed(f"it said nothing of batch {', '.join(map(str, missing))}")
    return {batch: found[batch] for batch in shape.batches}


class Engine:
    """name: in tables. precision: engines of one precision are compared. ours: is it octet?"""
    ours = False

    def __init__(self, name, precision):
        self.name, self.precision = name, precision

    def install(self):
        """Whatever is missing."""

    def version(self):
        raise NotImplementedError

    def measure(self, shape, threads):
        """{batch: Times}, one run of each batch."""
        raise NotImplementedError


class LlamaCpp(Engine):
    source, build = PEERS / "llama.cpp", PEERS / "llama.cpp/build"
    programs = "llama-batched-bench", "llama-quantize"

    def __init__(self, name, precision, model):
        super().__init__(name, precision)
        self.model = PEERS / model

    def install(self):
        if not all((self.build / "bin" / program).exists() for program in self.programs):
            self.make()
        make_models(self.build / "bin/llama-quantize")

    def make(self):
        if not (self.source / "CMakeLists.txt").exists():
            step(f"getting llama.cpp {LLAMA_CPP_COMMIT[:8]} from {LLAMA_CPP}")
            self.source.mkdir(parents=True, exist_ok=True)
            run("git", "init", "-q", self.source)
            run("git", "-C", self.source, "fetch", "-q", "--depth", "1", LLAMA_CPP, LLAMA_CPP_COMMIT)
            run("git", "-C", self.source, "checkout", "-q", "FETCH_HEAD")
        step("building llama.cpp for this CPU (minutes)")
        options = {"CMAKE_BUILD_TYPE": "Release", "GGML_NATIVE": "ON", "BUILD_SHARED_LIBS": "OFF",
                   "LLAMA_OPENSSL": "OFF", "LLAMA_USE_PREBUILT_UI": "OFF", "LLAMA_BUILD_TESTS": "OFF",
                   "LLAMA_BUILD_EXAMPLES": "OFF", "LLAMA_BUILD_APP": "OFF"}
        run("cmake", "-G", "Ninja", "-S", self.source, "-B", self.build, *(f"-D{k}={v}" for k, v in options.items()))
        run("ninja", "-C", self.build, *self.programs)

    def version(self):
        return "llama.cpp " + run("git", "-C", self.source, "rev-parse", "--short=8", "HEAD").strip()

    def measure(self, shape, threads):
        context = max(8192, max(shape.batches) * (shape.prompt + shape.generate))
        return self.read(run(self.build / "bin/llama-batched-bench", "-m", self.model, "-t", threads, "-c", context,
                             "-b", 2048, "-npp", shape.prompt, "-ntg", shape.generate,
                             "-npl", ",".join(map(str, shape.batches)), "--output-format", "jsonl"), shape)

    @staticmethod
    def read(text, shape):
        return cells([(row["pl"], row["t_pp"], row["t_tg"]) for row in json_lines(text)], shape)


class OpenVino(Engine):
    python = PEERS / "venv/bin/python"

    def install(self):
        try:
            self.version()
        except Failed:
            step(f"installing {OPENVINO} with pip")
            run(sys.executable, "-m", "venv", PEERS / "venv")
            run(self.python, "-m", "pip", "install", "-q", "--disable-pip-version-check", OPENVINO, "numpy")
        if not (PEERS / "q8_0.gguf").exists():
            raise Failed("OpenVINO runs the q8_0.gguf that llama.cpp makes: take llama.cpp along once")

    def version(self):
        code = "import importlib.metadata as m; print(m.version('openvino-genai'))"
        return "OpenVINO GenAI " + run(self.python, "-c", code).strip()

    def measure(self, shape, threads):
        program = pathlib.Path(__file__).with_name("openvino_cells.py")
        return self.read(run(self.python, program, PEERS / "q8_0.gguf", threads, shape.prompt, shape.generate,
                             *shape.batches), shape)

    @staticmethod
    def read(text, shape):
        return cells([(row["batch"], row["prefill_s"], row["decode_s"]) for row in json_lines(text)], shape)


class Octet(Engine):
    ours = True
    build = ROOT / "build/release"
    binary = pathlib.Path(os.environ.get("OCTET_BIN_DIR") or build / "bin") / "octet"

    def __init__(self, name, precision, model):
        super().__init__(name, precision)
        self.model = MODELS / model

    def install(self):
        if not self.binary.exists() or not self.model.exists():
            step("building octet and getting the default model")
            run("sh", ROOT / "deploy/quickstart.sh", "--once")
        elif self.binary.parent == self.build / "bin":
            run("cmake", "--build", self.build, "--target", "octet")  # what is measured is what is here

    def version(self):
        commit = run("git", "-C", ROOT, "describe", "--always", "--dirty").strip()
        return f"{run(self.binary, '--version').strip()} ({commit})"

    def measure(self, shape, threads):
        return self.read(run(self.binary, "bench", "engine", "--model", self.model, "--precision", self.precision,
                             "--threads", threads, "--prompt", shape.prompt, "--generate", shape.generate,
                             "--batch", ",".join(map(str, shape.batches)), "--json"), shape)

    @staticmethod
    def read(text, shape):
        return cells([(row["batch"], row["prefill_s"], row["decode_s"]) for row in json_lines(text)], shape)


def step(what):
    print(f"{pathlib.Path(sys.argv[0]).name}: {what}", file=sys.stderr, flush=True)


def make_models(quantize):
    """The default model in the formats of the peers."""
    given, f32, q8_0 = PEERS / "q4_1.gguf", PEERS / "f32.gguf", PEERS / "q8_0.gguf"
    if not given.exists() and not f32.exists():
        shutil.copy(MODELS / "SmolLM2-135M-Instruct.gguf", given)
    for source, target, kind in ((given, f32, "F32"), (f32, q8_0, "Q8_0")):
        if not target.exists():
            step(f"making {target.name}")
            half = target.with_suffix(".half")
            run(quantize, "--allow-requantize", source, half, kind)
            half.rename(target)


def all_engines():
    """octet first: it brings the model that the others are made from."""
    return [Octet("octet INT8", "int8", "SmolLM2-135M-Instruct.int8.gguf"),
            Octet("octet FP32", "fp32", "SmolLM2-135M-Instruct.gguf"),
            LlamaCpp("llama.cpp Q8_0", "int8", "q8_0.gguf"),
            LlamaCpp("llama.cpp F32", "fp32", "f32.gguf"),
            OpenVino("OpenVINO Q8_0", "int8")]
