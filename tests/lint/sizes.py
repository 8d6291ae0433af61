"""A function has at most 60 lines between its braces, a file at most 500; sizes.txt names what may be longer.

clang-format puts the brace of a function, and of nothing else, alone at the start of a line.
"""
import re

import tree

FUNCTION, FILE = 60, 500
NAME = re.compile(r"(\w+)\s*\(")


def allowed(root):
    limits, faults = {}, []
    for n, line in tree.entries(root, "sizes.txt"):
        words = line.split()
        if len(words) == {"file": 3, "function": 4}.get(words[0]) and words[-1].isdigit():
            limits[tuple(words[1:-1])] = int(words[-1])
        else:
            faults.append(f"tests/lint/sizes.txt:{n}: not 'file PATH LINES' or 'function PATH NAME LINES'")
    return limits, faults


def functions(lines):
    """(name, number of its first line, lines between the braces) of each function."""
    start = None
    for i, line in enumerate(lines):
        if line == "{":
            start = i
        elif line.startswith("}") and start is not None:
            head = start - 1
            while head > 0 and lines[head][:1] in (" ", "\t"):
                head -= 1
            m = NAME.search(" ".join(lines[head:start]))
            name = m[1] if m else "?"
            if name in ("START_TEST", "__attribute__") and m:
                rest = NAME.sub("", lines[head], count=1)
                name = rest.split(")")[0].strip() or name
            yield name, head + 1, i - start - 1
            start = None


def check(root):
    limits, faults = allowed(root)
    used = set()
    for path in tree.c_files(root):
        lines = (tree.text(root, path) or "").splitlines()
        sizes = [((path,), 1, len(lines), FILE, "the file")]
        sizes += [((path, name), n, size, FUNCTION, name + "()") for name, n, size in functions(lines)]
        for key, n, size, usual, what in sizes:
            if size > usual:
                used.add(key)
            if size > limits.get(key, usual):
                faults.append(f"{path}:{n}: {what} has {size} lines, {limits.get(key, usual)} are allowed")
    for key in sorted(set(limits) - used):
        faults.append(f"tests/lint/sizes.txt: {' '.join(key)} is no longer too long: take it out")
    return faults
