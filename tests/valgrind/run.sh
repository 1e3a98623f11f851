#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Unit tests under valgrind: each of them on epoll, and on io_uring those that choose an engine and those of the engine
# itself; those of signals and children also "plain", without fds of such (tests/CMakeLists.txt). Anything valgrind says is a failure; there are no suppressions. What is not run is in left_out beside this
# file. LD_PRELOAD brings in ring_wait.c, without which valgrind cannot run what waits in a ring.
#
# run.sh BUILD LOGS JOBS: BUILD is the folder of an optimised build. The last line sums up.
set -u
build=$1
logs=$2
jobs=$3
here=$(dirname "$0")
tests=$(dirname "$here")

if [ "$jobs" != one ]; then
    rm -rf "$logs"
    mkdir -p "$logs" || exit 1
    grep -v -e '^#' -e '^$' "$here/left_out" | sed 's/^/left out: /'
    {
        if [ -f "$build/tests/libring_wait.so" ]; then
            grep -lE 'support/probe\.h|ior_engine_from_env' "$tests"/test_*.c | sed 's/^/uring /'
            find "$tests" -maxdepth 1 -name 'test_uring*.c' | sed 's/^/uring /'
        fi
        grep -l 'support/family\.h' "$tests"/test_*.c | sed 's/^/plain /'
        find "$tests" -maxdepth 1 -name 'test_*.c' ! -name 'test_uring*.c' | sed 's/^/epoll /'
    } | LC_ALL=C sort -r | xargs -n 2 -P "$jobs" sh "$0" "$build" "$logs" one
    passed=$(find "$logs" -name '*.ok' | wc -l)
    skipped=$(find "$logs" -name '*.skipped' -exec basename {} .skipped \; | LC_ALL=C sort | tr '\n' ' ')
    failed=$(find "$logs" -name '*.failed' -exec basename {} .failed \; | LC_ALL=C sort | tr '\n' ' ')
    echo "$passed passed${skipped:+, skipped: $skipped}${failed:+, failed: $failed}"
    [ "$passed" -gt 0 ] && [ -z "$failed" ]
    exit
fi

# One of them: ENGINE SOURCE.
engine=$4
test=$(basename "$5" .c)
log=$logs/$test.$engine
grep -qE "^($engine|all) $test " "$here/left_out" && exit 0
cases=$(sed -nE "s/^($engine|all) $test:([^ ]+) .*/\2/p" "$here/left_out")
preload=
for library in skip_case ring_wait; do
    [ ! -f "$build/tests/lib$library.so" ] || preload=$preload:$build/tests/lib$library.so
done
way=$engine
processes=
if [ "$engine" = plain ]; then
    way=epoll
    processes=plain
fi
# A storm of so many steps takes valgrind a few seconds.
IOR_ENGINE=$way IOR_PROCESSES=$processes IOR_SKIP_CASE=$cases IOR_STORM_STEPS=1000 timeout 240 env LD_PRELOAD="${preload#:}" \
    valgrind --quiet --error-exitcode=9 --leak-check=full --num-callers=30 \
    --errors-for-leak-kinds=definite,indirect,possible "$build/tests/$test" >"$log" 2>&1
result=$?
case $result in
0) result=ok ;;
77) result=skipped ;;
*) result=failed ;;
esac
mv "$log" "$log.$result"
[ $result = ok ] || cat "$log.$result"
echo "$result: $test.$engine"
