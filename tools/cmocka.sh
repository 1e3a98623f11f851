#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Fetches the source of cmocka, which platforms without a package of it are tested with, into the folder DIR.
#
# usage: tools/cmocka.sh DIR
#
# It is the distribution's own source package, and apt checks its signature. The system's lists of packages often have
# no sources, and are not to be changed for a test: so apt gets lists of its own here, made from the system's mirrors.
set -u

dir=${1:?usage: tools/cmocka.sh DIR}
[ -f "$dir/src/cmocka.c" ] && exit 0

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
# apt gives up root before it fetches.
chmod 755 "$work"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/source" "$dir" || exit 1

sources() {
    # shellcheck disable=SC2016 # apt's variables
    apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
        awk '($1 == "Debian" && $2 == "main") || ($1 == "Ubuntu" && ($2 == "main" || $2 == "universe")) {
            print "deb-src", $3, $4, $2 }' | sort -u >"$work/sources.list"
    [ -s "$work/sources.list" ]
}
# Before the first update, as in a fresh container, apt does not know whose its mirrors are.
if ! sources; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update >/dev/null
    sources || {
        echo "cmocka.sh: apt knows no mirror of Debian or Ubuntu" >&2
        exit 1
    }
fi

apt() {
    apt-get -q -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=- \
        -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root \
        -o Acquire::Retries=3 "$@"
}
log=$work/log
if ! { apt update && cd "$work/source" && apt source --download-only cmocka; } >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
cd "$OLDPWD" || exit 1
tar -xf "$(ls "$work"/source/cmocka_*.orig.tar.?z)" -C "$dir" --strip-components=1 || exit 1
[ -f "$dir/src/cmocka.c" ]
