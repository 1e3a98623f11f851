#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Each public header compiles alone, first and twice, as C11 and as C++11 without extensions, without a warning.
. "$IOR_SOURCE_DIR/tests/install/_common.sh"
include=$IOR_SOURCE_DIR/include
strict="-fsyntax-only -Wall -Wextra -Wconversion -Werror"
headers=$(cd "$include" && ls ioreactor.h ioreactor/*.h)
cs=$(compilers gcc clang)
cxxs=$(compilers g++ clang++)
[ -n "$cs$cxxs" ] || {
    echo "skipped: no compiler"
    exit 77
}
for header in $headers; do
    printf '#include <%s>\n#include <%s>\n' "$header" "$header" >"$work/alone.c"
    echo 'extern int ior_not_empty;' >>"$work/alone.c"
    cp "$work/alone.c" "$work/alone.cc"
    # shellcheck disable=SC2086 # a list of words
    for cc in $cs; do
        "$cc" -std=c11 $strict -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
            -I "$include" "$work/alone.c" || fail "$header, $cc"
    done
    # shellcheck disable=SC2086 # a list of words
    for cxx in $cxxs; do
        "$cxx" -std=c++11 $strict -I "$include" "$work/alone.cc" || fail "$header, $cxx"
    done
done
# shellcheck disable=SC2086 # a list of words
echo "ok:$cs$cxxs, $(set -- $headers; echo $#) headers"
