"""Each header of the program compiles alone: what it needs it includes."""
import concurrent.futures
import os
import platform
import subprocess

import tree

PACKAGES = ("libmicrohttpd", "libuv", "jansson", "libpcre2-8")


def package_flags():
    out = subprocess.run(["pkg-config", "--cflags", *PACKAGES], capture_output=True, text=True)
    return out.stdout.split()


def check(root):
    special, faults = {}, []
    for n, line in tree.entries(root, "headers.txt"):
        path, *rest = line.split()
        special[path] = rest
        if not os.path.isfile(os.path.join(root, path)):
            faults.append(f"tests/lint/headers.txt:{n}: {path} is gone: take the line out")
    base = ["gcc", "-std=c11", "-D_GNU_SOURCE", "-DPCRE2_CODE_UNIT_WIDTH=8", "-Wall", "-Wextra", "-Werror",
            "-Wno-unused-function", "-Wno-unused-variable", "-Wno-unused-const-variable", "-fsyntax-only",
            "-I", ".", "-x", "c"] + package_flags()
    x86 = platform.machine() in ("x86_64", "AMD64")

    def one(path):
        extra = special.get(path, [])
        if extra[:1] == ["part-of"] or (extra and not x86):
            return None
        # Twice: a header without a guard shows.
        source = f'#include "{path}"\n#include "{path}"\n'
        run = subprocess.run(base + extra + ["-"], input=source, cwd=root, capture_output=True, text=True)
        if run.returncode == 0:
            return None
        why = next((l for l in run.stderr.splitlines() if "error" in l), run.stderr.strip()[:200])
        return f"{path}:1: does not compile alone: {why}"

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return faults + [f for f in pool.map(one, tree.c_files(root, True, (".h",))) if f]
