# SPDX-License-Identifier: Apache-2.0
"""
User memory for an idle connection: 8,000 held (or as many as the limit of open files permits), each served once.

The first of them have talked before the count begins, more at once than a turn takes, so that what all share is there:
the output of the messages of one turn, on uring 1 MiB of buffers. The server runs when the client sleeps, so that how
many messages meet in one turn is no matter of chance.
"""
import _gate as gate
from _gate import measure

WARM = 300  # a turn takes at most 256 events


def bytes_each(command, number):
    core = measure.cores()[0]
    with measure.Server(command, core=core, idle=True) as server:
        warm = measure.Client(server, core, c=WARM, r=100)
        try:
            warm.measure()
            before = server.user_bytes()
            with measure.Held(server, number - WARM, core):
                return (server.user_bytes() - before) / (number - WARM)
        finally:
            warm.stop()


gate.begin(programs=(measure.example("echo"), measure.BARE))
number = min(8000, measure.raise_fd_limit() - 100)
print(f"{number} connections; a bare epoll loop takes {bytes_each([measure.BARE], number):.0f} bytes for each")
for engine in gate.engines("epoll", "poll", "uring"):
    found = bytes_each(measure.echo_command(engine), number)
    print(f"{engine}: {found:.0f} bytes")
    gate.check("memory_bytes_per_idle_connection" + ("" if engine == "epoll" else "_" + engine), found)
gate.end()
