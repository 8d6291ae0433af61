#!/bin/sh
# quickstart.sh [--once] - from a fresh Debian 12 to a streamed answer, then serve until Ctrl-C.
#
# Steps that are done are skipped. --once: stop after the answer. Settings: OCTET_PORT (8080), OCTET_HOME
# (where models are kept; ~/.local/share/octet). Noise goes to build/quickstart.log, the daemon's log to
# build/octetd.log.
set -u
program=quickstart.sh
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
log=$root/build/quickstart.log
octet=$root/build/release/bin/octet
octetd=$root/build/release/bin/octetd
server_pid=

# shellcheck source=deploy/lib.sh
. "$root/deploy/lib.sh"

question='Give me three tips for learning to play the piano.'
prompt="<|im_start|>user\\n$question<|im_end|>\\n<|im_start|>assistant\\n"
body="{\"prompt\": \"$prompt\", \"max_tokens\": 128, \"temperature\": 0, \"stream\": true}"

stop_server()
{
    if [ -n "$server_pid" ]; then
        kill -TERM "$server_pid" 2>/dev/null
        wait "$server_pid"
        server_status=$?
        server_pid=
    fi
}

build()
{
    step build
    need_space "$root" 100
    # Configured once; ninja itself sees when CMakeLists.txt changes. Tests need more packages: not here.
    if [ ! -f "$root/build/release/build.ninja" ]; then
        (cd "$root" && cmake --preset release -DOCTET_TESTS=OFF) >>"$log" 2>&1 ||
            die "configuring the build failed: see the end of $log"
    fi
    cmake --build "$root/build/release" --target octet octetd >>"$log" 2>&1 ||
        die "the build failed: see the end of $log (a full disk shows there, too)"
    done_step "octet and octetd are in build/release/bin"
}

# Newer than what it is made of and than the program that makes it; quantizing takes seconds.
quantize()
{
    step quantize
    if [ -n "$(find "$model_int8" -newer "$octet" -newer "$model_gguf" 2>/dev/null)" ] &&
        "$octet" info "$model_int8" >/dev/null 2>&1; then
        done_step "$model_int8 is there"
        return
    fi
    need_space "$model_home" 200
    if [ -t 2 ]; then
        "$octet" quantize "$model_gguf" "$model_int8" >>"$log"
    else
        "$octet" quantize "$model_gguf" "$model_int8" >>"$log" 2>&1
    fi || die "quantizing failed: see the end of $log"
    done_step "$model_int8 written"
}

# The port that was asked for, or the next one that is free.
choose_port()
{
    wanted=${OCTET_PORT:-8080}
    case $wanted in
    tcp://* | udp://*) wanted=8080 ;; # Kubernetes' variable of that name, not ours
    '' | *[!0-9]* | ??????*) die "OCTET_PORT is '$wanted': give a number from 1 to 65535" ;;
    esac
    { [ "$wanted" -ge 1 ] && [ "$wanted" -le 65535 ]; } ||
        die "OCTET_PORT is '$wanted': give a number from 1 to 65535"
    port=$(python3 - "$wanted" <<'END'
import socket, sys
first = int(sys.argv[1])
for port in range(first, min(first + 100, 65536)):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(port)
        break
END
    )
    [ -n "$port" ] || die "port $wanted and the hundred after it are busy: set OCTET_PORT to a free one"
    [ "$port" = "$wanted" ] || printf '%-10s port %s is busy: taking %s\n' serve "$wanted" "$port"
}

serve()
{
    step serve
    choose_port
    # In a session of its own, so that Ctrl-C reaches this script alone, and octetd drains on our signal.
    setsid "$octetd" --model "$model_int8" --host 127.0.0.1 --port "$port" \
        >>"$root/build/octetd.log" 2>&1 &
    server_pid=$!
    tries=0
    until curl --noproxy "*" -fs -o /dev/null "http://127.0.0.1:$port/ready" 2>/dev/null; do
        tries=$((tries + 1))
        if ! kill -0 "$server_pid" 2>/dev/null; then
            server_pid=
            die "octetd did not start: $(tail -n 1 "$root/build/octetd.log")"
        fi
        [ "$tries" -lt 600 ] || die "octetd was not ready within a minute: see build/octetd.log"
        sleep 0.1
    done
    done_step "octetd answers on http://127.0.0.1:$port, logs to build/octetd.log"
}

ask()
{
    printf '\n> %s\n' "$question"
    curl --noproxy "*" -sN "http://127.0.0.1:$port/v1/generate" -H 'Content-Type: application/json' -d "$body" |
        python3 "$root/deploy/show_stream.py" ||
        die "the answer did not come: see build/octetd.log"
    printf '\nAsk it yourself:\n\n'
    printf "curl -N http://127.0.0.1:%s/v1/generate -H 'Content-Type: application/json' -d '%s'\n\n" "$port" "$body"
}

once=
case $# in
0) ;;
1)
    case $1 in
    --once) once=1 ;;
    -h | --help)
        sed -n '2,6s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *) usage=1 ;;
    esac
    ;;
*) usage=1 ;;
esac
if [ -n "${usage:-}" ]; then
    printf 'usage: sh deploy/quickstart.sh [--once]\n' >&2
    exit 2
fi
{ [ -n "${OCTET_HOME:-}" ] || [ -n "${HOME:-}" ]; } ||
    die "neither HOME nor OCTET_HOME is set: set OCTET_HOME to a folder for models"
{ mkdir -p "$root/build" && printf '' >"$log"; } 2>/dev/null ||
    die "can't write to $root/build: is the disk full, or the folder not yours?"

trap 'stop_server; drop_fetch' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# shellcheck disable=SC2086 # a list
need_packages $build_packages ca-certificates curl python3 python3-pip
build
fetch_model
quantize
serve
ask
if [ -n "$once" ]; then
    stop_server
    [ "$server_status" = 0 ] || die "octetd did not stop cleanly (status $server_status): see build/octetd.log"
    exit 0
fi
printf 'Serving until Ctrl-C.\n'
trap 'printf "\nstopping\n"; stop_server; exit 0' INT TERM HUP
wait "$server_pid"
server_status=$?
server_pid=
die "octetd ended with status $server_status: see build/octetd.log"
