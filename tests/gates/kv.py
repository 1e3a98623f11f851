# SPDX-License-Identifier: Apache-2.0
"""Sixteen requests that the key-value service reads at once are answered in one write, by strace."""
import os
import re
import socket
import tempfile

import _gate as gate
from _gate import measure

REQUEST = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n"
ANSWER = b"+OK\r\n"


def ask(peer, times):
    peer.sendall(REQUEST * times)
    answer = b""
    while len(answer) < times * len(ANSWER):
        piece = peer.recv(65536)
        if not piece:
            raise RuntimeError("the service hung up")
        answer += piece
    if answer != ANSWER * times:
        raise RuntimeError(f"the service answers {answer}")


def writes(log):
    with open(log, encoding="utf-8", errors="replace") as file:
        return len(re.findall(r"\b(?:write|writev|sendto|sendmsg|sendmmsg)\(", file.read()))


def writes_settled(server, log):
    server.settle()  # The line of a call is written when the call is over, a moment after the answer is here.
    return writes(log)


gate.begin("strace", programs=(measure.example("kv"),))
for engine in ("epoll", "poll"):
    command = [measure.example("kv"), "--listen", "127.0.0.1:0", "--engine", engine]
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "strace")
        with measure.Server(command, ("strace", "-f", "-o", log)) as server:
            host, port = server.address.rsplit(":", 1)
            with socket.create_connection((host, int(port)), timeout=measure.WAIT_S) as peer:
                ask(peer, 1)
                begin = writes_settled(server, log)
                ask(peer, 16)
                found = writes_settled(server, log) - begin
    print(f"{engine}: {found} writes")
    if found == 0:
        raise RuntimeError("strace does not see the service's writes")
    gate.check("kv_writes_per_16_requests", found)
gate.end()
