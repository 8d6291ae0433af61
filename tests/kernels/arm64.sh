#!/bin/sh
# arm64.sh - the kernel suites on arm64: cross-compiled, then run by qemu on CPUs that have the instructions of
# every set, of the first, and of none.
set -u
cd "$(dirname "$0")/../.." || exit 1
passed=0
failed=0
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT

# compile SOURCE: as the release preset does, with the set's own flags (model/CMakeLists.txt).
compile()
{
    case $1 in
    */neondot.c) march=armv8.2-a+dotprod ;;
    */neoni8mm.c) march=armv8.2-a+dotprod+i8mm ;;
    *) march=armv8-a ;;
    esac
    aarch64-linux-gnu-gcc -std=c11 -D_GNU_SOURCE -I. -Itests -Itests/kernels/cross -O3 -Wall -Wextra -Werror \
        -ffp-contract=off "-march=$march" -c -o "$out/$(basename "$1" .c).o" "$1"
}

count()
{
    if [ "$1" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "arm64: error: $2"
    fi
}

objects=$out/status.o
compile config/status.c || exit 1
for source in model/kernels/*.c; do
    case $source in */a[vm]x*) continue ;; esac
    compile "$source" || exit 1
    objects="$objects $out/$(basename "$source" .c).o"
done

cat >"$out/sets.c" <<END
#include <stdio.h>
#include "model/kernels/kernels.h"
int main(void)
{
    for (size_t i = 0; kernels_at(i); i++)
        printf("%s%s", i ? " " : "", kernels_at(i)->name);
}
END
for program in "$out/sets.c" tests/kernels/test_*.c; do
    name=$(basename "$program" .c)
    # shellcheck disable=SC2086 # a list
    compile "$program" && aarch64-linux-gnu-gcc -static -o "$out/$name" "$out/$name.o" $objects -lm
    count $? "$program: see above"
done

# on CPU SETS: every suite there; SETS are what it must be found to have.
on()
{
    sets=$(qemu-aarch64-static -cpu "$1" "$out/sets")
    [ "$sets" = "$2" ]
    count $? "$1 has the sets $sets, not $2"
    for suite in "$out"/test_*.o; do
        suite=${suite%.o}
        qemu-aarch64-static -cpu "$1" "$suite"
        count $? "${suite##*/} on $1"
    done
}
on cortex-a53 'generic'
on neoverse-n1 'generic neondot'
on max 'generic neondot neoni8mm'
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
