"""The files that the lint looks at: what git tracks or could track, as paths relative to the root."""
import functools
import os
import pathlib
import subprocess

SKIP = {".git", "build", ".cache", "__pycache__", ".pytest_cache"}
PROGRAM = ("config", "api", "model", "meter", "server", "tools")


@functools.lru_cache(maxsize=None)
def files(root):
    """Sorted; ignored files are left out where git can say which those are."""
    try:
        out = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard", "-z"],
                             capture_output=True, check=True).stdout
        names = [os.fsdecode(n) for n in out.split(b"\0") if n]
        if names:
            return sorted(n for n in names if pathlib.Path(root, n).is_file())
    except (OSError, subprocess.CalledProcessError):
        pass
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if f not in SKIP]
        found += [os.path.relpath(os.path.join(folder, n), root) for n in names]
    return sorted(found)


def c_files(root, program_only=False, suffixes=(".c", ".h")):
    tops = PROGRAM if program_only else PROGRAM + ("tests",)
    return [f for f in files(root) if f.endswith(suffixes) and f.split("/")[0] in tops]


def text(root, name):
    """The file's text, or None for one that is not text."""
    data = pathlib.Path(root, name).read_bytes()
    if b"\0" in data:
        return None
    return data.decode("utf-8", "replace")


def entries(root, name):
    """Lines of one of our lists, without comments: (line number, text)."""
    for n, line in enumerate(pathlib.Path(root, "tests/lint", name).read_text().splitlines(), 1):
        line = line.split("#")[0].strip()
        if line:
            yield n, line
