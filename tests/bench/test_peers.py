"""The comparison's own arithmetic, reading and drawing, on made-up runs: no engine is started, no time is measured."""
import json
import re
import xml.etree.ElementTree

import pytest

import chart
import engines
import report
from engines import Failed, Shape, Times

SHAPE = Shape(batches=(1, 4), prompt=100, generate=50)
SVG = "{http://www.w3.org/2000/svg}"


class Made(engines.Engine):
    def __init__(self, name, precision, ours=False):
        super().__init__(name, precision)
        self.ours = ours


def made_document():
    """Speeds by hand: prefill 100 x batch / s, decode 50 x batch / s."""
    results = [
        (Made("octet INT8", "int8", True), "octet 0.1.0", {1: Times(0.05, 0.25), 4: Times(0.2, 0.25)}),  # 2000 2000 200 800
        (Made("A & <B>", "int8"), "A 1", {1: Times(0.1, 0.5), 4: Times(0.4, 1.0)}),                      # 1000 1000 100 200
        (Made("C", "int8"), "C 2", {1: Times(0.0625, 1.0), 4: Times(0.5, 0.5)}),                         # 1600  800  50 400
        (Made("D", "fp32"), "A 1", {1: Times(0.2, 0.9), 4: Times(0.9, 0.9)}),                            # no INT8
    ]
    facts = {"date": "2026-01-02", "machine": "A <CPU> & co", "threads": 2, "reps": 3, "commit": "abc"}
    return report.document(results, SHAPE, facts)


def test_llama_batched_bench_is_read():
    said = """main: n_kv_max = 8192
{"n_kv_max": 8192, "n_batch": 2048, "pp": 100, "tg": 50, "pl": 1, "n_kv": 150, "t_pp": 0.25, "t_tg": 0.5, "speed": 1.0}
llama_perf_context_print: load time
{"n_kv_max": 8192, "pp": 100, "tg": 50, "pl": 4, "n_kv": 600, "t_pp": 1, "t_tg": 2.5, "speed": 1.0}
"""
    assert engines.LlamaCpp.read(said, SHAPE) == {1: Times(0.25, 0.5), 4: Times(1.0, 2.5)}


def test_octet_and_openvino_are_read():
    lines = [{"batch": b, "prompt": 100, "prefill_s": b / 8, "decode_s": b / 4, "rss_bytes": 1} for b in (4, 1, 8)]
    said = "noise\n" + "".join(json.dumps(line) + "\n" for line in lines)
    for engine in engines.Octet, engines.OpenVino:
        assert engine.read(said, SHAPE) == {1: Times(0.125, 0.25), 4: Times(0.5, 1.0)}


def test_a_batch_that_nobody_measured_is_named():
    with pytest.raises(Failed, match="batch 4"):
        engines.Octet.read('{"batch": 1, "prefill_s": 1, "decode_s": 1}\n', SHAPE)


def test_best_of_rounds_takes_each_time_by_itself():
    assert Times(1, 5).best(Times(2, 4)) == Times(1, 4)


def test_a_failing_command_is_one_sentence():
    with pytest.raises(Failed, match="ended with 3: why not"):
        engines.run("sh", "-c", "echo why not >&2; exit 3")
    with pytest.raises(Failed, match="not installed"):
        engines.run("no-such-program-here")


def test_speeds_and_ratios():
    doc = made_document()
    cells = {e["name"]: e["cells"] for e in doc["engines"]}
    assert cells["octet INT8"]["4"] == {"prefill_s": 0.2, "decode_s": 0.25, "prefill_tok_s": 2000, "decode_tok_s": 800}
    assert doc["ratios"] == {"octet INT8": {"1": {"prefill": 1.25, "decode": 2.0}, "4": {"prefill": 2.0, "decode": 2.0}}}
    assert json.loads(json.dumps(doc)) == doc


def test_markdown_has_a_row_an_engine():
    rows = [line for line in report.markdown(made_document()).splitlines() if line.startswith("|")]
    assert rows[0] == "| engine | prefill x1 | x4 | decode x1 | x4 |"
    assert "| octet INT8 | 2000 | 2000 | 200 | 800 |" in rows
    assert "| **octet INT8 / best peer** | 1.25 | 2.00 | 2.00 | 2.00 |" in rows
    assert len({row.count("|") for row in rows}) == 1
    said = report.markdown(made_document())
    assert "2026-01-02, A <CPU> & co, 2 threads, octet at abc" in said and "best of 3 rounds" in said
    assert "Peers: A 1, C 2." in said


def test_only_the_marked_place_changes():
    page = "# Speed\n<!-- peers.py 1+2 -->\nold\n<!-- end 1+2 -->\n<!-- peers.py 3+4 -->\nother\n<!-- end 3+4 -->\nlog\n"
    new = report.put_into(page, "1+2", "n\\1ew\n")
    assert new == page.replace("old\n", "n\\1ew\n")
    assert report.put_into(page, "5+6", "new\n") is None


def test_the_pages_marks_are_there():
    page = (engines.ROOT / "SPEED.md").read_text()
    for name in Shape().name, "8000+8":
        assert report.put_into(page, name, "x\n") not in (None, page)


def bars(root, css):
    """(x, height) of the bars of one engine, without its square in the legend."""
    return [(float(r.get("x")), float(r.get("height"))) for r in root.iter(SVG + "rect")
            if r.get("class") == css and r.find(SVG + "title") is not None]


def test_the_chart_is_xml_with_a_bar_a_cell_in_proportion():
    doc = made_document()
    root = xml.etree.ElementTree.fromstring(chart.svg(doc, report.caption(doc)))
    assert root.tag == SVG + "svg"
    ours, theirs = (bars(root, c) for c in ("e0 int8", "e1 int8"))
    assert len(ours) == len(theirs) == 4  # two phases of two batches
    for (_, a), (_, b), ratio in zip(ours, theirs, (2, 2, 2, 4)):
        assert a / b == pytest.approx(ratio, rel=0.02)
    xs = sorted(x for css in ("e0 int8", "e1 int8", "e2 int8", "e3 fp32") for x, _ in bars(root, css)[:2])
    assert all(b - a > 5 for a, b in zip(xs, xs[1:]))  # beside each other
    said = " ".join(root.itertext())
    for word in "A & <B>", "800", "4 sequences", "A <CPU> & co", "abc", "2026-01-02":
        assert word in said


def test_the_chart_needs_nothing_else_and_knows_dark_pages():
    doc = made_document()
    drawn = chart.svg(doc, report.caption(doc))
    assert "prefers-color-scheme: dark" in drawn
    assert not re.search(r"href|url\(|@import|<script|<image", drawn)
    assert re.findall(r"http[^\"]*", drawn) == ["http://www.w3.org/2000/svg"]
