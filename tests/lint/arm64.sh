#!/bin/sh
# arm64.sh - every source compiles for arm64 without a warning (the x86 kernel sets apart). Compiled, not run (the
# kernels are, by tests/kernels/arm64.sh): the libraries' headers are this machine's, which is enough to know that
# nothing of ours is x86 only.
set -u
cd "$(dirname "$0")/../.." || exit 1
passed=0
failed=0
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
# shellcheck disable=SC2046 # a list
set -- $(pkg-config --cflags libmicrohttpd libuv jansson libpcre2-8) -idirafter /usr/include
for source in config/*.c api/*.c model/*.c model/*/*.c server/*.c tools/*.c; do
    case $source in
    model/kernels/a[vm]x*) continue ;;
    *neondot.c) march=armv8.2-a+dotprod ;;
    *neoni8mm.c) march=armv8.2-a+dotprod+i8mm ;;
    *) march=armv8-a ;;
    esac
    if aarch64-linux-gnu-gcc -std=c11 -D_GNU_SOURCE -DOCTET_VERSION='"0"' -I. -O1 -Wall -Wextra -Werror \
        -ffp-contract=off "-march=$march" -c -o "$out" "$@" "$source"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "arm64: $source: error: see above"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
