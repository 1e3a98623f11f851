# SPDX-License-Identifier: Apache-2.0
"""Whom we compare ourselves with: what is built here, how it is started, and of which version it is."""
import os
import re
import shutil
import subprocess

import measure
from contest import Contestant

# name, title, program and arguments. Peers are built where their library was found.
ECHO = [
    ("uring", "bare io_uring", ["bare_uring_echo"]),
    ("libuv", "libuv", ["libuv_echo"]),
    ("libuv-tuned", "libuv, tuned by hand", ["libuv_echo", "--tuned"]),
    ("libev", "libev", ["libev_echo"]),
    ("libevent", "libevent, bare events", ["libevent_echo"]),
    ("bufferevent", "libevent, bufferevent", ["libevent_bufferevent_echo"]),
]
PACKAGES = {"libuv": "libuv1", "libev": "libev4", "libevent": "libevent-core-2.1-7", "liburing": "liburing2",
            "redis-server": "redis-server"}


def program(name):
    return os.path.join(measure.BUILD_DIR, "bench", name)


def built(name):
    return os.access(program(name), os.X_OK)


def bare():
    return Contestant("bare", "bare epoll", [measure.BARE])


def ours(options, arguments=None, name="ours"):
    """One contestant for each of our engines; arguments(engine) is the command, the echo example if there is none."""
    arguments = arguments or measure.echo_command
    return [Contestant(f"{name}-{engine}", f"{name}, {engine}", arguments(engine)) for engine in options.engines]


def starts(contestant):
    """Whether it works here: a kernel may lack what it needs."""
    try:
        contestant.start().stop()
    except (RuntimeError, OSError) as error:
        print(f"left out: {contestant.title}: {error}")
        return False
    return True


def others(options):
    """The echo servers of others that are built here and wanted."""
    found = [Contestant(name, title, [program(words[0]), *words[1:]]) for name, title, words in ECHO
             if built(words[0]) and (options.peers is None or name in options.peers)]
    return [one for one in found if starts(one)]


def echo(options, leave_out=()):
    """All echo servers, the base first: bare epoll, or ours on the engine of --against, then with ours alone."""
    if options.against:
        base = Contestant(f"base-{options.against}", f"ours, {options.against}", measure.echo_command(options.against))
        return [base, *ours(options)]
    return [bare(), *ours(options), *(one for one in options.others if one.name not in leave_out)]


def on_loops(what, base):
    """A program of bench/loops on each loop it is built for, the base first."""
    titles = {"bare": "bare epoll", "ours": "ours", "libuv": "libuv", "libev": "libev", "libevent": "libevent",
              "floor": "a lock-free stack and an eventfd"}
    names = [base, *(name for name in titles if name != base)]
    return [Contestant(name, titles[name], [program(f"{what}_{name}")]) for name in names if built(f"{what}_{name}")]


def version(package):
    if not shutil.which("dpkg-query"):
        return None
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False)
    found = re.match(r"(?:\d+:)?([\d.]+)", done.stdout)
    return found.group(1) if done.returncode == 0 and found else None


def versions():
    found = {name: version(package) for name, package in PACKAGES.items()}
    return ", ".join(f"{name} {number}" for name, number in found.items() if number) or "no peers"
