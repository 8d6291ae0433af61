#!/bin/sh
# run.sh - everything for the tests on a Debian 12, then all of them. A failing part does not stop the others.
#
# Last line: 'N passed, N failed', summed over the parts; status 1 when anything failed. Output of each part:
# build/tests/PART.log. Settings: OCTET_HOME (where the default model is kept), OCTET_TESTS="lint http …" (only
# parts whose name begins with one of these words).
set -u
program=run.sh
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
logs=$root/build/tests
log=$logs/setup.log
python=$root/build/venv/bin/python
passed=0
failed=0
started=$(date +%s)

# shellcheck source=deploy/lib.sh
. "$root/deploy/lib.sh"

cd "$root" || exit 1
{ mkdir -p "$logs" && printf '' >"$log"; } 2>/dev/null ||
    die "can't write to $logs: is the disk full, or the folder not yours?"
trap drop_fetch EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

make_venv()
{
    step python
    if cmp -s tests/requirements.txt build/venv/requirements.txt; then
        done_step 'build/venv is there'
        return
    fi
    rm -rf build/venv
    python3 -m venv build/venv >>"$log" 2>&1 || die "can't make build/venv: see the end of $log"
    "$python" -m pip install -r tests/requirements.txt >>"$log" 2>&1 ||
        die "can't install tests/requirements.txt with pip: is the network there? See the end of $log"
    cp tests/requirements.txt build/venv/requirements.txt
    done_step 'build/venv made'
}

# get_promtool: only the program out of Debian's package, whose installing would start a service. Without it
# its test is skipped.
get_promtool()
{
    [ -x build/promtool/promtool ] && return
    mkdir -p build/promtool
    (cd build/promtool && apt-get download prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb |
        tar -x --strip-components=3 ./usr/bin/promtool && rm prometheus_*.deb) >>"$log" 2>&1
}

wanted()
{
    [ -n "${OCTET_TESTS:-}" ] || return 0
    for word in $OCTET_TESTS; do
        case $1 in "$word"*) return 0 ;; esac
    done
    return 1
}

# tally FILE: "PASSED FAILED SKIPPED" of its last counting line: ctest's, pytest's, or ours.
tally()
{
    awk '
        / tests passed, [0-9]+ tests failed out of / { f = $4; p = $NF - f; s = 0 }
        /^[0-9]+ [a-z]+.* in [0-9.]+s/ {
            p = f = s = 0
            for (i = 2; i <= NF; i++) {
                if ($i ~ /^passed/) p += $(i - 1)
                if ($i ~ /^(failed|error)/) f += $(i - 1)
                if ($i ~ /^skipped/) s += $(i - 1)
            }
        }
        /^[0-9]+ passed, [0-9]+ failed$/ { p = $1; f = $3; s = 0 }
        END { print p + 0, f + 0, s + 0 }' "$1"
}

# part NAME SECONDS COMMAND...: runs it within that time and adds up what it counted. A command that ends
# badly though it counted no failure, and one that counts nothing, are failures.
part()
{
    name=$1 limit=$2
    shift 2
    wanted "$name" || return 0
    begun=$(now)
    # timeout puts the command in a process group of its own, and ends all of it when time is up.
    timeout -k 10 "$limit" "$@" >"$logs/$name.log" 2>&1 </dev/null
    status=$?
    case $name$status in
    build-*0) echo '1 passed, 0 failed' >>"$logs/$name.log" ;;
    esac
    read -r p f s <<END
$(tally "$logs/$name.log")
END
    if [ "$f" = 0 ] && { [ "$status" != 0 ] || [ "$p" = 0 ]; }; then
        f=1
    fi
    passed=$((passed + p))
    failed=$((failed + f))
    [ "$s" = 0 ] && skips='' || skips=", $s skipped"
    printf '%-18s %4d passed, %d failed%s (%d s)\n' "$name" "$p" "$f" "$skips" "$(($(now) - begun))"
    [ "$f" = 0 ] || show_failure
}

show_failure()
{
    [ "$status" != 124 ] || printf '    it ran longer than %s s\n' "$limit"
    grep -E '^(FAILED|ERROR) |error:|\*\*\*(Failed|Timeout|Exception|Not Run)|not seen$|^(layers|sizes|words|headers|style): ' \
        "$logs/$name.log" | head -n 30 | sed 's/^/    /'
    printf '    all of it: build/tests/%s.log\n' "$name"
}

# build PRESET CMAKE-OPTION...
build()
{
    preset=$1
    shift
    # shellcheck disable=SC2016 # for the inner shell
    part "build-$preset" 900 sh -c '
        preset=$1 python=$2
        shift 2
        cmake --preset "$preset" -DOCTET_TESTS=ON -DPython3_EXECUTABLE="$python" "$@" &&
            cmake --build "build/$preset"' build "$preset" "$python" "$@"
}

# unit NAME FOLDER-OF-THE-BUILD [VARIABLE=VALUE]: Check suites and corpus replays, by ctest. Its test_http is
# tests/http, which has parts of its own here.
unit()
{
    part "$1" 900 env ${3+"$3"} ctest --test-dir "build/$2" --output-on-failure --timeout 300 -j "$(nproc)" \
        -E '^test_http$'
}

# suite NAME SECONDS PATH...: pytest; one process a suite, as each has a conftest.py of its own.
suite()
{
    name=$1 limit=$2
    shift 2
    part "$name" "$limit" "$python" -m pytest -q -p no:cacheprovider -rfEs "$@"
}

# kernel_sets: what OCTET_CPU may be on this machine.
kernel_sets()
{
    echo generic
    grep -q '^flags.* avx2 ' /proc/cpuinfo && echo avx2
    grep -q '^flags.* avx_vnni ' /proc/cpuinfo && echo avxvnni
    grep -q '^flags.* avx512_vnni ' /proc/cpuinfo && echo avxvnni512vl avx512vnni
    grep -q '^flags.* amx_int8 ' /proc/cpuinfo && echo amx
    grep -q '^Features.* asimddp' /proc/cpuinfo && echo neondot
    grep -q '^Features.* i8mm' /proc/cpuinfo && echo neoni8mm
}

# ours_running: processes of this tree's programs.
ours_running()
{
    for exe in /proc/[0-9]*/exe; do
        case $(readlink "$exe" 2>/dev/null) in
        "$root"/build/*/bin/*) pid=${exe#/proc/} && echo "${pid%/exe}" ;;
        esac
    done
}

# left_running: the tests must have stopped all that they started.
left_running()
{
    for pid in $(ours_running); do
        case " $before " in *" $pid "*) continue ;; esac
        printf '%-18s a test left process %s running: %s\n' leftover "$pid" "$(readlink "/proc/$pid/exe")"
        kill -KILL "$pid"
        failed=$((failed + 1))
    done
}

before=$(ours_running | tr '\n' ' ')
trap 'left_running; drop_fetch' EXIT
# shellcheck disable=SC2086 # a list
need_packages $build_packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static check clang clang-format \
    shellcheck ca-certificates curl git python3 python3-venv python3-pip
make_venv
get_promtool
fetch_model
drop_fetch
need_space "$root" 1000
unset OCTET_CPU
export OCTET_MODEL="$model_gguf" OCTET_BIN_DIR="$root/build/release/bin" PYTHONDONTWRITEBYTECODE=1
export OCTETD_BIN="$root/build/release/bin/octetd" OCTETD_FAKE="$root/build/release/bin/octetd_fake"
export OCTET_TOKENIZE="$root/build/release/bin/tokenize_lines"
# Not detect_stack_use_after_return: gcc 12 then misaligns the 64-byte variables of the kernels.
export ASAN_OPTIONS=detect_stack_use_after_return=0 UBSAN_OPTIONS=print_stacktrace=1
PATH=$root/build/venv/bin:$root/build/promtool:$PATH

part lint 300 "$python" tests/lint/lint.py
part arm64 300 sh tests/lint/arm64.sh
part arm64-kernels 600 sh tests/kernels/arm64.sh
build release -DOCTET_WERROR=ON
build release-clang -DOCTET_WERROR=ON
build asan
build tsan

# tests/kernels goes through all sets by itself; the rest is told which one to take.
unit unit release
for set in $(kernel_sets); do
    unit "net-$set" release/tests/unit/net "OCTET_CPU=$set"
    unit "quant-$set" release/tests/unit/quant "OCTET_CPU=$set"
done
unit asan asan
for folder in config net server; do
    unit "tsan-$folder" "tsan/tests/unit/$folder"
done

suite format 300 tests/unit/format
suite cli 600 tests/cli tests/bench
suite http 900 tests/http
suite oracle 900 tests/oracle --ignore=tests/oracle/tokenizer
suite tokenizer 600 tests/oracle/tokenizer
# Once more under the sanitizers, without the default model: with one that pretends, and tiny ones.
unset OCTET_MODEL
export OCTETD_FAKE="$root/build/asan/bin/octetd_fake" OCTET_BIN_DIR="$root/build/asan/bin"
suite http-asan 900 tests/http
suite cli-asan 600 tests/cli
suite oracle-asan 900 tests/oracle --ignore=tests/oracle/tokenizer
left_running

printf 'all of it in %d s\n' "$(($(now) - started))"
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
