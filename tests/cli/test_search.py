"""octet quantize --max-kld, --max-bytes, --best: budgets kept, sweeps that go on, and what is refused. That the figures are
right: tests/oracle/test_sweep.py."""

import json
import pathlib
import sys

import gguf
import pytest

from conftest import octet, refused

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import make_tiny  # noqa: E402

CHOICES = "int4,int8,f16"


class Model:
    def __init__(self, folder):
        self.path, self.out, self.sweep, self.plan = (folder / name for name in ("in.gguf", "out.gguf", "sweep", "plan"))
        make_tiny.make("qwen2-tied", str(self.path))

    def args(self, *flags):
        return "quantize", self.path, self.out, "--choices", CHOICES, "--sweep", self.sweep, *flags

    def search(self, *flags):
        done = octet(*self.args("--json", *flags))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The results of a whole sweep, as text."""
    model = Model(tmp_path_factory.mktemp("swept"))
    found = model.search("--max-kld", "0.05")["search"]
    units = [line for line in model.sweep.read_text().splitlines() if "unit" in json.loads(line)]
    assert found["measured"] == len(units) == 9 * 3 + 1
    return model.sweep.read_text().splitlines()[0], units


@pytest.fixture
def model(tmp_path, swept):
    """With a sweep that is done."""
    made = Model(tmp_path)
    made.sweep.write_text("\n".join([swept[0], *swept[1], ""]))
    return made


def test_max_kld(model):
    report = model.search("--max-kld", "0.05", "--plan", model.plan)
    found = report["search"]
    assert found["measured"] == 0 and 0.025 < found["kld"] <= 0.05
    assert report["bytes_out"] == model.out.stat().st_size
    assert json.loads(model.plan.read_text()) == found["plan"]
    larger = model.search("--max-kld", "0.01")
    assert larger["search"]["kld"] <= 0.01 and larger["bytes_out"] > report["bytes_out"]


def test_max_bytes(model):
    kld = []
    for most in (300000, 250000, 200000):
        report = model.search("--max-bytes", most)
        assert most * 0.8 < report["bytes_out"] == model.out.stat().st_size <= most
        kld.append(report["search"]["kld"])
    assert kld == sorted(kld)


def test_max_bytes_holds_what_a_file_says_of_its_calibration(model):
    most = model.search("--max-bytes", 250000)["bytes_out"]  # to the byte, without
    model.sweep.unlink()
    assert model.search("--max-bytes", most, "--compensate", "--calibrate-tokens", "512")["bytes_out"] <= most


def test_best(model):
    """It is compensated, and a sweep that was not is none of its."""
    args = "--best", "--calibrate-tokens", "512"
    assert "compensated" in refused(1, *model.args(*args))
    model.sweep.unlink()
    found = model.search(*args)["search"]
    assert json.loads(model.sweep.read_text().splitlines()[0])["calibration"]
    assert "octet.calibration.tokens" in gguf.GGUFReader(model.out).fields
    assert 8.25 < found["bits_per_weight"] <= 9.5
    assert found["bits_per_weight"] == pytest.approx(8 * found["bytes"] / found["weights"], rel=1e-6)


def test_what_a_person_reads(model):
    said = octet(*model.args("--max-kld", "0.05")).stdout.decode()
    assert "bits a weight" in said and "KL divergence" in said and "int4-h64-g32" in said


def test_the_plan_is_in_the_file_and_may_be_given_back(model, tmp_path):
    model.search("--max-kld", "0.05", "--plan", model.plan)
    again = tmp_path / "again.gguf"
    assert octet("quantize", model.path, again, "--plan", model.plan).returncode == 0
    assert again.read_bytes() == model.out.read_bytes()


def test_the_same_text_and_losses_every_time(model, swept):
    model.sweep.unlink()
    model.search("--max-kld", "0.05", "--threads", "1")
    assert model.sweep.read_text().splitlines()[: 1 + len(swept[1])] == [swept[0], *swept[1]]


@pytest.mark.parametrize("torn", ["", '{"unit":"blk.1.ffn_do'])
def test_a_sweep_goes_on_where_it_stopped(model, swept, torn):
    model.sweep.write_text("\n".join([swept[0], *swept[1][:-5], torn]))
    assert model.search("--max-kld", "0.05")["search"]["measured"] == 5
    lines = model.sweep.read_text().splitlines()
    assert lines[: 1 + len(swept[1])] == [swept[0], *swept[1]]
    assert all("plan" in json.loads(line) for line in lines[1 + len(swept[1]) :])


def test_a_further_choice_is_measured_alone(model):
    done = octet("quantize", model.path, model.out, "--max-kld", "1", "--choices", "int4,int8,f16,int8-g32", "--sweep", model.sweep, "--json")
    assert json.loads(done.stdout)["search"]["measured"] == 9


def test_a_sweep_of_something_else_is_refused(model, swept, tmp_path):
    other = tmp_path / "other.gguf"
    make_tiny.make("head100", str(other))
    said = refused(1, "quantize", other, model.out, "--max-kld", "1", "--choices", CHOICES, "--sweep", model.sweep)
    assert "another model" in said and str(model.sweep) in said
    assert "another text" in refused(1, *model.args("--max-kld", "1", "--seed", "1"))
    head = json.loads(swept[0])
    for key, word in ("version", "version"), ("calibration", "compensated"), ("clip", "ranges"), ("octet_sweep", "format"):
        model.sweep.write_text(json.dumps({**head, key: "x"}) + "\n")
        assert word in refused(1, *model.args("--max-kld", "1"))
    assert not model.out.exists()


def test_a_torn_first_line_is_ours_or_stays(model, swept):
    model.sweep.write_text("my notes")
    assert "no sweep" in refused(1, *model.args("--max-kld", "1"))
    assert model.sweep.read_text() == "my notes"
    model.sweep.write_text(swept[0][:100])
    assert model.search("--max-kld", "0.05")["search"]["measured"] == len(swept[1])
    assert model.sweep.read_text().splitlines()[: 1 + len(swept[1])] == [swept[0], *swept[1]]


@pytest.mark.parametrize("line", ["no JSON", "[]", '{"unit":"output"}', '{"unit":"output","choice":"f16","kld":-1}'])
def test_a_bad_line_is_named(model, swept, line):
    model.sweep.write_text("\n".join([swept[0], swept[1][0], line, swept[1][1], ""]))
    said = refused(1, *model.args("--max-kld", "1"))
    assert "line 3" in said and str(model.sweep) in said


def test_out_of_reach(model):
    """The best that is to be had is named, and it is to be had."""
    said = refused(1, *model.args("--max-kld", "1e-9"))
    least = float(said.split("loses ")[1].split(",")[0])
    assert "out of reach" in said and not model.out.exists()
    assert model.search("--max-kld", str(least * 1.01))["search"]["kld"] <= least * 1.01
    model.out.unlink()
    said = refused(1, *model.args("--max-bytes", "1000"))
    least = int(said.split("about ")[1].split(" bytes")[0])
    assert "out of reach" in said and not model.out.exists()
    assert model.search("--max-bytes", least + 2000)["bytes_out"] <= least + 2000
    small = "--best", "--choices", "f16", "--calibrate-tokens", "512"
    assert "out of reach" in refused(1, "quantize", model.path, model.out, *small)


def test_flags_that_say_nothing_together(model, tmp_path):
    assert "one of them" in refused(2, *model.args("--best", "--max-kld", "1"))
    assert "--sweep" in refused(2, *model.args())
    assert "--scheme" in refused(2, *model.args("--best", "--scheme", "int4"))
    assert "int5" in refused(2, "quantize", model.path, model.out, "--best", "--choices", "int8,int5")
    assert "int8-tensor" in refused(2, "quantize", model.path, model.out, "--best", "--choices", "int8-tensor")
    there = tmp_path / "there"
    there.write_text("{}")
    assert str(there) in refused(2, *model.args("--best", "--plan", there))
    assert there.read_text() == "{}"


def test_nothing_is_left_behind(model, tmp_path):
    model.search("--max-kld", "0.05")
    refused(1, *model.args("--max-kld", "1e-9"))
    assert {path.name for path in tmp_path.iterdir()} == {"in.gguf", "out.gguf", "sweep"}
