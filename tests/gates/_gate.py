# SPDX-License-Identifier: Apache-2.0
"""The frame of a gate: a count that must not grow past its limit. Result 0: held, 1: passed it, 77: cannot be counted.

Counts are only true for an optimised build without sanitizers, so that other builds are skipped.
"""
import os
import shutil
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "tools"))
import measure  # noqa: E402

failed = False


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def begin(*needs, programs=()):
    """Skips where the build or a tool is not what counting needs."""
    sys.stdout.reconfigure(line_buffering=True)
    build = os.environ.get("IOR_BUILD_TYPE", "Release")
    if build not in ("Release", "RelWithDebInfo", "MinSizeRel"):
        skip(f"counts of a {build or 'plain'} build mean nothing")
    for tool in needs:
        if not shutil.which(tool):
            skip(f"{tool} is not installed")
    for program in (measure.CLIENT, *programs):
        if not os.access(program, os.X_OK):
            skip(f"{program} is not built")
    measure.raise_fd_limit()


def engines(*names):
    """Those of the engines that this build has, on this kernel."""
    there = []
    for name in names:
        try:
            measure.Server(measure.echo_command(name)).stop()
            there.append(name)
        except RuntimeError as reason:
            print(f"without {name}: {reason}")
    return there


def limit(name):
    with open(os.path.join(HERE, "limits"), encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if words and words[0] == name:
                return float(words[1])
    raise KeyError(name)


def check(name, value):
    """Compares a figure with its limit."""
    global failed
    most = limit(name)
    good = value <= most
    failed = failed or not good
    print(f"{'ok' if good else 'OVER'}: {name} is {value:.4g}, limit {most:g}")


def end():
    sys.exit(1 if failed else 0)
