#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The demo: one echo server, whose only thread holds 10,000 connections; every byte that comes back is verified by a
# load program in another process. Ends with a report, and with status 0 only if nothing was lost.
#
# --help tells the options and the environment variables.
set -u

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd) || exit 1
bin=${IOR_BIN:-$root/build/release/examples}
wanted=10000
seconds=12
pause=500
server=
load=

say() {
    printf '%s\n' "$*"
}

fail() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}

usage() {
    cat <<END
usage: demo.sh [OPTION]...
One echo server, whose only thread holds many connections, and a load program that verifies every byte.

  --connections N   how many (default $wanted, or what the limit of open files allows)
  --seconds S       how long, once all are connected (default $seconds)
  --pause MS        how long a connection rests between an echo and its next message (default $pause)
  --help            this text

  IOR_BIN           where the programs echo and load are (default: build/release/examples of this source tree)
  IOR_ENGINE        the engine of both, epoll or poll (default: the library's choice)
END
}

# The value of an option, which has to be a number from $3 on.
number() {
    case $2 in
    '' | *[!0-9]*) bad_option "$1 \"$2\": expected a number" ;;
    esac
    if [ "${#2}" -gt 7 ] || [ "$2" -lt "$3" ]; then
        bad_option "$1 \"$2\": expected a number from $3 to 9999999"
    fi
}

bad_option() {
    printf 'demo: %s\n' "$*" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit 0
        ;;
    --connections | --seconds | --pause)
        [ $# -ge 2 ] || bad_option "$1: a value is missing"
        case $1 in
        --connections) number "$1" "$2" 1 && wanted=$2 ;;
        --seconds) number "$1" "$2" 0 && seconds=$2 ;;
        --pause) number "$1" "$2" 0 && pause=$2 ;;
        esac
        shift 2
        ;;
    *) bad_option "unknown option \"$1\"; --help tells which there are" ;;
    esac
done

for program in echo load; do
    [ -x "$bin/$program" ] || fail "there is no $bin/$program; build the examples first (./dev build)"
done

work=$(mktemp -d) || exit 1

# shellcheck disable=SC2317 # It is called by the trap.
finish() {
    # What is still running was started here.
    [ -n "$load" ] && kill "$load" 2>/dev/null && wait "$load" 2>/dev/null
    [ -n "$server" ] && kill "$server" 2>/dev/null && wait "$server" 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
trap 'exit 141' PIPE # whoever read the report has gone

# A field of the status of the server process, in KiB; nothing where there is no /proc.
status_kib() {
    sed -n "s/^$1:[[:space:]]*\([0-9]*\) kB\$/\1/p" "/proc/$server/status" 2>/dev/null
}

# User and system time of the server process so far, in clock ticks.
cpu_ticks() {
    sed 's/^.*) //' "/proc/$server/stat" 2>/dev/null | awk '{ print $12 + $13 }'
}

# A number of the report of the load program.
report_field() {
    sed -n "s/.*\"$1\": \([0-9.]*\).*/\1/p" "$work/report"
}

# --- As many connections as the system allows: each is a file in both processes, which raise their own soft limit.
# shellcheck disable=SC3045 # Every sh that matters knows -H.
files=$(ulimit -Hn)
connections=$wanted
if [ "$files" != unlimited ] && [ "$files" -lt $((wanted + 100)) ]; then
    connections=$((files - 100))
    [ "$connections" -gt 0 ] || fail "the limit of open files, $files, is too low"
    say "This system allows $files open files a process (ulimit -Hn): $connections connections instead of $wanted."
fi

# --- The server: one process, one thread, one loop.
: >"$work/server"
"$bin/echo" --listen 127.0.0.1:0 >>"$work/server" 2>"$work/server.err" &
server=$!
address=
tries=0
while [ -z "$address" ]; do
    address=$(sed -n 's/^listening on //p' "$work/server")
    [ -n "$address" ] && break
    kill -0 "$server" 2>/dev/null || fail "the server did not start: $(cat "$work/server.err")"
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || fail "the server did not start within 10 s"
    sleep 0.1
done
threads=$(sed -n 's/^Threads:[[:space:]]*//p' "/proc/$server/status" 2>/dev/null)
say "An echo server listens on $address (process $server, ${threads:-1} thread)."
say "Another process opens $connections connections to it; each sends 64 random bytes, verifies what comes back,"
say "rests for $pause ms or so, and sends again, for $seconds s. All of them are live at once."
say ""

rss_before=$(status_kib VmRSS)
ticks_before=$(cpu_ticks)

# --- The load; its progress goes straight to the terminal.
"$bin/load" --connect "$address" --connections "$connections" --seconds "$seconds" --size 64 --depth 1 \
    --pause "$pause" --progress --json >"$work/report" &
load=$!
wait "$load"
load_status=$?
load=

ticks_after=$(cpu_ticks)
rss_peak=$(status_kib VmHWM)
[ -s "$work/report" ] || fail "the load program gave no report (status $load_status)"

messages=$(report_field messages)
held=$(report_field connections)
lost=$(report_field lost)
say ""
say "connections     $held, in one thread of one process"
say "messages        $messages ($(report_field messages_per_second) a second)"
say "bytes verified  $(report_field bytes_verified)"
say "lost            $lost"
say "errors          $(report_field errors)"
say "latency         $(awk -v p50="$(report_field p50_us)" -v p99="$(report_field p99_us)" \
    'BEGIN { printf "p50 %.2f ms, p99 %.2f ms", p50 / 1000, p99 / 1000 }')"
if [ -n "$ticks_before" ] && [ -n "$ticks_after" ] && [ "${messages:-0}" -gt 0 ]; then
    say "server CPU      $(awk -v t=$((ticks_after - ticks_before)) -v hz="$(getconf CLK_TCK)" -v m="$messages" \
        'BEGIN { printf "%.1f us for a message (%.1f s in all, with the kernel)", t * 1e6 / hz / m, t / hz }')"
fi
if [ -n "$rss_before" ] && [ -n "$rss_peak" ] && [ "${held:-0}" -gt 0 ]; then
    say "server memory   $(awk -v k=$((rss_peak - rss_before)) -v c="$held" \
        'BEGIN { printf "%d bytes for a connection (user memory at its peak; the kernel has its own)", k * 1024 / c }')"
fi

# --- The server ends in order when it is told to.
kill "$server"
wait "$server"
server_status=$?
server=
say "server exit     $server_status"
say ""
if [ "$load_status" -ne 0 ] || [ "$server_status" -ne 0 ] || [ "$lost" != 0 ]; then
    say "The demo FAILED (load: $load_status, server: $server_status)."
    exit 1
fi
say "Nothing was lost. To go on by hand:"
say "    $bin/echo --listen 127.0.0.1:7000    and in another terminal    nc 127.0.0.1 7000"
say "    $bin/chat --listen 127.0.0.1:7001    and in some others         nc 127.0.0.1 7001"
say "    $bin/kv --listen 127.0.0.1:6380      and                        redis-cli -p 6380"
exit 0
