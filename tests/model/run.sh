#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Checks the model of the command queue (commands.pml) with Spin: as the code is, in several sizes, where nothing may be
# found, and broken in one place each, where it must be. Takes about a minute on two cores. 77: spin or gcc is missing.
set -u

for tool in spin gcc timeout; do
    command -v "$tool" >/dev/null 2>&1 || {
        echo "skipped: $tool is missing"
        exit 77
    }
done
model=$(cd "$(dirname "$0")" && pwd)/commands.pml || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# make NAME GCC-OPTIONS SPIN-OPTIONS...: makes the checker, $work/NAME/pan.
make() {
    mkdir "$work/$1" && cd "$work/$1" || return 1
    options=$2
    shift 2
    # shellcheck disable=SC2086 # a list of words
    spin -a "$@" "$model" >log 2>&1 && gcc -w -DSAFETY -DNOFAIR -DMEMLIM=2000 $options -o pan pan.c >>log 2>&1 && return
    cat log
    return 1
}

# row NAME STATES RESULT: one of the table. A result that begins with "NOT" fails the test.
row() {
    printf '%-28s %10s  %s\n' "$1" "$2" "$3"
}

states() {
    awk '/states, stored/ { n = $1 } END { print n + 0 }' log
}

# sound NAME HOW OPTIONS...: nothing may be found. HOW: `all` states, or `some`, as many as 10 seconds give.
sound() {
    (
        name=$1
        how=$2
        shift 2
        bits=
        [ "$how" = all ] || bits=-DBITSTATE
        make "$name" "-O2 $bits" "$@" || {
            row "$name" 0 "NOT BUILT"
            exit
        }
        case $how in
        all) timeout 100 ./pan -m50000 -w22 >log 2>&1 ;;
        some) timeout -s INT 10 ./pan -m50000 -w30 >log 2>&1 ;;
        esac
        if ! grep -q 'errors: 0$' log || grep -q 'max search depth too small' log; then
            cat log >&2
            spin -t -p -k ./*.trail "$@" "$model" >&2 2>/dev/null
            row "$name" "$(states)" "NOT as expected: see above"
        elif [ "$how" = all ] && grep -q 'Search not completed' log; then
            row "$name" "$(states)" "NOT completed in 2 GB"
        elif [ "$how" = all ]; then
            row "$name" "$(states)" "holds in all states"
        else
            row "$name" "$(states)" "holds in the states of 10 s (bit-state hashing, not exhaustive)"
        fi
    )
}

# broken NAME OPTIONS...: it must be found.
broken() {
    (
        name=$1
        shift
        make "$name" -O1 "-DBREAK_$name" "$@" || {
            row "$name" 0 "NOT BUILT"
            exit
        }
        timeout 60 ./pan -m50000 -w22 >log 2>&1
        found=$(sed -n 's/^pan:1: \(.*\) (at depth .*/\1/p' log)
        if [ -n "$found" ]; then
            row "$name" "$(states)" "found: $found"
        else
            row "$name" "$(states)" "NOT found"
        fi
    )
}

all_sound() {
    sound "2_senders_1_shutdown" all -DSENDERS=2 -DASKERS=1
    sound "2_senders_2_shutdowns_1_each" all -DSENDERS=2 -DASKERS=2 -DEACH=1
    sound "1_sender_2_shutdowns" all -DSENDERS=1 -DASKERS=2
    sound "3_senders_1_shutdown_1_each" all -DSENDERS=3 -DASKERS=1 -DEACH=1
    sound "2_senders_2_shutdowns" some -DSENDERS=2 -DASKERS=2
}

all_broken() {
    for name in WAKE_BEFORE_PUSH WAKE_EACH PUSH_IN_TWO_STEPS TAKE_IN_TWO_STEPS TAKE_DROPS_MARK NOT_TURNED_ROUND \
        MARK_IN_TWO_STEPS MARK_IS_A_COMMAND ASK_BEFORE_MARK WAKE_BEFORE_ASK ASK_WITHOUT_WAKE \
        ASK_WITHOUT_LOOKING_AT_GONE ASKS_READ_BEFORE_WAIT LEFT_IS_PENDING_ONLY WAKER_EMPTIED_LATE GONE_TOLD_LATE \
        GONE_WITHOUT_ASKERS GONE_WITHOUT_WAKES; do
        case $name in
        LEFT_IS_PENDING_ONLY) broken $name -DSENDERS=2 -DASKERS=0 ;;
        *) broken $name -DSENDERS=1 -DASKERS=2 ;;
        esac
    done
    sound "3_senders_1_shutdown" some -DSENDERS=3 -DASKERS=1
}

all_sound >"$work/sound" &
all_broken >"$work/broken"
wait

row MODEL STATES RESULT
cat "$work/sound" "$work/broken"
if grep -q ' NOT ' "$work/sound" "$work/broken"; then
    exit 1
fi
echo "all as expected"
