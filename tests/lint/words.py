"""Words that may not appear: banned C functions, paths of one machine, names of registries, work left for later
without the number of an issue.

Patterns are written so that this file does not match itself.
"""
import re

import tree

# What each should have been.
CALLS = {
    "sprintf": "snprintf", "vsprintf": "vsnprintf", "strcpy": "memcpy with a known length",
    "stpcpy": "memcpy with a known length", "strncpy": "memcpy with a known length",
    "strcat": "snprintf", "strncat": "snprintf", "strtok": "a loop over the text", "gets": "fgets",
    "atoi": "strtol with its errors checked", "atol": "strtol with its errors checked",
    "atoll": "strtoll with its errors checked", "atof": "strtod with its errors checked",
    "alloca": "an array of known size, or malloc",
}
CALL = re.compile(r"(?<![\w.>])(" + "|".join(CALLS) + r")\s*\(")
# Library code hands back a status; only main() and the tools print and end.
LIBRARY = re.compile(r"(?<![\w.>])(exit|_exit|abort|printf|puts|perror|syslog)\s*\(")
MACHINE = re.compile(r"(?<![\w.])/(?:wo[r]k|ro[o]t)/")
REGISTRY = re.compile(r"pypi[.]org|pythonhosted[.]|npmjs[.]|crates[.]io|proxy[.]golang|maven[.]org|"
                      r"maven[.]apache|(?:deb|security|archive|snapshot)[.]debian[.]org|ghcr[.]io|"
                      r"quay[.]io|docker[.]io|hugging" r"face[.]co", re.I)
LATER = r".*\b(?:TO" r"DO\b(?!\(#\d+\))|FIX" r"ME\b|XX" r"X\b)"
LATER_C, LATER_OTHER = re.compile(r"(?:/\*|//|^\s*\*)" + LATER), re.compile("#" + LATER)
CODE = (".c", ".h", ".py", ".sh", ".cmake", "CMakeLists.txt", ".yaml")


def without_comments(text):
    """C text with comments and string literals blanked, lines kept."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m[0])
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', blank, text, flags=re.S)


def scan(path, text, pattern, say):
    return [f"{path}:{n}: {say(m[0])}" for n, line in enumerate(text.splitlines(), 1)
            for m in [pattern.search(line)] if m]


def check(root):
    faults = []
    for path in tree.files(root):
        text = tree.text(root, path)
        if text is None or path.startswith("tests/fuzz/corpus/"):
            continue
        faults += scan(path, text, MACHINE, lambda w: f"'{w}' is a path of one machine")
        faults += scan(path, text, REGISTRY, lambda w: f"'{w}' is the name of a registry")
        if path.endswith(CODE):
            faults += scan(path, text, LATER_C if path.endswith((".c", ".h")) else LATER_OTHER,
                           lambda w: f"'{w.split()[-1]}' without the number of an issue")
        if path.endswith((".c", ".h")):
            code = without_comments(text)
            faults += scan(path, code, CALL, lambda w: f"{w[:-1].strip()} is banned: take {CALLS[w[:-1].strip()]}")
            if path.startswith(("api/", "model/")):
                faults += scan(path, code, LIBRARY, lambda w: f"library code neither prints nor ends: {w[:-1]}")
    return faults
