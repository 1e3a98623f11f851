# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
#
# What the install tests share: where things are, a fresh folder, and the installed tree in a place that is not the one
# it was installed to (both packages must find their own prefix).
set -eu
: "${IOR_SOURCE_DIR:?}" "${IOR_BUILD_DIR:?}"
# shellcheck disable=SC2034 # used where this is read
here=$IOR_SOURCE_DIR/tests/install
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# The compilers that are here, of those given; a test that finds none is skipped.
compilers() {
    found=
    for compiler in "$@"; do
        if have "$compiler"; then
            found="$found $compiler"
        else
            echo "no $compiler here: left out" >&2
        fi
    done
    echo "$found"
}

install_moved() {
    cmake --install "$IOR_BUILD_DIR" --prefix "$work/first" >"$work/install.log" || fail "cmake --install"
    mv "$work/first" "$work/prefix"
    prefix=$work/prefix
    libdir=$(dirname "$(find "$prefix" -name libioreactor.a)")
    [ -e "$libdir/libioreactor.so.0" ] || fail "libioreactor.so.0 is not installed beside the static library"
}
