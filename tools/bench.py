# SPDX-License-Identifier: Apache-2.0
"""The benchmarks: what an echoed message, a connection, a timer and a command cost, next to a bare epoll loop.

Timing is done in interleaved rounds: the bare loop, the echo example, and the bare loop once more, which shows what
differences mean nothing on this machine today. The server has one core, the client another. See docs/benchmarks.md.
"""
import argparse
import os
import shutil
import statistics
import subprocess
import sys

sys.dont_write_bytecode = True
import measure  # noqa: E402

# name, what it is, the client's options
ECHO = [
    ("echo-1", "1 connection", {"c": 1}),
    ("echo-100", "100 connections", {"c": 100}),
    ("echo-1000", "1,000 connections", {"c": 1000}),
    ("echo-8000", "8,000 connections", {"c": 8000}),
    ("deep-100", "100 connections, depth 16", {"c": 100, "d": 16}),
    ("large-50", "50 connections, 16 KiB", {"c": 50, "s": 16384}),
    ("sparse-1000-1", "1,000 connections, 1 active", {"c": 1, "i": 999}),
    ("sparse-8000-1", "8,000 connections, 1 active", {"c": 1, "i": 7999}),
    ("sparse-8000-100", "8,000 connections, 100 active", {"c": 100, "i": 7900}),
]
OTHERS = ["counts", "memory", "timers", "commands", "watchers"]


def parse():
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measures against a bare epoll loop.")
    parser.add_argument("what", nargs="*", metavar="SCENARIO",
                        help="'quick' (fewer and shorter rounds), or some of: " +
                        ", ".join([name for name, _, _ in ECHO] + OTHERS) + "; none: all")
    parser.add_argument("--engine", default=os.environ.get("IOR_ENGINE") or "epoll", help="poll, uring or epoll (the default)")
    parser.add_argument("--rounds", type=int, help="interleaved rounds of timing (11; quick: 3)")
    parser.add_argument("--seconds", type=float, help="how long one server is measured in a round (0.7; quick: 0.2)")
    options = parser.parse_args()
    options.quick = "quick" in options.what
    names = [name for name in options.what if name != "quick"]
    for name in names:
        if name not in OTHERS and name not in (scenario for scenario, _, _ in ECHO):
            parser.error(f"there is no scenario '{name}'")
    options.names = names or [name for name, _, _ in ECHO] + OTHERS
    options.rounds = options.rounds or (3 if options.quick else 11)
    options.seconds = options.seconds or (0.2 if options.quick else 0.7)
    return options


def quartiles(values):
    if len(values) < 3:
        return min(values), statistics.median(values), max(values)
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def spread(values):
    low, middle, high = quartiles(values)
    return f"{middle:5.2f} ({low:.2f}-{high:.2f})"


class Pair:
    """A scenario's rounds: figures by server and name, one for each round."""

    def __init__(self, options, arguments):
        cores = measure.cores()
        self.runs = {"bare": [], "ours": [], "again": []}
        order = list(self.runs)
        commands = {"bare": [measure.BARE], "ours": measure.echo_command(options.engine), "again": [measure.BARE]}
        servers = {name: measure.Server(command, core=cores[0]) for name, command in commands.items()}
        try:
            for number in range(options.rounds):
                first = number % len(order)
                for name in order[first:] + order[:first]:
                    self.runs[name].append(measure.client(servers[name], cores[-1], t=options.seconds,
                                                          p=servers[name].pid, **arguments))
        finally:
            for server in servers.values():
                server.stop()

    def values(self, server, figure):
        return [run[figure] for run in self.runs[server]]

    def ratios(self, server, figure):
        """To the bare loop, round by round."""
        return [a / b for a, b in zip(self.values(server, figure), self.values("bare", figure))]


def echo(options):
    rows = [row for row in ECHO if row[0] in options.names]
    if not rows:
        return
    print(f"\n## Echo, 64 bytes, engine {options.engine}: {options.rounds} interleaved rounds of {options.seconds} s")
    print("Ratios to the bare loop: median (quartiles of single rounds). Control: the bare loop against itself.\n")
    print(f"{'':30} {'bare':>9} | {'throughput':>18} {'control':>18} |"
          f" {'bare':>7} {'CPU a message':>18} {'control':>18}")
    print(f"{'':30} {'msg/s':>9} | {'':18} {'':18} | {'ns':>7} {'':18} {'':18}")
    verdicts = []
    for name, title, arguments in rows:
        pair = Pair(options, arguments)
        cpu, control = pair.ratios("ours", "cpu_ns"), pair.ratios("again", "cpu_ns")
        print(f"{title:30} {statistics.median(pair.values('bare', 'rate')):9.0f} |"
              f" {spread(pair.ratios('ours', 'rate')):>18} {spread(pair.ratios('again', 'rate')):>18} |"
              f" {statistics.median(pair.values('bare', 'cpu_ns')):7.0f} {spread(cpu):>18} {spread(control):>18}",
              flush=True)
        if name == "sparse-8000-1":
            most = 1.1 * max(1, quartiles(control)[2])
            found = statistics.median(cpu)
            verdicts.append(f"{title}: CPU for a message is {found:.2f} of the bare loop's; limit {most:.2f} (1.10 and "
                            f"the control's upper quartile): {'ok' if found <= most else 'OVER'}")
    for verdict in verdicts:
        print("\n" + verdict)


def counts(options):
    for tool in ("valgrind", "strace"):
        if not shutil.which(tool):
            print(f"\n## Counts: left out, {tool} is not installed")
            return
    print("\n## Counts for an echoed 64-byte message (10 connections for instructions, 100 for system calls)\n")
    print(f"{'':12} {'instructions':>14} {'depth 16':>9} {'system calls':>14} {'depth 16':>9}")
    for name, command in (("bare epoll", [measure.BARE]), ("ours, epoll", measure.echo_command("epoll")),
                          ("ours, poll", measure.echo_command("poll"))):
        figures = [measure.instructions_per_message(command, 200, 2200, c=10),
                   measure.instructions_per_message(command, 200, 2200, c=10, d=16),
                   measure.system_calls_per_message(command, 20, 120, c=100),
                   measure.system_calls_per_message(command, 20, 120, c=100, d=16)]
        print(f"{name:12} {figures[0]:14.1f} {figures[1]:9.1f} {figures[2]:14.3f} {figures[3]:9.4f}", flush=True)


def memory(options):
    number = min(8000, measure.raise_fd_limit() - 200)
    print(f"\n## User memory for an idle connection ({number} held, each served once)\n")
    ours = measure.echo_command(options.engine)
    for name, command in (("bare epoll", [measure.BARE]), (f"ours, {options.engine}", ours)):
        with measure.Server(command) as server, measure.Held(server, 100):
            before = server.user_bytes()
            with measure.Held(server, number):
                print(f"{name:12} {(server.user_bytes() - before) / number:6.0f} bytes", flush=True)


def program(options, name, *arguments):
    """The medians of some runs of a measuring program."""
    environment = dict(os.environ, IOR_ENGINE=options.engine)
    runs = []
    for _ in range(1 if options.quick else 5):
        done = subprocess.run([os.path.join(measure.BUILD_DIR, "bench", name), *arguments], stdout=subprocess.PIPE,
                              text=True, check=True, env=environment, timeout=10 * measure.WAIT_S)
        runs.append(dict(word.split("=") for word in done.stdout.split()))
    return {key: statistics.median(float(run[key]) for run in runs) for key in runs[0]}


def timers(options):
    print("\n## A million timers, ns for each operation\n")
    figures = program(options, "timers")
    print(f"insert {figures['insert']:.0f}, re-arm {figures['rearm']:.0f}, cancel {figures['cancel']:.0f}, "
          f"fire {figures['fire']:.0f}; in scattered order: re-arm {figures['rearm_scattered']:.0f}, "
          f"cancel {figures['cancel_scattered']:.0f}", flush=True)


def commands(options):
    print("\n## A million commands from other threads\n")
    figures = program(options, "commands")
    for producers in ("1", "4"):
        delivered, sent = figures["delivered_" + producers], figures["sent_" + producers]
        print(f"{producers} producer{'s' if producers > '1' else ' '}: {delivered:.0f} ns a command until delivered, "
              f"{sent:.0f} ns of a sender's time")
    print(f"round trip of a call: p50 {figures['roundtrip_p50_us']:.0f} us, p99 {figures['roundtrip_p99_us']:.0f} us",
          flush=True)


def watchers(options):
    print("\n## Stop and start 8,000 watches in one turn\n")
    figures = program(options, "watchers")
    print(f"interest off and on: {figures['interest_ms']:.2f} ms, pause and resume: {figures['pause_ms']:.2f} ms, "
          f"bare epoll_ctl: {figures['bare_ms']:.2f} ms", flush=True)


def main():
    options = parse()
    limit = measure.raise_fd_limit()
    print(f"{os.uname().sysname} {os.uname().release}, {len(measure.cores())} cores, limit of open files {limit}")
    if limit < 8300:
        sys.exit("bench: 8,000 connections want a limit of open files of 8,300 or more (ulimit -n)")
    if len(measure.cores()) < 2:
        print("only one core: server and client share it, and the times mean little")
    echo(options)
    for name in OTHERS:
        if name in options.names:
            globals()[name](options)


if __name__ == "__main__":
    main()
