# SPDX-License-Identifier: Apache-2.0
"""Scenarios in which the client drives servers: echo, sparse, churn, scaling, requests, kv, broadcast, bulk."""
import os
import shutil
import socket
import subprocess
import time

import contest
import measure
import peers
import plot
import report
from contest import Contestant

# The name of a row, its title, the client's options, and whether it is part of `quick`.
ECHO = [
    (f"echo-{c}{f'-d{d}' if d > 1 else ''}{'-16k' if s > 64 else ''}",
     f"{c:,} connection{'s' if c > 1 else ''}, depth {d}, {'16 KiB' if s > 64 else '64 B'}",
     {"c": c, "d": d, "s": s}, (c, d, s) in [(1, 1, 64), (100, 1, 64), (100, 16, 64), (100, 1, 16384)])
    for s in (64, 16384) for d in (1, 16) for c in (1, 100, 1000, 8000)
    # What is in flight must fit into the kernel's memory for TCP.
    if c * d * s < 1 << 28]
SPARSE = [
    ("sparse-1000-1", "1,000 connections, 1 active", {"c": 1, "i": 999}, False),
    ("sparse-8000-1", "8,000 connections, 1 active", {"c": 1, "i": 7999}, True),
    ("sparse-8000-10", "8,000 connections, 10 active", {"c": 10, "i": 7990}, False),
    ("sparse-8000-100", "8,000 connections, 100 active", {"c": 100, "i": 7900}, False),
]
CHURN = [
    ("churn-1", "1 at a time", {"m": "churn", "c": 1}, False),
    ("churn-50", "50 at a time", {"m": "churn", "c": 50}, True),
]
SCALING = [10, 100, 1000, 4000, 8000, 18000]
SCALING_QUICK = [10, 1000, 8000]
BROADCAST = [
    (f"broadcast-{c}-{s}", f"{c:,} receivers, {s:,} B", {"m": "broadcast", "c": c, "s": s}, c == 1000)
    for s in (64, 4096) for c in (1000, 8000)]
ROWS = [row[0] for row in (*ECHO, *SPARSE, *CHURN, *BROADCAST)]


def duel(options, contestants, arguments):
    """One row of a scenario. The connections of all contestants are there at once, those not measured idle."""
    def connect(server, core):
        return measure.Client(server, core, t=options.seconds, p=server.pid, **arguments)
    return contest.serve(contestants, options.rounds, connect)


def rows(options, section, scenario, contestants_of, unit="msg"):
    """The rows of a scenario that are wanted. contestants_of(client's options) are the contestants. Answers the
    contests by title."""
    found = {}
    for name, title, arguments, is_quick in scenario:
        if name not in options.names and (section.name not in options.names or (options.quick and not is_quick)):
            continue
        found[title] = duel(options, contestants_of(arguments), arguments)
        section.show(report.contest_text(title, found[title], unit))
    report.matrices(section, found, unit)
    return found


def echo(options):
    section = report.Section("echo", "Echo")
    contestants = peers.echo(options)
    rows(options, section, ECHO, lambda _: contestants)
    return section


def sparse(options):
    section = report.Section("sparse", "Echo beside idle connections")
    contestants = peers.echo(options, leave_out=("libuv-tuned",))
    found = rows(options, section, SPARSE, lambda _: contestants)
    for title, one in found.items():
        name = f"ours-{options.engines[0]}"
        ratio, most = contest.quartiles(one.ratios(name, "cpu_ns"))[1], 1.1 * max(1, one.band("cpu_ns")[1])
        section.say(f"{title}: CPU for a message on {one.titles[name]} is {ratio:.2f} of {one.titles[one.base]}'s; "
                    f"limit {most:.2f} (1.10 and the control's upper quartile): {'ok' if ratio <= most else 'OVER'}\n")
    return section


def churn(options):
    section = report.Section("churn", "Connect, one message, close")
    contestants = peers.echo(options, leave_out=("libuv-tuned",))
    rows(options, section, CHURN, lambda _: contestants, "connections")
    return section


def scaling(options):
    section = report.Section("scaling", "Cost of an event by the number of connections")
    contestants = peers.echo(options, leave_out=("libuv-tuned", "bufferevent"))
    if options.quick:
        contestants = [one for one in contestants if one.name not in ("uring", "libuv", "libevent", "ours-poll")]
    most = measure.raise_fd_limit() - 200
    sizes = [size for size in (SCALING_QUICK if options.quick else SCALING) if size <= most]
    for name, title, arguments in [
            ("scaling-active", "All connections active", lambda n: {"c": n}),
            ("scaling-sparse", "10 connections active, the others idle", lambda n: {"c": 10, "i": n - 10})]:
        found = {}
        for size in sizes:
            found[size] = duel(options, contestants, arguments(size))
            section.show(report.contest_text(f"{title}: {size:,}", found[size], "msg"))
        section.keep(f"{title}: CPU time for a message on the server.\n")
        section.table(report.matrix({f"{size:,}": one for size, one in found.items()}, "cpu_ns", "ns"))
        lines = {one.title: [(size, *contest.quartiles(found[size].values(one.name, "cpu_ns"))) for size in sizes]
                 for one in contestants}
        if options.write:
            section.keep("\n" + plot.write(name, title, "connections", "CPU for a message, ns", lines) + "\n")
    return section


class Redis(measure.Server):
    """redis-server on a free port, without persistence. It tells no address, so that we choose the port."""

    def __init__(self, command, core=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        super().__init__([*command, "--port", str(self.port)], core=core)

    def _address(self):
        until = time.monotonic() + measure.WAIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return f"127.0.0.1:{self.port}"
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("redis-server does not start") from error
                time.sleep(0.02)


def redis():
    command = ["redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--loglevel", "warning",
               "--logfile", os.devnull]
    return [Contestant("redis", "redis-server", command, Redis)] if shutil.which("redis-server") else []


def kv_command(engine):
    return [measure.example("kv"), "--listen", "127.0.0.1:0", "--engine", engine]


def requests(options):
    """Sixteen requests that come in one read, one answer each, with our own client."""
    section = report.Section("requests", "16 pipelined PINGs, 100 connections")
    names = [("libevent-corked", "libevent, corked by hand", ["libevent_ping", "--corked"]),
             ("libuv-corked", "libuv, corked by hand", ["libuv_ping", "--corked"]),
             ("bufferevent", "libevent, bufferevent", ["libevent_ping"]),
             ("libuv", "libuv, as documented", ["libuv_ping"])]
    found = [Contestant(name, title, [peers.program(words[0]), *words[1:]]) for name, title, words in names
             if peers.built(words[0])]
    ours = peers.ours(options, lambda engine: [peers.program("ping"), engine])
    if options.against:
        found = [Contestant("base", f"ours, {options.against}", [peers.program("ping"), options.against])]
        contestants = [*found, *ours]
    elif found:
        contestants = [found[0], *ours, *found[1:], *peers.ours(options, kv_command, "kv"), *redis()]
    else:
        contestants = [*ours, *peers.ours(options, kv_command, "kv"), *redis()]
    one = duel(options, contestants, {"m": "ping", "c": 100, "d": 16})
    section.show(report.contest_text("", one, "requests"))
    report.matrices(section, {"16 PINGs in one read": one}, "requests")
    return section


def redis_benchmark(server, core, verb, number):
    """Figures for one verb; the rate includes redis-benchmark's own start."""
    host, port = server.address.rsplit(":", 1)
    before, began = measure.cpu_ns(server.pid), time.monotonic()
    subprocess.run(["taskset", "-c", str(core), "redis-benchmark", "-h", host, "-p", port, "-P", "16", "-c", "100",
                    "-t", verb, "-n", str(number), "-q"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   check=True, timeout=10 * measure.WAIT_S)
    return {"rate": number / (time.monotonic() - began), "cpu_ns": (measure.cpu_ns(server.pid) - before) / number}


def kv_contests(options, section):
    """PING, SET and GET: contests by title."""
    found = {}
    if not shutil.which("redis-benchmark"):
        section.show("left out: redis-benchmark is not installed")
        return found
    number = 50000 if options.quick else 400000
    base = [Contestant("base", f"kv, {options.against}", kv_command(options.against))] if options.against else redis()
    for verb in ("ping_mbulk", "set", "get"):
        def connect(server, core, verb=verb):
            return contest.Call(lambda: redis_benchmark(server, core, verb, number))
        title = verb.split("_", maxsplit=1)[0].upper()
        found[title] = contest.serve([*base, *peers.ours(options, kv_command, "kv")], options.rounds, connect)
        section.show(report.contest_text(title, found[title], "requests"))
    return found


def kv(options):
    """The key-value example under redis-benchmark -P 16: PING, SET and GET."""
    section = report.Section("kv", "kv under redis-benchmark, 100 connections, 16 requests in one write")
    report.matrices(section, kv_contests(options, section), "requests")
    return section


def engines(options):
    """The table of docs/engines.md: CPU for a message on uring, ratios to our epoll engine."""
    options.engines, options.against = ["uring"], "epoll"
    section = report.Section("engines", "uring beside epoll")
    table = report.Table("connections", "depth", "uring", "control")

    def add(connections, depth, one):
        mine = [name for name in one.names if name not in (one.base, contest.AGAIN)][0]
        table.add(connections, depth, *(contest.spread(one.ratios(name, "cpu_ns")) for name in (mine, contest.AGAIN)))

    for _, title, arguments, _ in ECHO:
        if arguments["s"] == 64:
            one = duel(options, peers.echo(options), arguments)
            section.show(report.contest_text(title, one, "msg"))
            add(f"{arguments['c']:,}", arguments["d"], one)
    for title, one in kv_contests(options, section).items():
        add(f"100, kv, {title}", 16, one)
    section.table(table)
    return section


def ours_or_base(options, bare, ours):
    """Bare epoll's program, or with --against ours on that engine, and then ours."""
    if options.against:
        bare = Contestant("base", f"ours, {options.against}", ours(options.against))
    return [bare, *peers.ours(options, ours)]


def broadcast(options):
    section = report.Section("broadcast", "One message to all")

    def contestants(arguments):
        size = str(arguments["s"])
        return ours_or_base(options, Contestant("bare", "bare epoll", [peers.program("bare_broadcast"), size]),
                            lambda engine: [peers.program("broadcast"), size, engine])
    rows(options, section, BROADCAST, contestants, "deliveries")
    return section


def bulk(options):
    size = (256 if options.quick else 1024) << 20
    section = report.Section("bulk", f"One stream, {size >> 20} MiB; a message is a MiB")

    def duel_of(bare, ways):
        servers = [Contestant(bare, f"bare epoll, {bare}", [peers.program("bare_bulk"), bare, str(size)])]
        for way, title in ways:
            servers += [Contestant(f"{one.name}-{way}", f"{one.title}, {title}", one.command) for one in peers.ours(
                options, lambda engine, way=way: [peers.program("bulk"), way, str(size), engine])]
        if options.against:
            way, title = ways[0]
            servers[0] = Contestant("base", f"ours, {options.against}, {title}",
                                    [peers.program("bulk"), way, str(size), options.against])

        def connect(server, core):
            return measure.Client(server, core, m="bulk", s=size, r=1, w=0, p=server.pid)
        return contest.serve(servers, options.rounds, connect)
    found = {"from memory": duel_of("write", [("copy", "copied"), ("give", "given away")]),
             "from a file": duel_of("sendfile", [("file", "file")])}
    for title, one in found.items():
        section.show(report.contest_text(title, one, "MiB"))
        report.matrices(section, {title: one}, "MiB")
        section.keep("")
    return section
