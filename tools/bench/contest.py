# SPDX-License-Identifier: Apache-2.0
"""Contests: servers or programs measured in interleaved rounds, each next to the same base.

The base runs twice in each round, as itself and as its own control: differences within the spread of the control's
ratio to the base mean nothing on this machine today. Ratios are taken within a round.
"""
import statistics
import subprocess

import measure

AGAIN = "control"


class Contestant:
    """Who takes part: `name` for options and plots, `title` for tables, and how to start it."""

    def __init__(self, name, title, command, start=None):
        self.name = name
        self.title = title
        self.command = command
        self._start = start or measure.Server

    def start(self, **options):
        return self._start(self.command, **options)


def quartiles(values):
    if len(values) < 3:
        return min(values), statistics.median(values), max(values)
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def spread(values, form=".2f"):
    low, middle, high = quartiles(values)
    return f"{middle:{form}} ({low:{form}}–{high:{form}})"


def in_turn(names, number):
    """The order of one round: it rotates, so that nobody always follows the same one."""
    first = number % len(names)
    return names[first:] + names[:first]


class Contest:
    """The figures of a contest: runs[name] is a list with a dict for each round."""

    def __init__(self, contestants, again):
        self.base = contestants[0].name
        self.titles = {one.name: one.title for one in contestants}
        self.titles[AGAIN] = f"{contestants[0].title}, again (control)"
        self.names = [self.base, AGAIN, *(one.name for one in contestants[1:])]
        self.by_name = {one.name: one for one in contestants}
        self.by_name[AGAIN] = again
        self.runs = {name: [] for name in self.names}

    def values(self, name, figure):
        return [run[figure] for run in self.runs[name]]

    def median(self, name, figure):
        return statistics.median(self.values(name, figure))

    def ratios(self, name, figure):
        return [mine[figure] / base[figure] if base[figure] else float("nan")
                for mine, base in zip(self.runs[name], self.runs[self.base])]

    def band(self, figure):
        """The control's quartiles."""
        low, _, high = quartiles(self.ratios(AGAIN, figure))
        return low, high


class Call:
    """A client that is but a function, called anew in each round."""

    def __init__(self, measure_once):
        self.measure = measure_once

    def stop(self):
        pass


def serve(contestants, rounds, connect):
    """A contest of servers on the first core; connect(server, core) answers the client of one, with measure and stop."""
    contest = Contest(contestants, contestants[0])
    cores = measure.cores()
    servers, clients = {}, {}
    try:
        for name in contest.names:
            servers[name] = contest.by_name[name].start(core=cores[0])
        for number in range(rounds):
            for name in in_turn(contest.names, number):
                if name not in clients:
                    clients[name] = connect(servers[name], cores[-1])
                contest.runs[name].append(clients[name].measure())
    finally:
        for client in clients.values():
            client.stop()
        for server in servers.values():
            server.stop()
    return contest


def run(contestants, rounds, arguments=(), environment=None):
    """A contest of programs that measure by themselves and print a line of NAME=VALUE words."""
    contest = Contest(contestants, contestants[0])
    for number in range(rounds):
        for name in in_turn(contest.names, number):
            done = subprocess.run([*contest.by_name[name].command, *arguments], stdout=subprocess.PIPE, text=True,
                                  check=True, env=environment, timeout=10 * measure.WAIT_S)
            contest.runs[name].append({word.split("=")[0]: float(word.split("=")[1]) for word in done.stdout.split()})
    return contest
