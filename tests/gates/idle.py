# SPDX-License-Identifier: Apache-2.0
"""An idle runtime makes no system call: echo with idle connections, watched by strace for ten seconds."""
import os
import tempfile
import time

import _gate as gate
from _gate import measure

SECONDS = 3 if os.environ.get("IOR_QUICK") else 10


def lines(path):
    with open(path, "rb") as file:
        return file.read().count(b"\n")


def settled(server, path):
    """The number of lines once the server waits."""
    server.settle()
    return lines(path)


gate.begin("strace", programs=(measure.example("echo"),))
for engine in gate.engines("epoll", "poll", "uring"):
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "strace")
        with measure.Server(measure.echo_command(engine), ("strace", "-f", "-o", log)) as server:
            with measure.Held(server, 10):
                begin = settled(server, log)
                time.sleep(SECONDS)
                calls = lines(log) - begin
                # The other way round: were there any, they would have been seen.
                measure.client(server, r=10)
                if settled(server, log) <= begin + 9:
                    raise RuntimeError("strace does not see the server's system calls")
    print(f"{engine}: {calls} system calls in {SECONDS} s")
    gate.check("idle_syscalls", calls)
gate.end()
