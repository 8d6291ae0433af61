"""octet quantize --report against numpy's reading of the two files; and pages that stay pages whatever is in them."""
import html.parser
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from conftest import BIN, octet, refused

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import make_tiny  # noqa: E402
import oracle  # noqa: E402
from stored import Stored, turn  # noqa: E402

SCHEMES = ["int8", "int8-affine-f32-g128", "int4-g64", "int4-affine", "int8-tensor-h0", "fast"]


class Made:
    def __init__(self, folder, scheme):
        self.source, self.out, self.files = folder / "in.gguf", folder / "out.gguf", folder / "report"
        make_tiny.make("qwen2-untied", str(self.source))
        reports = ",".join(f"{self.files}.{kind}" for kind in ("html", "json", "md"))
        done = octet("quantize", self.source, self.out, "--scheme", scheme, "--report", reports)
        assert done.returncode == 0, done.stderr
        self.report = json.loads(pathlib.Path(f"{self.files}.json").read_text())


@pytest.fixture(scope="module", params=SCHEMES)
def made(request, tmp_path_factory):
    return Made(tmp_path_factory.mktemp("report"), request.param)


def grid(made, name):
    """(weights as they are rounded, scale and zero point of each, integers) of one matrix, [n][padded k]."""
    source, out = oracle.File(str(made.source)), Stored(str(made.out))
    base = name.removesuffix(".weight")
    spec, w = out.specs[base], source.tensor(name)
    w = turn(turn(w, spec["block_out"], axis=0), spec["block_in"])
    scale = np.repeat(out.rows(base + ".octet_scale").astype(float), spec["group"], axis=1)[:, : w.shape[1]]
    zero = np.zeros_like(w)
    if spec["zero"]:
        zero = np.repeat(out.rows(base + ".octet_zero").astype(float), spec["group"], axis=1)[:, : w.shape[1]]
    stored = out.integers(base)[:, : w.shape[1]]
    return w, scale, zero, stored, spec


def test_each_tensor(made):
    out = Stored(str(made.out))
    assert [t["name"].removesuffix(".weight") for t in made.report["tensors"]] == list(out.specs)
    for t in made.report["tensors"]:
        w, scale, zero, stored, spec = grid(made, t["name"])
        assert [t["rows"], t["columns"]] == list(w.shape)
        assert (t["bits"], t["group"], t["hadamard"]) == (spec["bits"], spec["group"], spec["block_in"])
        assert [t["min"], t["max"]] == pytest.approx([w.min(), w.max()], rel=1e-5)
        scales = np.sort(np.abs(out.rows(t["name"].removesuffix("weight") + "octet_scale")).astype(float), axis=None)
        assert list(t["scale"].values()) == pytest.approx([scales[0], scales[len(scales) // 2], scales[-1]], rel=1e-6)
        assert list(t["scale"]) == ["min", "median", "max"]
        if spec["zero"]:
            assert t["zero"] == {"min": zero.min(), "max": zero.max()}
        else:
            assert t["zero"] is None
        signal, noise = (w**2).sum(), ((w - stored) ** 2).sum()
        assert t["snr_db"] == pytest.approx(10 * np.log10(signal / noise), abs=1e-3)
        low, high = (-8, 7) if spec["bits"] == 4 else (-128 if spec["zero"] else -127, 127)
        place = w / scale + zero
        beyond = ((place < low - 0.5) | (place >= high + 0.5)).mean()
        assert t["clipped"] == pytest.approx(beyond, abs=3 / w.size)
        files = [{x.name: int(x.n_bytes) for x in f.reader.tensors} for f in (oracle.File(str(made.source)), out)]
        assert t["bytes_in"] == files[0][t["name"]]
        assert t["bytes_out"] == sum(n for name, n in files[1].items() if name.startswith(t["name"][:-6] + "octet_"))


def test_4_bits_are_clipped_on_one_side(tmp_path):
    """So that the share above is once other than nothing."""
    assert max(t["clipped"] for t in Made(tmp_path, "int4-g64").report["tensors"]) > 1e-3


def test_the_noisiest_and_where_they_lie(made):
    by_noise = sorted(made.report["tensors"], key=lambda t: t["snr_db"])
    assert [w["tensor"] for w in made.report["worst"]] == [t["name"] for t in by_noise[:6]]
    for shown in made.report["worst"]:
        w, scale, zero, _, spec = grid(made, shown["tensor"])
        first, last = (-8, 7) if spec["bits"] == 4 else (-128, 127)
        assert (shown["first"], shown["last"]) == (first, last)
        place = w / scale + zero
        if not (spec["zero"] or spec["bits"] == 4):
            place = place[place >= -127.5]
        want, _ = np.histogram(place, np.linspace(first - 0.5, last + 0.5, 257))
        assert sum(shown["counts"]) + shown["clipped"] == w.size
        assert np.abs(want - shown["counts"]).sum() <= 4 + w.size // 5000, "but for those on an edge of two bins"


def test_floats_of_a_plan(tmp_path):
    make_tiny.make("qwen2-untied", str(tmp_path / "in.gguf"))
    plan = {"version": 1, "default": "int8", "modules": {"blk.0.ffn_down": "f16", "blk.1.attn_v": "f32"}}
    (tmp_path / "plan").write_text(json.dumps(plan))
    done = octet("quantize", tmp_path / "in.gguf", tmp_path / "out.gguf", "--plan", tmp_path / "plan",
                 "--report", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    report, source = json.loads((tmp_path / "r.json").read_text()), oracle.File(str(tmp_path / "in.gguf"))
    found = {t["name"]: t for t in report["tensors"]}
    half, whole = found["blk.0.ffn_down.weight"], found["blk.1.attn_v.weight"]
    w = source.tensor("blk.0.ffn_down.weight")
    kept = w.astype(np.float16).astype(float)
    assert half["bits"] == 16 and half["scale"] is half["zero"] is None and half["clipped"] == 0
    assert [half["min"], half["max"]] == pytest.approx([kept.min(), kept.max()], rel=1e-8)
    assert half["snr_db"] == pytest.approx(10 * np.log10((w**2).sum() / ((w - kept) ** 2).sum()), abs=1e-3)
    assert half["bytes_out"] == 2 * w.size and whole["bits"] == 32 and whole["bytes_out"] == 4 * whole["rows"] * whole["columns"]
    out = {t.name: int(t.n_bytes) for t in oracle.File(str(tmp_path / "out.gguf")).reader.tensors}
    assert report["totals"]["bytes_stored"] == sum(out.values())
    assert report["totals"]["bytes_fp32"] == 4 * sum(t.n_elements for t in source.reader.tensors)
    assert not {"blk.0.ffn_down.weight", "blk.1.attn_v.weight"} & {w["tensor"] for w in report["worst"]}
    _, (page, _) = page_of(report, tmp_path, "html", "md")
    said = check_page(page.read_text()).said
    assert "f16" in said and "f32" in said


def test_totals(made):
    totals, source, out = made.report["totals"], oracle.File(str(made.source)), Stored(str(made.out))
    n = sum(t.n_elements for t in source.reader.tensors)
    stored = sum(int(t.n_bytes) for t in out.reader.tensors)
    assert totals["bytes_fp32"] == 4 * n and totals["weights"] + totals["kept_f32"] == n
    assert totals["bytes_stored"] == stored
    assert totals["fp32_ratio"] == pytest.approx(4 * n / stored, rel=1e-6)
    assert totals["bits_per_weight"] == pytest.approx(8 * stored / n, rel=1e-6)
    assert totals["bytes_out"] == made.out.stat().st_size and totals["bytes_in"] == made.source.stat().st_size
    assert totals["tensors"] == len(source.reader.tensors) and totals["quantized"] == len(made.report["tensors"])


class Page(html.parser.HTMLParser):
    """Tags that are opened and closed, and the text between them."""

    EMPTY = {"meta"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.said, self.attributes = [], set(), "", []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said += data


def check_page(text):
    page = Page(text)
    assert {name for name, _ in page.attributes}.isdisjoint({"src", "href", "srcset", "action", "data", "poster"})
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "base", "form"})
    assert "url(" not in text and "@import" not in text and "//" not in text
    return page


def test_page_and_tables_say_the_same(made):
    text = pathlib.Path(f"{made.files}.html").read_text()
    table = pathlib.Path(f"{made.files}.md").read_text()
    page = check_page(text)
    for t in made.report["tensors"]:
        assert t["name"] in page.said and t["name"].replace("_", "\\_") in table
        assert f"{t['snr_db']:.1f}" in page.said and f"| {t['snr_db']:.2f} | {t['bytes_in']} | {t['bytes_out']} |" in table
    assert f"{made.report['totals']['bits_per_weight']:.2f}" in page.said
    assert text.count("<svg") == len(made.report["worst"])


HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</title></style>&amp;", "a|b`c\n# d", "'é\x7f"]


def page_of(document, folder, *kinds, **more):
    files = [folder / f"page.{kind}" for kind in kinds]
    done = subprocess.run([BIN / "report_page", ",".join(map(str, files))], input=json.dumps(document).encode(),
                          capture_output=True, timeout=60, **more)
    return done, files


def test_hostile_names_stay_text(tmp_path):
    document = Made(tmp_path, "int8").report
    bad = "".join(HOSTILE)
    for i, t in enumerate(document["tensors"]):
        t["name"] = ("blk.1." if i % 2 else "") + bad
    document.update(model=bad, scheme=bad, note=bad, octet=bad, **{"in": bad})
    document["worst"][0]["tensor"] = bad
    document["sensitivities"] = [{"unit": bad, "choice": bad, "bytes": 10, "kld": 0.1}]
    document["plans"] = [{"plan": bad, "bytes": 10, "kld": 0.1, "chosen": True}, {"plan": "b", "bytes": 20, "kld": 0.01}]
    done, (page, table) = page_of(document, tmp_path, "html", "md")
    assert done.returncode == 0, done.stderr
    said = check_page(page.read_text()).said
    shown = bad.replace("\n", "\ufffd").replace("\x7f", "\ufffd")
    assert said.count(shown) >= 8
    rows = [re.findall(r"(?<!\\)\|", line) for line in table.read_text().split("## Every matrix")[1].splitlines() if "|" in line]
    assert len({len(row) for row in rows}) == 1, "a name made a cell of its own"
    assert re.search(r"(?<!\\)[<`]", table.read_text()) is None


def test_sensitivities_and_plans_are_drawn(tmp_path):
    document = Made(tmp_path, "int8").report
    document["sensitivities"] = [{"unit": f"unit {i}", "choice": "int4-g32", "bytes": -1000, "kld": i / 1e4} for i in range(90)]
    document["plans"] = [{"plan": f"plan {i}", "bytes": 1e6 + 1e4 * i, "predicted": 0.1 / (1 + i), "chosen": i == 3} for i in range(9)]
    for plan in document["plans"][:5]:
        plan["kld"] = plan["predicted"] * 1.1
    _, (page, table) = page_of(document, tmp_path, "html", "md")
    text = page.read_text()
    said = check_page(text).said
    assert said.index("unit 89") < said.index("unit 88") and "30 weaker ones" in said
    assert text.count('class="chosen"') == 1 and text.count('class="dot"') == 4 and text.count('class="guess"') == 4
    assert len(re.findall(r"unit \d", table.read_text())) == 90 and "plan 8" in table.read_text()
    document["plans"], document["sensitivities"] = [{"plan": "none", "bytes": 0, "kld": -1}], []
    _, (page,) = page_of(document, tmp_path, "html")
    check_page(page.read_text())


def test_a_search_is_told(tmp_path):
    """Sensitivities as swept, each choice for all, and the plan that was taken."""
    make_tiny.make("qwen2-tied", str(tmp_path / "in.gguf"))
    done = octet("quantize", tmp_path / "in.gguf", tmp_path / "out.gguf", "--best", "--choices", "int4,int8", "--json",
                 "--sweep", tmp_path / "sweep", "--report", f"{tmp_path}/r.json,{tmp_path}/r.html")
    assert done.returncode == 0, done.stderr
    report, found = json.loads((tmp_path / "r.json").read_text()), json.loads(done.stdout)["search"]
    lines = [json.loads(line) for line in (tmp_path / "sweep").read_text().splitlines()]
    units = [line for line in lines if "unit" in line]
    assert [(u["unit"], u["choice"], u["bytes"]) for u in report["sensitivities"]] == [(u["unit"], u["choice"], u["bytes"]) for u in units]
    assert [u["kld"] for u in report["sensitivities"]] == pytest.approx([u["kld"] for u in units])
    kv = sum(u["kld"] for u in units if u["unit"] == "kv")
    for plan in report["plans"][:2]:
        alike = [u for u in units if u["choice"] == plan["plan"] and u["unit"] != "kv"]
        assert plan["bytes"] == sum(u["bytes"] for u in alike) > 0 and "kld" not in plan
        assert plan["predicted"] == pytest.approx(kv + sum(u["kld"] for u in alike))
    chosen = [plan for plan in report["plans"] if plan.get("chosen")]
    assert len(chosen) == 1 and chosen[0]["bytes"] == found["bytes"] and chosen[0]["kld"] == pytest.approx(found["kld"])
    page = (tmp_path / "r.html").read_text()
    assert "Sensitivity" in check_page(page).said and page.count('class="chosen"') == 1 and page.count('class="guess"') == 2


def test_measured(tmp_path):
    make_tiny.make("qwen2-tied", str(tmp_path / "in.gguf"))
    (tmp_path / "text").write_text(make_tiny.TEXT * 12)
    done = octet("quantize", tmp_path / "in.gguf", tmp_path / "out.gguf", "--evaluate", tmp_path / "text", "--json",
                 "--report", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    want = json.loads(done.stdout)["evaluation"]
    assert report["evaluation"]["tokens"] == want["tokens"] > 0
    assert report["evaluation"]["reference"] == pytest.approx(want["reference"])
    _, (page, table) = page_of(report, tmp_path, "html", "md")
    for text in (check_page(page.read_text()).said, table.read_text()):
        assert f"{want['reference']['kld_mean']:.6f}" in text and f"{want['ppl']:.4f}" in text


def test_a_full_disk_leaves_the_old_report(tmp_path):
    document = Made(tmp_path, "int8").report
    (tmp_path / "page.html").write_text("old")

    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    before = sorted(os.listdir(tmp_path))
    done, (page,) = page_of(document, tmp_path, "html", preexec_fn=small_files)
    assert done.returncode == 1 and b"page.html" in done.stderr
    assert page.read_text() == "old" and sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    "name, status, says",
    [
        ("report.pdf", 2, "report.pdf"),
        ("report.html,notes", 2, "notes"),
        (",", 2, '""'),
        ("nowhere/report.html", 1, "nowhere"),
        ("in.json", 2, "a model's own file"),
        ("out.json", 2, "a model's own file"),
    ],
)
def test_wrong_names_are_found_before_the_work(tmp_path, name, status, says):
    make_tiny.make("head96", str(tmp_path / "in.json"))
    names = ",".join(str(tmp_path / n) if n else n for n in name.split(","))
    assert says in refused(status, "quantize", tmp_path / "in.json", tmp_path / "out.json", "--report", names)
    assert os.listdir(tmp_path) == ["in.json"]


def test_a_name_that_is_not_utf8(tmp_path):
    make_tiny.make("head96", str(tmp_path / "in.gguf"))
    out = os.fsencode(tmp_path) + b"/a\xffb.gguf"
    done = subprocess.run([BIN / "octet", "quantize", tmp_path / "in.gguf", out, "--report", tmp_path / "r.json"],
                          capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r.json").read_text())["model"] == "a\ufffdb.gguf"
