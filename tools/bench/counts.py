# SPDX-License-Identifier: Apache-2.0
"""Scenarios that count and do not time: instructions and system calls for a message, deadlines, memory."""
import shutil

import measure
import peers
import report


def lacking(section, *tools):
    """Names a tool that is not there."""
    for tool in tools:
        if not shutil.which(tool):
            section.show(f"left out: {tool} is not installed")
            return True
    return False


def contestants(options):
    found = peers.echo(options)
    return [one for one in found if one.name == "bare" or one.name.startswith("ours")] if options.quick else found


def counts(options):
    section = report.Section("counts", "Counts for an echoed 64-byte message (10 connections for instructions, 100 for "
                                       "system calls)")
    if lacking(section, "valgrind", "strace"):
        return section
    table = report.Table("", "instructions, depth 1", "depth 16", "system calls, depth 1", "depth 16")
    for one in contestants(options):
        figures = [measure.instructions_per_message(one.command, 200, 2200, c=10),
                   measure.instructions_per_message(one.command, 200, 2200, c=10, d=16),
                   measure.system_calls_per_message(one.command, 20, 120, c=100),
                   measure.system_calls_per_message(one.command, 20, 120, c=100, d=16)]
        table.add(one.title, f"{figures[0]:.1f}", f"{figures[1]:.1f}", f"{figures[2]:.3f}", f"{figures[3]:.4f}")
    section.table(table)
    return section


def deadline_commands(options):
    """The servers of each contestant: without a deadline, with an idle one, and (ours) with one the service moves."""
    found = [(f"ours, {engine}", [[peers.program("deadline_echo"), how, engine] for how in ("none", "idle", "moved")])
             for engine in options.engines]
    for one in options.others:
        if not options.quick and one.name in ("libuv-tuned", "libev", "libevent", "bufferevent"):
            found.append((one.title, [one.command, [one.command[0], "--idle"]]))
    return found


def deadlines(options):
    section = report.Section("deadlines", "A deadline moved for each message: instructions for an echoed message")
    if lacking(section, "valgrind"):
        return section
    table = report.Table("", "without", "an idle deadline", "more", "one of the service", "more")
    for one, commands in deadline_commands(options):
        figures = [measure.instructions_per_message(command, 200, 2200, c=10) for command in commands]
        cells = [f"{figures[0]:.1f}"]
        for figure in figures[1:]:
            cells += [f"{figure:.1f}", f"{figure - figures[0]:.1f}"]
        table.add(one, *cells, *["–"] * (5 - len(cells)))
    section.table(table)
    return section


def bytes_for_each(one, number, **held):
    with one.start() as server, measure.Held(server, 100):
        before = server.user_bytes()
        with measure.Held(server, number, **held):
            return (server.user_bytes() - before) / number


def memory(options):
    number = min(8000, measure.raise_fd_limit() - 200)
    section = report.Section("memory", f"User memory for a connection, bytes ({number:,} held)")
    table = report.Table("", "never used", "served once")
    for one in peers.echo(options):
        table.add(one.title, f"{bytes_for_each(one, number, fresh=True):.0f}", f"{bytes_for_each(one, number):.0f}")
    section.table(table)
    return section
