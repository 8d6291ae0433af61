"""The tables of docs/QUANTIZATION.md on a tiny model: figures from octet, kept when it stops, put where they belong."""
import json
import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree

import pytest

import quant_chart
import quant_rows

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/oracle"))
import make_tiny  # noqa: E402

DOC = "before\n" + "".join(f"<!-- quant_table.py {name} -->\nold\n<!-- end {name} -->\nafter\n" for name in quant_rows.TABLES)
ROWS = ["fp32", "int8", "int4 +gptq"]


def table(folder, *flags):
    done = subprocess.run([sys.executable, ROOT / "tests/bench/quant_table.py", "--text", folder / "text", "--model", folder / "in.gguf",
                           "--chunks", "2", "--tokens", "512", "--rounds", "1", "--work", folder / "work", "--doc", folder / "doc.md",
                           *flags], capture_output=True, text=True, timeout=300)
    return done, (folder / "doc.md").read_text()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    if not (ROOT / "build/release/bin/octet").exists() and "OCTET_BIN_DIR" not in os.environ:
        pytest.skip("OCTET_BIN_DIR is not set")
    folder = tmp_path_factory.mktemp("table")
    make_tiny.make("type-q4_1", str(folder / "in.gguf"))
    (folder / "text").write_text(make_tiny.TEXT * 12)
    (folder / "doc.md").write_text(DOC)
    return folder, *table(folder, "--schemes", ",".join(ROWS))


def cells(doc):
    doc = doc.split("<!-- end schemes -->")[0]
    lines = [line.strip("| ").split(" | ") for line in doc.splitlines() if line.startswith("| ")]
    return lines[0], {line[0].strip("`"): dict(zip(lines[0], line, strict=True)) for line in lines[1:]}


def test_rows_are_what_octet_says(made):
    folder, done, doc = made
    assert done.returncode == 0, done.stderr
    assert doc.startswith("before\n<!-- quant_table") and "<!-- end schemes -->\nafter\n" in doc
    assert "\nold\n" not in doc.split("<!-- end schemes -->")[0]
    head, rows = cells(doc)
    assert list(rows) == ROWS and "KL, default" in head and "KL, continuous" in head
    assert rows["fp32"]["bits a weight"] == "32.00"
    assert float(rows["int8"]["KL, default"]) < float(rows["int4 +gptq"]["KL, default"])
    assert float(rows["int4 +gptq"]["bits a weight"]) < float(rows["int8"]["bits a weight"]) < 9
    assert all(float(row[speed]) > 0 for row in rows.values() for speed in ("prefill", "decode", "decode x8"))
    octet = pathlib.Path(os.environ.get("OCTET_BIN_DIR", ROOT / "build/release/bin")) / "octet"
    subprocess.run([octet, "quantize", folder / "in.gguf", folder / "out.gguf"], check=True, capture_output=True)
    said = subprocess.run([octet, "eval", "--model", folder / "out.gguf", "--reference", folder / "in.gguf", "--text",
                           folder / "text", "--chunks", "2", "--json"], check=True, capture_output=True).stdout
    want = json.loads(said)["reference"]["kld_mean"]
    assert float(rows["int8"]["KL, default"]) == pytest.approx(want, rel=0.1, abs=1e-4)  # logits are stored in 16 bits


def test_it_goes_on_where_it_stopped(made):
    folder, _, before = made
    kept = (folder / "work/rows.jsonl").read_text()
    done, after = table(folder, "--schemes", "int8")
    assert done.returncode == 0 and after == before
    assert (folder / "work/rows.jsonl").read_text() == kept, "nothing was measured again, no row was lost"


def test_pictures_are_svg(made):
    for name in ("loss.svg", "grid.svg"):
        root = xml.etree.ElementTree.parse(made[0] / name).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "int4 +gptq" in (made[0] / "loss.svg").read_text()
    xml.etree.ElementTree.fromstring(quant_chart.loss_svg([], "default"))


def test_a_document_without_a_place_is_left_alone(made, tmp_path):
    (tmp_path / "doc.md").write_text("nothing here\n")
    done, _ = table(made[0], "--schemes", "int8", "--doc", tmp_path / "doc.md")
    assert done.returncode == 1 and "has no place" in done.stderr
    assert (tmp_path / "doc.md").read_text() == "nothing here\n"


def test_labels_stay_apart():
    got = quant_chart.apart([10, 11, 400, 12, 499], 15, 500)
    assert sorted(b - a >= 15 for a, b in zip(sorted(got), sorted(got)[1:])) == [True] * 4
    assert max(got) <= 500 and sorted(range(5), key=got.__getitem__) == [0, 1, 3, 2, 4]


def test_names_are_of_one_row_each():
    names = [row.name for rows in quant_rows.TABLES.values() for row in rows]
    assert len(names) == len(set(names)) and not any("," in name or "|" in name for name in names)
