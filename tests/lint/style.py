"""clang-format's opinion, and shellcheck's where it is installed."""
import re
import shutil
import subprocess

import tree


def check(root):
    faults = []
    run = subprocess.run(["clang-format", "--dry-run", "-Werror", "--style=file", *tree.c_files(root)],
                         cwd=root, capture_output=True, text=True)
    bad = dict(m.groups() for m in re.finditer(r"^([^\s:]+):(\d+):\d+: error", run.stderr, re.M))
    faults += [f"{path}:{n}: clang-format -i {path}" for path, n in bad.items()]
    if run.returncode and not faults:
        faults.append(f"clang-format: {run.stderr.strip()[:300]}")
    shell = [f for f in tree.files(root) if f.endswith(".sh")]
    if shell and shutil.which("shellcheck"):
        run = subprocess.run(["shellcheck", "-x", "-f", "gcc", *shell], cwd=root, capture_output=True, text=True)
        faults += run.stdout.splitlines()
    return faults
