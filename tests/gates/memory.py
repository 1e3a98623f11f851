# SPDX-License-Identifier: Apache-2.0
"""User memory for an idle connection: 8,000 held (or as many as the limit of open files permits), each served once."""
import _gate as gate
from _gate import measure

WARM = 100


def bytes_each(command, number):
    with measure.Server(command) as server, measure.Held(server, WARM):
        measure.client(server, c=WARM, r=300)  # what all share (1 MiB of buffers, on uring) is not an idle one's
        before = server.user_bytes()
        with measure.Held(server, number):
            return (server.user_bytes() - before) / number


gate.begin(programs=(measure.example("echo"), measure.BARE))
number = min(8000, measure.raise_fd_limit() - WARM - 100)
print(f"{number} connections; a bare epoll loop takes {bytes_each([measure.BARE], number):.0f} bytes for each")
for engine in gate.engines("epoll", "poll", "uring"):
    found = bytes_each(measure.echo_command(engine), number)
    print(f"{engine}: {found:.0f} bytes")
    gate.check("memory_bytes_per_idle_connection" + ("" if engine == "epoll" else "_" + engine), found)
gate.end()
