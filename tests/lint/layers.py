"""Directions of #include, as layers.txt gives them. check(root) -> ["file:line: what is wrong", ...]"""
import os
import re

import tree

INCLUDE = re.compile(r'\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')
ANY_INCLUDE = re.compile(r"\s*#\s*include\b")


class Rules:
    def __init__(self, root):
        self.rooms, self.door, self.deny, self.home, self.free = {}, {}, {}, {}, set()
        self.faults = []
        for n, line in tree.entries(root, "layers.txt"):
            kind, _, rest = line.partition(" ")
            name, _, values = rest.partition(":")
            values = values.split()
            if kind == "room":
                above = set(self.rooms)
                self.rooms[name] = values
                for v in values:
                    if not v.endswith(".h") and v not in above:
                        self.faults.append(f"tests/lint/layers.txt:{n}: {v} does not stand above {name}")
            elif kind in ("door", "deny", "home"):
                getattr(self, kind)[name] = values
            elif kind == "free":
                self.free |= set(rest.split())
            else:
                self.faults.append(f"tests/lint/layers.txt:{n}: '{kind}' is no rule")

    def room_of(self, path):
        """The deepest room that holds the path, or None."""
        folder = os.path.dirname(path)
        while folder and folder not in self.rooms:
            folder = os.path.dirname(folder)
        return folder or None


def under(room, names):
    return any(room == n or room.startswith(n + "/") for n in names)


def ours(rules, root, path, target):
    """What is wrong with an #include "target" in path, or None."""
    if not os.path.isfile(os.path.join(root, target)):
        return f'"{target}" is not a path from the root'
    me, to = rules.room_of(path), rules.room_of(target)
    if to is None:
        return f"{target} is not part of the program"
    if path in rules.door and target not in rules.door[path]:
        return f"{path} may include only {' '.join(rules.door[path])}"
    for room, names in rules.deny.items():
        if under(me, [room]) and target in names:
            return f"{room}/ is library code: {target} is not for it"
    if to == me or to in rules.rooms[me] or target in rules.rooms[me]:
        return None
    return f"{me} may not include {target}"


def theirs(rules, path, target):
    """What is wrong with an #include <target> in path, or None."""
    if target in rules.free:
        return None
    if target not in rules.home:
        return f"<{target}> has no home in tests/lint/layers.txt"
    if not under(rules.room_of(path), rules.home[target]):
        return f"<{target}> belongs to {', '.join(h + '/' for h in rules.home[target])}"
    return None


def cycles(edges):
    """Circles among headers, one message each."""
    state, found = {}, []

    def visit(header, trail):
        state[header] = "open"
        for n, to in edges.get(header, ()):
            if state.get(to) == "open":
                circle = trail[trail.index(to):] if to in trail else [header]
                found.append(f"{header}:{n}: a circle: {' -> '.join(circle + [to])}")
            elif to not in state:
                visit(to, trail + [to])
        state[header] = "done"

    for header in sorted(edges):
        if header not in state:
            visit(header, [header])
    return found


def check(root):
    rules = Rules(root)
    faults, edges = list(rules.faults), {}
    for path in tree.files(root):
        if not path.endswith((".c", ".h")) or path.startswith("tests/"):
            continue
        if rules.room_of(path) is None:
            faults.append(f"{path}:1: its folder is no room of tests/lint/layers.txt")
            continue
        for n, line in enumerate((tree.text(root, path) or "").splitlines(), 1):
            if not ANY_INCLUDE.match(line):
                continue
            m = INCLUDE.match(line)
            if not m:
                faults.append(f"{path}:{n}: an #include that can't be read")
                continue
            why = ours(rules, root, path, m[1]) if m[1] else theirs(rules, path, m[2])
            if why:
                faults.append(f"{path}:{n}: {why}")
            if m[1] and path.endswith(".h"):
                edges.setdefault(path, []).append((n, m[1]))
    return faults + cycles(edges)
