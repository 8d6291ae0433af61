"""Does the lint see what it is for? Each fault is planted in a copy of the tree, one at a time."""
import os
import pathlib
import shutil
import tempfile

import headers
import layers
import sizes
import tree
import words

# check, file that gets the line (made if it is not there), the line
LINES = [
    (layers, "api/parse.c", '#include "model/model.h"'),
    (layers, "api/sse.h", '#include "model/net/kv.h"'),
    (layers, "model/net/forward.c", '#include "api/parse.h"'),
    (layers, "model/text/tokenizer.c", '#include "server/stage.h"'),
    (layers, "model/model.c", '#include "tools/cli.h"'),
    (layers, "server/engine.c", '#include "model/net/kv.h"'),
    (layers, "server/engine.c", '#include "model/kernels/kernels.h"'),
    (layers, "server/queue.c", '#include "tools/cli.h"'),
    (layers, "tools/eval.c", '#include "model/format/gguf.h"'),
    (layers, "tools/eval.c", '#include "server/stage.h"'),
    (layers, "config/status.c", '#include "api/buf.h"'),
    (layers, "config/limits.h", '#include "model/model.h"'),
    (layers, "meter/joules.c", '#include "server/stage.h"'),
    (layers, "server/metrics.c", '#include "tests/unit/api/schema_dump.c"'),
    (layers, "model/format/gguf.c", '#include "model/text/tokenizer.h"'),
    (layers, "model/kernels/generic.c", '#include "model/net/kv.h"'),
    (layers, "model/quant/spec.h", '#include "model/net/kv.h"'),
    (layers, "model/text/bpe.c", '#include "model/net/kv.h"'),
    (layers, "model/model.h", '#include "model/net/runner.h"'),
    (layers, "api/render.c", '#include "config/log.h"'),
    (layers, "model/net/runner.c", '#include "config/log.h"'),
    (layers, "model/model.c", '#include "config/settings.h"'),
    (layers, "model/net/kv.c", '#include "kv.h"'),
    (layers, "model/net/kv.c", '#include "../kernels/kernels.h"'),
    (layers, "model/net/kv.c", "#include KV_HEADER"),
    (layers, "model/net/weights.c", "#include <jansson.h>"),
    (layers, "server/routes.c", "#include <jansson.h>"),
    (layers, "api/parse.c", "#include <uv.h>"),
    (layers, "api/sse.c", "#  include <microhttpd.h>"),
    (layers, "tools/generate.c", "#include <uv.h>"),
    (layers, "api/parse.c", "#include <pthread.h>"),
    (layers, "api/parse.c", "#include <sys/socket.h>"),
    (layers, "model/net/attention.c", "#include <immintrin.h>"),
    (layers, "model/kernels/generic.c", "#include <cblas.h>"),  # no home: a library that left
    (layers, "model/quant/spec.c", "#include <arm_neon.h>"),
    (layers, "model/format/gguf.c", "#include <pcre2.h>"),
    (layers, "server/prompt.c", "#include <utf8proc.h>"),
    (layers, "server/http.c", "#include <curl/curl.h>"),
    (layers, "server/http.c", "#include <openssl/ssl.h>"),
    (layers, "helpers/misc.c", "#include <stdio.h>"),  # its folder is no room
    (layers, "config/limits.h", '#include "config/limits.h"'),
    (words, "tools/eval.c", "void f(char *a, char *b) { str" "cpy(a, b); }"),
    (words, "server/http.c", "void f(char *a) { s" "printf(a, \"\"); }"),
    (words, "config/cpus.c", "int f(char *a) { return ato" "i(a); }"),
    (words, "tests/unit/api/test_buf.c", "void *f(void) { return allo" "ca(4); }"),
    (words, "model/model.c", "void f(void) { ex" "it(1); }"),
    (words, "api/parse.c", "void f(void) { print" "f(\"\"); }"),
    (words, "server/main.c", "/* TO" "DO: later */"),
    (words, "deploy/lib.sh", "cd /wo" "rk/main"),
    (words, "README.md", "see /ro" "ot/notes"),
    (words, "Dockerfile", "FROM docker" ".io/library/debian"),
    (words, "tests/requirements.txt", "--index-url https://py" "pi.org/simple"),
    (sizes, "server/http.c", "static void long_one(void)\n{\n" + "    ;\n" * 61 + "}"),
    (sizes, "tests/unit/api/test_buf.c", "START_TEST(long_one)\n{\n" + "    ;\n" * 61 + "}\nEND_TEST"),
    (sizes, "api/buf.h", "/* */\n" * 501),
    (headers, "config/escape.h", "struct json_t_unknown f(some_type a);"),
]


def copy_tree(root, to):
    for name in tree.files(root):
        if not name.startswith(("tests/fuzz/corpus/", "tests/golden/")):
            target = pathlib.Path(to, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(os.path.join(root, name), target)


def plant(root, check, name, line):
    """The reason why the planted fault was not seen, or None."""
    path = pathlib.Path(root, name)
    before = path.read_bytes() if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((before or b"") + b"\n" + line.encode() + b"\n")
    tree.files.cache_clear()
    try:
        faults = check.check(root)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)
    return None if any(f.startswith(name + ":") for f in faults) else "not seen"


def circle(root):
    """Two headers of one room that include each other."""
    a, b = pathlib.Path(root, "server/lint_a.h"), pathlib.Path(root, "server/lint_b.h")
    a.write_text('#include "server/lint_b.h"\n')
    b.write_text('#include "server/lint_a.h"\n')
    tree.files.cache_clear()
    faults = layers.check(root)
    a.unlink()
    b.unlink()
    tree.files.cache_clear()
    return None if any("circle" in f for f in faults) else "not seen"


def upward(root):
    """layers.txt itself turned round."""
    rules = pathlib.Path(root, "tests/lint/layers.txt")
    before = rules.read_text()
    rules.write_text(before.replace("room api: config", "room api: config server"))
    faults = layers.check(root)
    rules.write_text(before)
    return None if any("does not stand above" in f for f in faults) else "not seen"


def run(root):
    """(what was planted, None or why it was not seen) for each."""
    with tempfile.TemporaryDirectory() as copy:
        copy_tree(root, copy)
        for check, name, line in LINES:
            what = line.splitlines()[0][:60] if "\n" not in line else line[:40].replace("\n", " ")
            yield f"{name}: {what}", plant(copy, check, name, line)
        yield "two headers in a circle", circle(copy)
        yield "a room that points down", upward(copy)
    tree.files.cache_clear()
