# SPDX-License-Identifier: Apache-2.0
"""Runs one program of the benchmarks with a few hundred messages, untimed, so that none of them rots unseen.

Usage: alive.py NAME, or alive.py --list for the names. The client checks each byte. A peer whose library was not found
when the benchmarks were configured is skipped (77).
"""
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools"))
import measure  # noqa: E402

ECHO = [{"c": 20, "r": 10}, {"c": 5, "d": 16, "r": 4}, {"c": 3, "s": 16384, "r": 4},
        {"c": 2, "s": 16384, "d": 16, "r": 2}, {"m": "churn", "c": 5, "r": 4}]
PING = [{"m": "ping", "c": 10, "d": 16, "r": 3}, {"m": "ping", "c": 1, "d": 3000, "r": 3}]
BULK_BYTES = 3000001
BULK = [{"m": "bulk", "s": BULK_BYTES, "c": 2, "r": 2}]

# A server: the ways to start it, and what the client does with each.
SERVERS = {
    "bare_epoll": ([[]], ECHO),
    "bare_uring_echo": ([[]], ECHO),
    "libev_echo": ([[], ["--idle"]], ECHO),
    "libevent_echo": ([[], ["--idle"]], ECHO),
    "libevent_bufferevent_echo": ([[], ["--idle"]], ECHO),
    "libuv_echo": ([[], ["--tuned"], ["--idle"]], ECHO),
    "deadline_echo": ([["none"], ["idle"], ["moved"]], ECHO),
    "ping": ([[]], PING),
    "libuv_ping": ([[], ["--corked"]], PING),
    "libevent_ping": ([[], ["--corked"]], PING),
    "broadcast": ([["4096"]], [{"m": "broadcast", "c": 30, "s": 4096, "r": 5}]),
    "bare_broadcast": ([["4096"]], [{"m": "broadcast", "c": 30, "s": 4096, "r": 5}]),
    "bulk": ([["copy", str(BULK_BYTES)], ["give", str(BULK_BYTES)], ["file", str(BULK_BYTES)]], BULK),
    "bare_bulk": ([["write", str(BULK_BYTES)], ["sendfile", str(BULK_BYTES)]], BULK),
}

# A program that measures by itself: its arguments, and a figure it prints (None: it checks itself).
PROGRAMS = {
    "sim_scale": ("100 100", None),
    "timer_count": ("fire 1000", "fire"),
    "timer_lateness": ("20", "busy_p50_us"),
    "sim_day": ("20 1", None),
    "uring_offers": ("4096 1", "send"),
    **{f"timers_{loop}": ("1000", "fire") for loop in ("ours", "libuv", "libev", "libevent")},
    **{f"watchers_{loop}": ("200", "ms") for loop in ("bare", "ours", "libuv", "libev", "libevent")},
    **{f"pipes_{loop}": ("200", "ns") for loop in ("bare", "ours", "libuv", "libev", "libevent")},
    **{f"datagrams_{one}": ("1000", "sink_32") for one in ("bare", "ours", "libuv")},
    **{f"files_{loop}": ("4", "jobs_p99_us") for loop in ("ours", "libuv")},
    **{f"commands_{channel}": ("1000", "roundtrip_p50_us") for channel in ("floor", "ours", "libuv")},
}


def serve(path, ways, clients):
    for way in ways:
        try:
            server = measure.Server([path, *way])
        except RuntimeError as error:
            if "io_uring_queue_init_params" not in str(error):
                raise
            print(f"skipped: this kernel has no io_uring for us: {error}")
            sys.exit(77)
        with server:
            for options in clients:
                measure.client(server, w=0, **options)
            assert server.process.poll() is None, f"{path} {way} has ended: {server.process.returncode}"
        print(f"ok: {os.path.basename(path)} {' '.join(way)}")


def run(path, arguments, figure):
    done = subprocess.run([path, *arguments.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False, timeout=measure.WAIT_S)
    if "io_uring_queue_init" in done.stderr:
        print(f"skipped: this kernel has no io_uring for us: {done.stderr}")
        sys.exit(77)
    assert done.returncode == 0, done.stderr
    if figure is None:
        print(f"ok: {done.stdout}", end="")
        return
    figures = dict(word.split("=") for word in done.stdout.split())
    assert float(figures[figure]) > 0, done.stdout
    print(f"ok: {done.stdout}", end="")


def main():
    name = sys.argv[1]
    if name == "--list":
        print(";".join([*SERVERS, *PROGRAMS]), end="")
        return
    path = os.path.join(measure.BUILD_DIR, "bench", name)
    if not os.access(path, os.X_OK):
        print(f"skipped: {name} is not built, its library was not found (see IOR_BENCH_PEERS)")
        sys.exit(77)
    measure.raise_fd_limit()
    if name in SERVERS:
        serve(path, *SERVERS[name])
    else:
        run(path, *PROGRAMS[name])


if __name__ == "__main__":
    main()
