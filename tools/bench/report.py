# SPDX-License-Identifier: Apache-2.0
"""Tables: as text on stdout, and as Markdown in docs/benchmarks.md, between "<!-- begin NAME -->" and "<!-- end NAME -->".
"""
import datetime
import os
import re
import subprocess

import measure
import peers
from contest import AGAIN, quartiles, spread

PATH = os.path.join(measure.SOURCE_DIR, "docs", "benchmarks.md")
ENGINES_PATH = os.path.join(measure.SOURCE_DIR, "docs", "engines.md")


class Table:
    """A header and rows of strings; the first column is left-aligned, the others are figures."""

    def __init__(self, *header):
        self.header = [str(word) for word in header]
        self.rows = []

    def add(self, *row):
        self.rows.append([str(word) for word in row])

    def text(self):
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        return "\n".join("  ".join([line[0].ljust(widths[0]), *(word.rjust(width) for word, width in
                                                                zip(line[1:], widths[1:]))]).rstrip() for line in lines)

    def markdown(self):
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


class Section:
    """What one scenario has to tell: shown as it comes, and kept as Markdown for the document."""

    def __init__(self, name, title):
        self.name = name
        self.parts = []
        print(f"\n## {title}\n", flush=True)

    def show(self, text):
        """Only on stdout."""
        print(text, flush=True)

    def keep(self, markdown):
        """Only in the document."""
        self.parts.append(markdown)

    def table(self, table, say=True):
        if say:
            self.show(table.text())
        self.keep(table.markdown())

    def say(self, text):
        self.show("\n" + text)
        self.keep(text)


def contest_text(title, contest, unit):
    """A contest of servers as text: throughput and CPU time for a message, with the quartiles of single rounds."""
    table = Table(title, f"{unit}/s", "ratio", "CPU ns", "ratio")
    for name in contest.names:
        mine = [f"{contest.median(name, 'rate'):.0f}", "", f"{contest.median(name, 'cpu_ns'):.0f}", ""]
        if name != contest.base:
            mine[1] = spread(contest.ratios(name, "rate"))
            mine[3] = spread(contest.ratios(name, "cpu_ns"))
        table.add(contest.titles[name], *mine)
    return table.text() + "\n"


def matrix(contests, figure, unit):
    """Contests by title as one table of medians: the base's figure, the control's quartiles, everybody's ratio."""
    names = []
    titles = {}
    for contest in contests.values():
        titles.update(contest.titles)
        names += [name for name in contest.names if name not in (*names, contest.base, AGAIN)]
    first = next(iter(contests.values()))
    table = Table("", f"{titles[first.base]}, {unit}", "control", *(titles[name] for name in names))
    for title, contest in contests.items():
        low, high = contest.band(figure)
        row = [f"{quartiles(contest.ratios(name, figure))[1]:.2f}" if name in contest.runs else "–" for name in names]
        table.add(title, f"{contest.median(contest.base, figure):,.0f}", f"{low:.2f}–{high:.2f}", *row)
    return table


def matrices(section, contests, unit):
    """Both matrices of a scenario, for the document."""
    if not contests:
        return
    section.keep("CPU time for a message on the server:\n")
    section.keep(matrix(contests, "cpu_ns", "ns").markdown())
    section.keep("\nThroughput:\n")
    section.keep(matrix(contests, "rate", f"{unit}/s").markdown())


def programs_table(contest, figures, form=".0f"):
    """A contest of programs: figures are (name, title) pairs; medians with quartiles."""
    table = Table("", *(title for _, title in figures))
    for name in contest.names:
        table.add(contest.titles[name], *(spread(contest.values(name, figure), form) for figure, _ in figures))
    return table


def cpu_model():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = re.search(r"^model name\s*:\s*(.*)$", file.read(), re.M)
    except OSError:
        found = None
    return found.group(1) if found else os.uname().machine


def compiler():
    """What the programs were built with."""
    try:
        with open(os.path.join(measure.BUILD_DIR, "CMakeCache.txt"), encoding="utf-8") as file:
            command = re.search(r"^CMAKE_C_COMPILER:\w+=(.*)$", file.read(), re.M).group(1)
        return subprocess.run([command, "--version"], stdout=subprocess.PIPE, text=True,
                              check=True).stdout.splitlines()[0]
    except (OSError, AttributeError, subprocess.CalledProcessError):
        return "unknown compiler"


def library_version():
    with open(os.path.join(measure.SOURCE_DIR, "include", "ioreactor", "version.h"), encoding="utf-8") as file:
        return re.search(r'IOR_VERSION_STRING "(.*)"', file.read()).group(1)


def machine():
    return (f"{cpu_model()}, {len(measure.cores())} cores; {os.uname().sysname} {os.uname().release}; "
            f"{compiler()}; limit of open files {measure.raise_fd_limit()}; {peers.versions()}.")


def busy():
    """Whether somebody else works here."""
    return os.getloadavg()[0] > 0.5


def replaced(document, name, body):
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    if document.count(begin) != 1 or document.count(end) != 1:
        raise KeyError(f"the document has no place for {name}: {begin} ... {end}")
    head, rest = document.split(begin)
    return f"{head}{begin}\n{body}\n{end}{rest.split(end)[1]}"


def write(section, load, rounds):
    """Puts a section into the document, and the machine's facts."""
    path = ENGINES_PATH if section.name == "engines" else PATH
    with open(path, encoding="utf-8") as file:
        document = file.read()
    day = datetime.date.today().isoformat()
    facts = f"*Measured {day}, version {library_version()}, {rounds} rounds, load average at the start {load:.1f}.*"
    document = replaced(document, section.name, "\n".join([facts, "", *section.parts]))
    document = replaced(document, "machine", machine())
    with open(path, "w", encoding="utf-8") as file:
        file.write(document)
