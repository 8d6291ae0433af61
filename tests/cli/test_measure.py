"""octet eval and octet bench engine: fields and identities between them; no test asserts a speed."""
import json

import pytest

from conftest import octet, refused

TEXT = ("It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of "
        "foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it "
        "was the season of Darkness, it was the spring of hope, it was the winter of despair. ") * 4


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT)
    return path


def evaluate(model, text, *args, **more):
    done = octet("eval", "--model", model, "--text", text, "--json", *args, **more)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    assert done.stdout.count(b"\n") == 1
    return json.loads(done.stdout)


def test_fields(int8, source, text):
    doc = evaluate(int8, text, "--reference", source, "--ctx", 64, "--chunks", 3)
    assert {"tokens", "chunks", "ctx", "ppl", "ppl_se", "reference"} <= doc.keys()
    assert doc["chunks"] == 3 and doc["ctx"] == 64
    assert doc["tokens"] == 3 * (64 - 1 - 32)  # positions 32 .. 62 of each chunk
    reference = doc["reference"]
    assert reference.keys() == {"ppl", "ppl_ratio", "kld_mean", "kld_median", "kld_p99", "kld_max", "same_top", "rms_dp"}
    assert reference["ppl_ratio"] == pytest.approx(doc["ppl"] / reference["ppl"], rel=1e-6)
    assert 0 < reference["kld_median"] <= reference["kld_p99"] <= reference["kld_max"]
    assert 0 < reference["kld_mean"] < 0.05 and 0.9 < reference["same_top"] <= 1 and 0 <= reference["rms_dp"] < 0.05


def test_without_a_reference(int8, text):
    assert evaluate(int8, text, "--ctx", 64, "--chunks", 1)["reference"] is None


def test_a_model_does_not_diverge_from_itself(source, text):
    doc = evaluate(source, text, "--reference", source, "--precision", "fp32", "--ctx", 64, "--chunks", 2)
    reference = doc["reference"]
    assert reference["ppl_ratio"] == pytest.approx(1, abs=1e-4) and reference["same_top"] == 1
    assert reference["kld_max"] < 1e-5 and reference["rms_dp"] < 1e-4
    assert reference["ppl"] == pytest.approx(doc["ppl"], rel=1e-4)


def test_threads_change_nothing(int8, text):
    one, two = (evaluate(int8, text, "--ctx", 64, "--threads", t) for t in (1, 2))
    assert one == two


# llama.cpp's own figures of the same text and the model dequantized to F32, 32-bit keys and values:
#   llama-quantize --allow-requantize SmolLM2-135M-Instruct.gguf f32.gguf F32
#   llama-perplexity -m f32.gguf -f text.txt -c CTX -b CTX -ctk f32 -ctv f32 -fa off
# With a context of 8, several chunks share a step and a step ends in the middle of one.
@pytest.mark.parametrize("repeats, ctx, chunks, ppl, ppl_se", [
    (1, 64, 1, 4.1228, None),
    (1, 64, 2, 4.8304, None),
    (1, 64, 4, 4.2265, 1.03526),
    (3, 64, 13, 3.7268, 0.45426),
    (1, 8, 37, 56.8737, 17.40902),
    (3, 8, 111, 56.6940, 9.98681),
])
def test_fp32_equals_llama_perplexity(source, repeats, ctx, chunks, ppl, ppl_se):
    doc = evaluate(source, "-", "--precision", "fp32", "--ctx", ctx, "--chunks", chunks, stdin=(TEXT * repeats).encode())
    assert doc["chunks"] == chunks and doc["tokens"] == chunks * (ctx - 1 - ctx // 2)
    assert doc["ppl"] == pytest.approx(ppl, rel=2e-5)
    if ppl_se:
        assert doc["ppl_se"] == pytest.approx(ppl_se, rel=2e-5)


def test_no_more_chunks_than_the_text_has(int8, text):
    assert evaluate(int8, text, "--ctx", 64, "--chunks", 1000)["chunks"] == 4


def test_text_from_stdin(int8, text):
    args = ["--ctx", 64, "--chunks", 1]
    assert evaluate(int8, "-", *args, stdin=TEXT.encode()) == evaluate(int8, text, *args)


def test_for_people(int8, source, text):
    said = octet("eval", "--model", int8, "--text", text, "--reference", source, "--ctx", 64, "--chunks", 1).stdout.decode()
    for word in ["perplexity", "reference", "KL divergence", "same top", "RMS"]:
        assert word in said


def test_text_too_short(int8, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("Too short.")
    said = refused(1, "eval", "--model", int8, "--text", short)
    assert "short.txt" in said and "512" in said


def test_text_missing_or_a_directory(int8, tmp_path):
    assert "nothing.txt" in refused(1, "eval", "--model", int8, "--text", tmp_path / "nothing.txt")
    assert "directory" in refused(1, "eval", "--model", int8, "--text", tmp_path)


def test_ctx_beyond_the_model(int8, text):
    said = refused(1, "eval", "--model", int8, "--text", text, "--ctx", 9000)
    assert "--ctx" in said and "8192" in said


def bench(model, *args):
    done = octet("bench", "engine", "--model", model, "--threads", 2, "--json", *args)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


FIELDS = {"batch", "prompt", "generate", "threads", "precision", "prefill_tok_s", "decode_tok_s", "prefill_s",
          "decode_s", "rss_bytes"}


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_bench_lines(int8, source, precision):
    lines = bench(int8 if precision == "int8" else source, "--precision", precision, "--prompt", 20, "--generate", 5,
                  "--batch", "1,3")
    assert [line["batch"] for line in lines] == [1, 3]
    for line in lines:
        assert line.keys() == FIELDS
        assert (line["prompt"], line["generate"], line["threads"], line["precision"]) == (20, 5, 2, precision)
        assert line["prefill_tok_s"] == pytest.approx(line["batch"] * 20 / line["prefill_s"], rel=1e-6)
        assert line["decode_tok_s"] == pytest.approx(line["batch"] * 5 / line["decode_s"], rel=1e-6)
        assert 50e6 < line["rss_bytes"] < 4e9


# SmolLM2-135M: 30 layers of 576 x (9 + 3 + 3) x 64, 576 x 576 and 3 x 576 x 1536, and 49152 x 576 for logits.
ROW_MACS, HEAD_MACS = 30 * (576 * 960 + 576 * 576 + 3 * 576 * 1536), 49152 * 576
INT8_BYTES = (ROW_MACS + HEAD_MACS) * (64 + 2) / 64  # a scale of two bytes for 64 weights


@pytest.mark.parametrize("precision, weight_bytes", [("int8", INT8_BYTES), ("fp32", 4 * (ROW_MACS + HEAD_MACS))])
def test_bench_roofline(int8, source, precision, weight_bytes):
    line, = bench(int8 if precision == "int8" else source, "--precision", precision, "--prompt", 20, "--generate", 5,
                  "--batch", 3, "--roofline")
    assert line.keys() == FIELDS | {"roofline"}
    roof = line["roofline"]
    assert all(value > 0 for name, value in roof.items() if name != "prefill_product_share"), roof
    peak = roof["peak_i8_macs_s" if precision == "int8" else "peak_f32_macs_s"]
    read = max(roof["read_far_bytes_s"], roof["read_near_bytes_s"])
    assert roof["decode_limit_tok_s"] == pytest.approx(min(3 * read / weight_bytes, peak / (ROW_MACS + HEAD_MACS)), rel=1e-3)
    assert roof["prefill_limit_tok_s"] == pytest.approx(peak / (ROW_MACS + HEAD_MACS / 20), rel=1e-6)
    assert roof["decode_share"] == pytest.approx(line["decode_tok_s"] / roof["decode_limit_tok_s"], rel=1e-6)
    assert roof["prefill_share"] == pytest.approx(line["prefill_tok_s"] / roof["prefill_limit_tok_s"], rel=1e-6)


def test_bench_profile(int8):
    line, = bench(int8, "--prompt", 20, "--generate", 5, "--profile")
    assert line.keys() == FIELDS | {"profile"}
    for phase in "prefill", "decode":
        parts = line["profile"][phase]
        assert parts.keys() == {"embed", "prepare", "qkv", "o", "gate_up", "down", "head", "store", "attention",
                                "activate", "sample", "wait"}
        assert {name for name, part in parts.items() if "macs_s" in part} == {"qkv", "o", "gate_up", "down", "head"}
        total = sum(part["seconds"] for part in parts.values())
        for part in parts.values():
            assert part["share"] == pytest.approx(part["seconds"] / total if total else 0)


def test_bench_ctx(int8):
    lines = bench(int8, "--ctx", "20,600", "--generate", 5, "--batch", "1,2", "--rounds", 2)
    assert [(line["batch"], line["ctx"], line["prompt"]) for line in lines] == [(b, c, c) for b in (1, 2) for c in (20, 600)]
    for line in lines:
        assert line.keys() == FIELDS | {"ctx", "ms_per_token", "bytes_per_token", "time_growth", "bytes_growth",
                                        "growth_ratio", "weight_bytes", "kv_bytes"}
        # 30 layers x 3 heads: 64 bytes of key, 64 of value, an f32 scale for each.
        kv = 30 * 3 * (64 + 64 + 4 + 4)
        assert line["bytes_per_token"] == pytest.approx(INT8_BYTES / line["batch"] + kv * (line["ctx"] + 3), rel=1e-3)
        assert line["kv_bytes"] == line["batch"] * kv * (line["ctx"] + 5)
        assert line["growth_ratio"] == pytest.approx(line["time_growth"] / line["bytes_growth"], rel=1e-6)
    assert lines[0]["time_growth"] == lines[2]["time_growth"] == lines[2]["bytes_growth"] == 1 < lines[3]["bytes_growth"]


def test_bench_for_people(int8):
    said = octet("bench", "engine", "--model", int8, "--prompt", 20, "--generate", 5, "--roofline", "--profile").stdout.decode()
    for word in ["GB/s", "of limit", "prefill:", "decode:", "multiply-adds"]:
        assert word in said
    said = octet("bench", "engine", "--model", int8, "--ctx", "20,30", "--generate", 5).stdout.decode()
    assert len(said.splitlines()) == 4 and "bytes x" in said


def test_bench_with_prompts_longer_than_a_step(int8):
    done = octet("bench", "engine", "--model", int8, "--prompt", 700, "--generate", 1, "--batch", "2")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3


def test_bench_beyond_the_context(int8):
    said = refused(1, "bench", "engine", "--model", int8, "--prompt", 8190, "--generate", 3)
    assert "8193" in said and "8192" in said
