#!/usr/bin/env python3
"""octet beside llama.cpp and OpenVINO GenAI: the same model, machine, threads and run.

    python3 tests/bench/peers.py                   everything, from nothing: about 20 minutes the first time, then 5
    python3 tests/bench/peers.py --publish         … and puts the result into SPEED.md and docs/
    python3 tests/bench/peers.py --prompt 8000 --generate 8 --batches 1
    python3 tests/bench/peers.py --from FILE.json  say and draw an earlier result again

What is missing is installed first, into OCTET_PEERS_DIR (~/.cache/octet-peers); needed are git, cmake, ninja and a C++
compiler. The engines take turns, --reps times, and the best of each cell counts: a noisy moment on a shared machine
then does not fall on one engine alone. Results go to build/peers/."""
import argparse
import datetime
import json
import os
import pathlib
import platform
import sys
import time

import chart
import report
from engines import ROOT, Failed, Shape, all_engines, run, step


def cpu_name():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    facts = dict([part.strip() for part in line.split(":", 1)] for line in lines if ":" in line)
    name = facts.get("model name", platform.machine())
    sets = [shown for flag, shown in (("avx512_vnni", "AVX512-VNNI"), ("avx_vnni", "AVX-VNNI"), ("avx2", "AVX2"),
                                      ("i8mm", "i8mm"), ("asimddp", "dotprod"))
            if flag in (facts.get("flags") or facts.get("Features", "")).split()]
    return f"{name} ({sets[0]})" if sets else name


def measure(engines, shape, threads, reps):
    """[(engine, version, {batch: Times})], the best of the rounds."""
    best = {}
    for rep in range(reps):
        for engine in engines:
            start = time.monotonic()
            for batch, times in engine.measure(shape, threads).items():
                key = engine.name, batch
                best[key] = times.best(best[key]) if key in best else times
            step(f"{engine.name}, round {rep + 1} of {reps}: {time.monotonic() - start:.0f} s")
    return [(e, e.version(), {b: best[e.name, b] for b in shape.batches}) for e in engines]


def compare(o):
    shape = Shape(tuple(o.batches), o.prompt, o.generate)
    engines = [e for e in all_engines() if not o.only or any(word.lower() in e.name.lower() for word in o.only)]
    if not engines:
        raise Failed(f"--only: no engine is called like {' or '.join(o.only)}")
    for engine in engines:
        engine.install()
    facts = {"date": datetime.date.today().isoformat(), "machine": cpu_name(), "threads": o.threads, "reps": o.reps,
             "commit": run("git", "-C", ROOT, "describe", "--always", "--dirty").strip()}
    return report.document(measure(engines, shape, o.threads, o.reps), shape, facts)


def publish(doc, name):
    page = ROOT / "SPEED.md"
    new = report.put_into(page.read_text(), name, report.markdown(doc))
    if new is None:
        raise Failed(f"SPEED.md has no place for a run of {name} tokens (<!-- peers.py {name} --> … <!-- end {name} -->)")
    page.write_text(new)
    if name == Shape().name:
        (ROOT / "docs").mkdir(exist_ok=True)
        (ROOT / "docs/speed.svg").write_text(chart.svg(doc, report.caption(doc)))


def numbers(text):
    return [int(part) for part in text.split(",")]


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    d = Shape()
    a.add_argument("--batches", type=numbers, default=d.batches, help="batch sizes, with commas")
    a.add_argument("--prompt", type=int, default=d.prompt, help="tokens of each prompt")
    a.add_argument("--generate", type=int, default=d.generate, help="tokens after the first")
    a.add_argument("--reps", type=int, default=3, help="rounds")
    a.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    a.add_argument("--only", type=lambda text: text.split(","), help="engines whose names hold one of these words")
    a.add_argument("--from", dest="source", type=pathlib.Path, help="an earlier result instead of a run")
    a.add_argument("--publish", action="store_true", help="into SPEED.md and docs/speed.svg too")
    return a.parse_args()


def main():
    o = arguments()
    try:
        doc = json.loads(o.source.read_text()) if o.source else compare(o)
        name = f"{doc['prompt']}+{doc['generate']}"
        out = ROOT / "build/peers"
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{name}.json").write_text(json.dumps(doc, indent=1) + "\n")
        (out / f"{name}.md").write_text(report.markdown(doc))
        (out / f"{name}.svg").write_text(chart.svg(doc, report.caption(doc)))
        print(report.markdown(doc), end="")
        if o.publish:
            publish(doc, name)
    except Failed as e:
        sys.exit(f"peers.py: {e}")


if __name__ == "__main__":
    main()
