# SPDX-License-Identifier: Apache-2.0
"""The benchmarks: what messages, connections, timers and commands cost, next to a bare epoll loop and next to others.

Counts first, times second. What is timed runs in interleaved rounds, the base twice, the server on one core and the
client on another: see docs/benchmarks.md.
"""
import argparse
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import counts  # noqa: E402
import loops  # noqa: E402
import measure  # noqa: E402
import peers  # noqa: E402
import report  # noqa: E402
import traffic  # noqa: E402

SCENARIOS = {
    "counts": counts.counts, "deadlines": counts.deadlines, "memory": counts.memory,
    "echo": traffic.echo, "sparse": traffic.sparse, "churn": traffic.churn,
    "requests": traffic.requests, "kv": traffic.kv, "broadcast": traffic.broadcast, "bulk": traffic.bulk,
    "pipes": loops.pipes, "watchers": loops.watchers, "timers": loops.timers, "commands": loops.commands,
    "datagrams": loops.datagrams,
    "files": loops.files,
    "scaling": traffic.scaling,
}


def parser():
    found = argparse.ArgumentParser(prog="./dev bench", description="Measures against a bare epoll loop and others.",
                                    formatter_class=argparse.RawDescriptionHelpFormatter,
                                    epilog="scenarios: " + ", ".join(SCENARIOS) + "\nrows of them: " +
                                    ", ".join(traffic.ROWS))
    found.add_argument("what", nargs="*", metavar="SCENARIO",
                       help="'quick' (fewer rows, fewer and shorter rounds), 'engines' (uring beside epoll, the table of "
                       "docs/engines.md), or some of those below; none: all")
    found.add_argument("--engine", action="append", metavar="ENGINE", help="ours on this engine only; may be repeated "
                       "(default: all that work here)")
    found.add_argument("--against", metavar="ENGINE",
                       help="compare with ours on that engine, in place of bare epoll and the others")
    found.add_argument("--peers", metavar="NAMES", type=lambda names: names.split(","),
                       help="only these of: " + ", ".join(name for name, _, _ in peers.ECHO) + " (echo servers)")
    found.add_argument("--rounds", type=int, help="interleaved rounds of timing (11; quick: 3)")
    found.add_argument("--seconds", type=float, help="how long one server is measured in a round (0.5; quick: 0.1)")
    found.add_argument("--write", action="store_true", help="write the tables and plots into docs/")
    return found


def scenario_of(name):
    return name if name in SCENARIOS else name.split("-", maxsplit=1)[0]


def parse():
    usage = parser()
    options = usage.parse_args()
    options.quick = "quick" in options.what
    options.names = [name for name in options.what if name != "quick"] or list(SCENARIOS)
    for name in options.names:
        if name not in SCENARIOS and name not in traffic.ROWS and name != "engines":
            usage.error(f"there is no scenario '{name}'")
    alone = options.names == ["engines"]
    if options.write and (options.quick or options.against or options.peers or options.engine or
                          any(name not in SCENARIOS for name in options.names) and not alone):
        usage.error("--write is for whole scenarios with everybody, and not for quick looks")
    options.rounds = options.rounds or (3 if options.quick else 11)
    options.seconds = options.seconds or (0.1 if options.quick else 0.5)
    return options


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers and clients end with us
    limit = measure.raise_fd_limit()
    if limit < 8300:
        sys.exit("bench: 8,000 connections want a limit of open files of 8,300 or more (ulimit -n)")
    load = os.getloadavg()[0]
    print(report.machine())
    if len(measure.cores()) < 2:
        print("only one core: server and client share it, and the times mean little")
    if report.busy():
        print(f"somebody works here (a load of {load:.1f}): the times mean little")
    options.engines = options.engine or measure.engines()
    options.others = [] if options.against or options.names == ["engines"] else peers.others(options)
    began = time.monotonic()
    for name in dict.fromkeys(scenario_of(name) for name in options.names):
        start = time.monotonic()
        section = {**SCENARIOS, "engines": traffic.engines}[name](options)
        print(f"({name}: {time.monotonic() - start:.0f} s)", flush=True)
        if options.write and section.parts:
            report.write(section, load, options.rounds)
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
