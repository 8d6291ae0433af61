"""What the comparison says: a document for programs, a Markdown table for people, and its place in SPEED.md."""
import re


def speeds(times, shape):
    """{batch: Times} → {batch: {prefill_s, decode_s, prefill_tok_s, decode_tok_s}}"""
    return {batch: {"prefill_s": t.prefill_s, "decode_s": t.decode_s,
                    "prefill_tok_s": batch * shape.prompt / t.prefill_s,
                    "decode_tok_s": batch * shape.generate / t.decode_s} for batch, t in times.items()}


def ratios(engines, batches):
    """Each of ours over the best peer of its precision, cell by cell: {name: {batch: {prefill, decode}}}."""
    found = {}
    for ours in (e for e in engines if e["ours"]):
        rivals = [e for e in engines if not e["ours"] and e["precision"] == ours["precision"]]
        if rivals:
            found[ours["name"]] = {
                batch: {phase: ours["cells"][batch][phase + "_tok_s"] /
                        max(r["cells"][batch][phase + "_tok_s"] for r in rivals) for phase in ("prefill", "decode")}
                for batch in batches}
    return found


def document(results, shape, facts):
    """results: [(engine, version, {batch: Times})]. Keys of batches are text, as JSON wants them."""
    batches = [str(b) for b in shape.batches]
    engines = [{"name": e.name, "version": version, "precision": e.precision, "ours": e.ours,
                "cells": {str(b): c for b, c in speeds(times, shape).items()}} for e, version, times in results]
    engines.sort(key=lambda e: (e["precision"] != "int8", not e["ours"]))
    return {**facts, "prompt": shape.prompt, "generate": shape.generate, "batches": list(shape.batches),
            "engines": engines, "ratios": ratios(engines, batches)}


def caption(doc):
    rounds = "one round" if doc["reps"] == 1 else f"the best of {doc['reps']} rounds"
    return (f"{doc['date']}, {doc['machine']}, {doc['threads']} threads, octet at {doc['commit']}: tokens a second, "
            f"prompts of {doc['prompt']} tokens, {doc['generate']} more generated, {rounds} of the engines in turn")


def markdown(doc):
    batches = [str(b) for b in doc["batches"]]
    head = ["engine"] + [f"{phase} x{batch}" if i == 0 else f"x{batch}" for phase in ("prefill", "decode")
                         for i, batch in enumerate(batches)]
    lines = [caption(doc) + ".", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]

    def row(name, values, spec):
        lines.append(f"| {name} | " + " | ".join(format(v, spec) for v in values) + " |")
    for e in doc["engines"]:
        row(e["name"], [e["cells"][b][phase + "_tok_s"] for phase in ("prefill", "decode") for b in batches], ".0f")
    for name, cells in doc["ratios"].items():
        row(f"**{name} / best peer**", [cells[b][phase] for phase in ("prefill", "decode") for b in batches], ".2f")
    versions = sorted({e["version"] for e in doc["engines"] if not e["ours"]})
    return "\n".join(lines) + (f"\n\nPeers: {', '.join(versions)}.\n" if versions else "\n")


def put_into(text, name, block, program="peers.py"):
    """text with what stands between the two marks of that name replaced; None if it has no such marks."""
    begin, end = f"<!-- {program} {name} -->\n", f"<!-- end {name} -->"
    new, n = re.subn(re.escape(begin) + ".*?" + re.escape(end), lambda _: begin + block + end, text, flags=re.S)
    return new if n == 1 else None
