# SPDX-License-Identifier: Apache-2.0
"""Scenarios without a network: pipes, watchers, timers, commands. Programs that measure by themselves."""
import os
import shutil
import subprocess
import tempfile

import contest
import measure
import peers
import plot
import report
from contest import Contestant

PIPES = [100, 1000, 2000, 4000, 8000]
PIPES_QUICK = [100, 1000, 8000]


def wanted(options, what, base):
    """What takes part on which loop. Ours is on the first engine that is wanted (IOR_ENGINE)."""
    found = peers.on_loops(what, base)
    for one in found:
        if one.name == "ours":
            one.title = f"ours, {options.engines[0]}"
            one.command = ["env", f"IOR_ENGINE={options.engines[0]}", *one.command]
    if options.against:
        ours = next(one for one in found if one.name == "ours")
        command = ["env", f"IOR_ENGINE={options.against}", ours.command[-1]]
        return [Contestant("base", f"ours, {options.against}", command), ours]
    return found


def pipes(options):
    section = report.Section("pipes", "100 bytes going round N pairs of sockets, 1,000 writes: CPU ns for each")
    most = (measure.raise_fd_limit() - 200) // 2
    sizes = [size for size in (PIPES_QUICK if options.quick else PIPES) if size <= most]
    contestants = wanted(options, "pipes", "bare")
    found = {size: contest.run(contestants, options.rounds, [str(size)]) for size in sizes}
    section.table(report.matrix({f"{size:,} pairs": one for size, one in found.items()}, "ns", "ns"))
    lines = {one.title: [(size, *contest.quartiles(found[size].values(one.name, "ns"))) for size in sizes]
             for one in contestants}
    if options.write:
        section.keep("\n" + plot.write("pipes", "A byte through one of N pairs of sockets", "pairs", "CPU, ns", lines))
    return section


def watchers(options):
    section = report.Section("watchers", "Stop and start 8,000 watches in one turn: CPU ms")
    one = contest.run(wanted(options, "watchers", "bare"), options.rounds)
    section.table(report.programs_table(one, [("ms", "ms")], ".3f"))
    return section


def timers(options):
    number = 200000 if options.quick else 1000000
    section = report.Section("timers", f"{number:,} timers: CPU ns for each operation")
    base = "libev" if peers.built("timers_libev") else "ours"
    found = wanted(options, "timers", base)
    ours = next(one for one in found if one.name == "ours")
    found.append(Contestant("ours-turn", ours.title + ", from the turn", ["env", "TIMERS_FROM=turn", *ours.command]))
    one = contest.run(found, min(options.rounds, 1 if options.quick else 5), [str(number)])
    section.table(report.programs_table(one, [
        ("insert", "insert"), ("rearm", "re-arm"), ("cancel", "cancel"), ("fire", "fire"),
        ("rearm_scattered", "re-arm, scattered"), ("cancel_scattered", "cancel, scattered")]))
    return section


def commands(options):
    number = 200000 if options.quick else 1000000
    section = report.Section("commands", f"{number:,} messages from other threads, ns for each; the round trip, us")
    # Producers and the loop run at once: both cores are theirs, and the delay is one of the clock.
    one = contest.run(wanted(options, "commands", "floor"), options.rounds, [str(number)], dict(os.environ))
    section.table(report.programs_table(one, [
        ("delivered_1", "1 producer"), ("sent_1", "its own time"), ("delivered_4", "4 producers"),
        ("sent_4", "their own time"), ("roundtrip_p50_us", "round trip, p50"), ("roundtrip_p99_us", "p99")], ".1f"))
    return section


LEGS = [("echo_1", "echo, one at a time"), ("echo_32", "echo, 32 at a time"), ("sink_32", "sink, 32 at a time")]


def calls_of(one, number, leg):
    """System calls of the server's thread for a datagram of that leg: two lengths, and what is between them."""
    def total(datagrams):
        with tempfile.NamedTemporaryFile("r") as out:
            subprocess.run(["strace", "-c", "-o", out.name, *one.command, str(datagrams), leg], check=True,
                           stdout=subprocess.DEVNULL, timeout=10 * measure.WAIT_S)
            rows = [line.split() for line in out.read().splitlines()]
        return sum(int(row[3]) for row in rows if len(row) >= 5 and row[-1] != "total" and row[3].isdigit())
    return (total(3 * number) - total(number)) / (2 * number)


def datagrams(options):
    number = 50000 if options.quick else 200000
    section = report.Section("datagrams", "UDP, 64 bytes over loopback: CPU ns of the server for each datagram, and its "
                                          "system calls")
    contestants = wanted(options, "datagrams", "bare")
    # The client's thread runs beside the server's: both cores are theirs.
    one = contest.run(contestants, options.rounds, [str(number)], dict(os.environ))
    section.table(report.programs_table(one, LEGS, ".0f"))
    if not shutil.which("strace"):
        section.show("left out: strace is not installed")
        return section
    table = report.Table("system calls", *(title for _, title in LEGS))
    for contestant in contestants:
        table.add(contestant.title, *(f"{calls_of(contestant, 3200, leg):.3f}" for leg, _ in LEGS))
    section.table(table)
    return section


def files(options):
    mib = 128 if options.quick else 1024
    section = report.Section("files", f"{mib:,} MiB from a file through a service to a socket; slow jobs beside an echo")
    base = "libuv" if peers.built("files_libuv") else "ours"
    found = wanted(options, "files", base)
    ours = next((one for one in found if one.name == "ours"), None)
    if ours and not options.against:
        found.append(Contestant("ours-uring", ours.title + ", files on io_uring",
                                ["env", "IOR_FILES=uring", *ours.command]))
    one = contest.run(found, min(options.rounds, 5), [str(mib)], dict(os.environ))
    section.keep("How late a timer of 1 ms in the same loop was, microseconds:\n")
    section.table(report.programs_table(one, [
        ("MBs", "MB/s"), ("late_p50_us", "p50"), ("late_p999_us", "p99.9"), ("late_most_us", "the latest"),
        ("own_p999_us", "own work between two, p99.9"), ("own_most_us", "the most")]))
    section.keep("\nThe round trip of an echo, microseconds: alone, again (the noise), and beside 16 sleeping jobs:\n")
    section.table(report.programs_table(one, [
        ("alone_p99_us", "p99, alone"), ("again_p99_us", "p99, again"), ("jobs_p99_us", "p99, slow jobs"),
        ("alone_p50_us", "p50, alone"), ("jobs_p50_us", "p50, slow jobs")], ".1f"))
    return section
