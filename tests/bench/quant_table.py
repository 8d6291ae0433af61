#!/usr/bin/env python3
"""What each way of quantizing costs and loses: the tables and the chart of docs/QUANTIZATION.md.

    python3 tests/bench/quant_table.py --text wiki.txt                 all rows, about 20 minutes; goes on where it stopped
    python3 tests/bench/quant_table.py --text wiki.txt --schemes int8,fast --fresh     these again
    python3 tests/bench/quant_table.py --text wiki.txt --schemes none  nothing new: what is kept, into the page
    python3 tests/bench/quant_table.py --text wiki.txt --no-publish    only print

Each row is judged on two masters: the default model, and the same with continuous weights (tests/oracle/
make_continuous.py), since 8 bits hold the 16 levels of a Q4_1 block with more luck than real weights have. What
belongs to one text, number of chunks and pair of masters is kept under --work as it is finished."""
import argparse
import datetime
import hashlib
import json
import os
import pathlib
import sys
import time

import quant_chart
import report
from engines import MODELS, ROOT, Failed, json_lines, run, step
from peers import cpu_name
from quant_rows import TABLES

BIN = pathlib.Path(os.environ.get("OCTET_BIN_DIR") or ROOT / "build/release/bin")
DEFAULT, CONTINUOUS = "default", "continuous"


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while part := f.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


class Kept:
    """Finished measurements, a JSON line each: {"key": …, …}."""

    def __init__(self, path, fresh=()):
        self.path, self.found = path, {}
        if path.exists():
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                if entry["row"] not in fresh:
                    self.found[entry["key"]] = entry

    def get(self, key, row, measure):
        """What is kept; else what measure() finds, which is None for a row that was not asked for."""
        if key not in self.found:
            if measure is None:
                raise Failed("not measured yet")
            self.found[key] = {"key": key, "row": row, **measure()}
            with open(self.path, "a", encoding="utf-8") as f:
                f.write(json.dumps(self.found[key]) + "\n")
        return self.found[key]


class Bench:
    def __init__(self, o):
        self.o, self.work = o, o.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.masters = {DEFAULT: o.model}
        if o.continuous:
            self.masters[CONTINUOUS] = self.work / "continuous.gguf"
        fresh = {r.name for rows in TABLES.values() for r in rows if wanted(r, o)} if o.fresh else ()
        self.kept = Kept(self.work / "rows.jsonl", fresh)
        self.stamp = {"date": datetime.date.today().isoformat(),
                      "commit": run("git", "-C", ROOT, "describe", "--always", "--dirty").strip()}
        self.identity = self.made = None

    def prepare(self):
        """The second master, and what all results hang on."""
        if self.o.continuous and not self.masters[CONTINUOUS].exists():
            step("making the continuous master")
            run(sys.executable, ROOT / "tests/oracle/make_continuous.py", self.o.model, self.masters[CONTINUOUS])
        self.identity = " ".join([sha256(self.o.text), sha256(self.o.model), str(self.o.chunks), str(self.o.tokens)])

    def base(self, master):
        """The master's own logits, made once."""
        name = hashlib.sha256(f"{self.identity} {master}".encode()).hexdigest()[:12]
        path = self.work / f"{master}-{name}.logits"
        if not path.exists():
            for old in self.work.glob(f"{master}-*.logits"):
                old.unlink()
            step(f"{master}: its own logits")
            self.evaluate(self.masters[master], "--precision", "fp32", "--save-reference", path)
        return path

    def evaluate(self, model, *flags):
        return json.loads(run(BIN / "octet", "eval", "--model", model, "--text", self.o.text, "--chunks", self.o.chunks,
                              "--json", *flags))

    def make(self, row, master):
        """The row's model of that master. What was observed and swept is made once a master."""
        out = self.work / "row.gguf"
        kept = self.work / f"{master}-{self.o.tokens}"
        flags = [flag.format(kept=kept) for flag in row.quantize]
        if row.plan:
            pathlib.Path(f"{kept}.plan").write_text(json.dumps({"version": 1, **row.plan}))
        if row.observed:
            flags += ["--calibrate-tokens", self.o.tokens, "--observations", f"{kept}.seen"]
        if self.made != (row, master):
            self.made = None
            run(BIN / "octet", "quantize", self.masters[master], out, *flags)
            self.made = row, master
        return out

    def loss(self, row, master):
        if row.quantize is None:
            return {"bits": 32.0, **self.stamp}
        base = self.base(master)
        out = self.make(row, master)
        got = self.evaluate(out, "--reference", base, *row.run)
        info = json.loads(run(BIN / "octet", "info", "--json", out))
        return {"bits": info["bits_per_weight"], **got["reference"], **self.stamp}

    def speed(self, row):
        model = self.masters[DEFAULT] if row.quantize is None else self.make(row, DEFAULT)
        lines = json_lines(run(BIN / "octet", "bench", "engine", "--model", model, "--batch", "1,8", "--rounds", self.o.rounds,
                               "--json", *row.run))
        cells = {line["batch"]: line for line in lines}
        return {"prefill": cells[1]["prefill_tok_s"], "decode": cells[1]["decode_tok_s"], "decode8": cells[8]["decode_tok_s"],
                **self.stamp}

    def measure(self, row, only_kept):
        """{"row", "words", master: {…}, "speed": {…}}; Failed where something is not there."""
        flags = " ".join([*(row.quantize or ["-"]), *row.run, *([json.dumps(row.plan)] if row.plan else [])])
        steps = {DEFAULT: lambda: self.loss(row, DEFAULT)}
        if self.o.rounds:
            steps["speed"] = lambda: self.speed(row)
        if self.o.continuous:
            steps[CONTINUOUS] = lambda: self.loss(row, CONTINUOUS)
        got = {"row": row.name, "words": row.words}
        for what, take in steps.items():
            got[what] = self.kept.get(f"{self.identity} {what} {flags}", row.name, None if only_kept else take)
        return got


def wanted(row, o):
    return not o.schemes or row.name in o.schemes


def measure_all(bench, o):
    """{table: [what was measured, a row]}. Rows not asked for come from what is kept; one that octet refuses is said
    and left out."""
    found, begun, n = {table: [] for table in TABLES}, time.monotonic(), 0
    all_of_them = sum(wanted(row, o) for rows in TABLES.values() for row in rows)
    bench.prepare()
    for table, rows in TABLES.items():
        for row in rows:
            asked = wanted(row, o)
            n += asked
            try:
                found[table].append(bench.measure(row, not asked))
            except Failed as e:
                if asked:
                    step(f"{n} of {all_of_them}, {row.name}: left out: {e}")
                continue
            if asked:
                left = (time.monotonic() - begun) / n * (all_of_them - n) / 60
                step(f"{n} of {all_of_them}, {row.name}: KL {shown_kld(found[table][-1][DEFAULT])}; about {left:.0f} min left")
    return found


# ---- saying it ----


def shown_kld(figures):
    value = figures.get("kld_mean")
    if value is None:
        return "0"
    return f"{value:.5f}" if value < 0.01 else f"{value:.4f}" if value < 0.1 else f"{value:.3f}"


def worse(got, name, pick):
    """The worse of both masters' figures."""
    return pick(got[m][name] for m in (DEFAULT, CONTINUOUS) if name in got.get(m, {}))


def cells_of(got, masters):
    first, speed = got[DEFAULT], got.get("speed", {})
    klds = [shown_kld(got[m]) for m in masters]
    if "kld_mean" in first:
        rest = [f"{100 * worse(got, 'same_top', min):.1f} %", f"{100 * (worse(got, 'ppl_ratio', max) - 1):+.2f} %"]
    else:
        rest = ["100 %", "0"]
    return [f"`{got['row']}`", got["words"], f"{first['bits']:.2f}", *klds, *rest,
            *(f"{speed[name]:.0f}" if name in speed else "" for name in ("prefill", "decode", "decode8"))]


def markdown(rows, masters):
    head = ["scheme", "what it is", "bits a weight", *(f"KL, {m}" for m in masters), "same top", "perplexity",
            "prefill", "decode", "decode x8"]
    lines = ["| " + " | ".join(head) + " |", "|---|---" + "|---:" * (len(head) - 2) + "|"]
    lines += ["| " + " | ".join(cells_of(got, masters)) + " |" for got in rows]
    return "\n".join(lines) + "\n"


def caption(o, rows):
    """Rows may come from several days and states of octet."""
    stamps = [got[part] for got in rows for part in got if isinstance(got[part], dict)]
    dates, commits = (list(dict.fromkeys(s[name] for s in stamps)) for name in ("date", "commit"))
    chunks = "the whole text" if o.chunks == 0 else f"{o.chunks} chunks of 512 tokens"
    speeds = f"; tokens a second at a prompt of 128 and 64 more, best of {o.rounds} rounds" if o.rounds else ""
    return (f"{' and '.join(dates)}, {cpu_name()}, {len(os.sched_getaffinity(0))} threads, octet at {', '.join(commits)}: "
            f"{o.text.name}, {chunks}; {o.model.name}{speeds}.")


def publish(o, found, masters):
    page = o.doc.read_text()
    for table, rows in found.items():
        if rows and page is not None:
            page = report.put_into(page, table, f"{caption(o, rows)}\n\n{markdown(rows, masters)}", "quant_table.py")
    if page is None:
        raise Failed(f"{o.doc}: has no place for a table (<!-- quant_table.py schemes --> … <!-- end schemes -->)")
    o.doc.write_text(page)
    if found["schemes"]:
        (o.doc.parent / "loss.svg").write_text(quant_chart.loss_svg(found["schemes"], masters[-1]))
    (o.doc.parent / "grid.svg").write_text(quant_chart.grid_svg())


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--text", type=pathlib.Path, required=True, help="what to measure on; nothing is chosen by it")
    a.add_argument("--chunks", type=int, default=40, help="of 512 tokens; 0: all")
    a.add_argument("--schemes", type=lambda text: text.split(","), help="only these rows, with commas")
    a.add_argument("--model", type=pathlib.Path, default=MODELS / "SmolLM2-135M-Instruct.gguf", help="the master")
    a.add_argument("--no-continuous", dest="continuous", action="store_false", help="only that master")
    a.add_argument("--tokens", type=int, default=32768, help="of the text that the model draws to be calibrated by")
    a.add_argument("--rounds", type=int, default=3, help="of the speeds; 0: none are measured")
    a.add_argument("--work", type=pathlib.Path, default=ROOT / "build/quant_table")
    a.add_argument("--doc", type=pathlib.Path, default=ROOT / "docs/QUANTIZATION.md")
    a.add_argument("--fresh", action="store_true", help="measure again what is kept, of the rows asked for")
    a.add_argument("--no-publish", dest="publish", action="store_false", help="print instead of writing the document")
    return a.parse_args()


def main():
    o = arguments()
    try:
        bench = Bench(o)
        found = measure_all(bench, o)
        masters = list(bench.masters)
        for rows in found.values():
            print(markdown(rows, masters))
        if o.publish:
            publish(o, found, masters)
        (bench.work / "row.gguf").unlink(missing_ok=True)
    except Failed as e:
        sys.exit(f"quant_table.py: {e}")


if __name__ == "__main__":
    main()
