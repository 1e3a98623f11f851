#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The installed library, moved, used through pkg-config: from C and C++, with gcc and clang, shared and static.
. "$IOR_SOURCE_DIR/tests/install/_common.sh"
have pkg-config || {
    echo "skipped: no pkg-config"
    exit 77
}
install_moved
export PKG_CONFIG_PATH="$libdir/pkgconfig" LD_LIBRARY_PATH="$libdir"
cp "$here/consumer.c" "$work/consumer.cc"

# try NAME COMMAND...: builds a consumer and runs it.
try() {
    name=$1
    shift
    "$@" -o "$work/consumer" || fail "$name does not build"
    [ "$("$work/consumer")" = ok ] || fail "$name does not run"
    echo "ok: $name"
}

version=$(sed -n 's/^#define IOR_VERSION_STRING "\(.*\)"/\1/p' "$prefix/include/ioreactor/version.h")
[ "$(pkg-config --modversion ioreactor)" = "$version" ] || fail "the version of ioreactor.pc is not that of the header"
strict="-Wall -Wextra -Werror"
# shellcheck disable=SC2046,SC2086 # lists of words
for cc in $(compilers gcc clang); do
    try "$cc, shared" $cc -std=c11 -Wpedantic $strict "$here/consumer.c" $(pkg-config --cflags --libs ioreactor)
    readelf -d "$work/consumer" | grep -q 'NEEDED.*libioreactor\.so\.0' || fail "$cc: libioreactor.so.0 is not linked"
    try "$cc, static" $cc -static -std=c11 -Wpedantic $strict "$here/consumer.c" \
        $(pkg-config --static --cflags --libs ioreactor)
done
# shellcheck disable=SC2046,SC2086
for cxx in $(compilers g++ clang++); do
    try "$cxx, shared" $cxx -std=c++11 $strict "$work/consumer.cc" $(pkg-config --cflags --libs ioreactor)
    try "$cxx, static" $cxx -static -std=c++11 $strict "$work/consumer.cc" \
        $(pkg-config --static --cflags --libs ioreactor)
done

# The simulated world brings the core along.
[ "$(pkg-config --modversion ioreactor-sim)" = "$version" ] || fail "the version of ioreactor-sim.pc is not that of the header"
# shellcheck disable=SC2046,SC2086 # lists of words
for cc in $(compilers gcc clang); do
    try "$cc, sim, shared" $cc -std=c11 -Wpedantic $strict "$here/sim_consumer.c" \
        $(pkg-config --cflags --libs ioreactor-sim)
    readelf -d "$work/consumer" | grep -q 'NEEDED.*libioreactor-sim\.so\.0' ||
        fail "$cc: libioreactor-sim.so.0 is not linked"
    try "$cc, sim, static" $cc -static -std=c11 -Wpedantic $strict "$here/sim_consumer.c" \
        $(pkg-config --static --cflags --libs ioreactor-sim)
done
