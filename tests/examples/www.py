# SPDX-License-Identifier: Apache-2.0
"""The www example: files arrive whole, whatever their size and the client's pace, and nothing else can be asked for."""

import contextlib
import os
import random
import shutil
import subprocess
import tempfile

from _lib import Server, main, until


@contextlib.contextmanager
def site(**files):
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)
        with Server("www", "--root", folder) as server:
            yield server, folder


def memory(server):
    with open(f"/proc/{server.pid()}/status", encoding="ascii") as file:
        return 1024 * int(next(line for line in file if line.startswith("VmRSS")).split()[1])


def get(server, path, method="GET", finish=False):
    with server.client() as client:
        client.send(f"{method} {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        if finish:
            client.finish()
        head, _, body = client.rest().partition(b"\r\n\r\n")
        return int(head.split()[1]), body


def test_files_arrive():
    large = random.Random(1).randbytes(3_000_000)
    with site(empty=b"", small=b"hello", large=large) as (server, _):
        assert get(server, "/small") == (200, b"hello")
        assert get(server, "/small?and=more", finish=True) == (200, b"hello")
        assert get(server, "/empty") == (200, b"")
        assert get(server, "/large") == (200, large)
        assert get(server, "/large", method="HEAD") == (200, b"")
        server.gone()


def test_what_is_refused():
    with site(small=b"hello") as (server, folder):
        os.mkdir(os.path.join(folder, "folder"))
        os.mkfifo(os.path.join(folder, "pipe"))
        with open(os.path.join(folder, ".hidden"), "wb") as file:
            file.write(b"secret")
        for path in ["/none", "/folder", "/../small", "/folder/../small", "/.hidden", "small", "//small", "/", "/small/x"]:
            assert get(server, path)[0] == 404, path
        assert get(server, "/pipe")[0] == 403
        assert get(server, "/small", method="PUT")[0] == 501
        assert get(server, "/" + 4000 * "x")[0] == 404
        with server.client() as client:
            client.send(9000 * b"x")
            assert b" 400 " in client.rest()
        with server.client() as client:
            client.send(b"GET /small")
            client.finish()
            assert client.rest() == b""
        server.gone()


def test_byte_by_byte():
    with site(small=b"hello") as (server, _), server.client() as client:
        for byte in b"GET /small HTTP/1.0\r\n\r\n":
            client.send(bytes([byte]))
        assert client.rest().endswith(b"\r\n\r\nhello")


def test_slow_clients_cost_little_and_leave_when_they_like():
    data = random.Random(2).randbytes(1_000_000) * 16
    with site(large=data) as (server, _):
        before = memory(server)
        slow = [server.client(receive_buffer=4096) for _ in range(20)]  # 320 MB, if they were held
        for client in slow:
            client.send(b"GET /large HTTP/1.0\r\n\r\n")
            assert client.exactly(12) == b"HTTP/1.0 200"
        assert get(server, "/large") == (200, data)
        assert memory(server) - before < 200_000_000  # a sanitizer keeps what was freed
        for client in slow:
            client.close()
        server.gone()


def test_curl():
    if not shutil.which("curl"):
        return
    data = random.Random(3).randbytes(1_000_000)
    with site(file=data) as (server, folder):
        result = subprocess.run(["curl", "-sS", f"http://{server.address}/file"], capture_output=True, check=True)
        assert result.stdout == data
        os.truncate(os.path.join(folder, "file"), 10)
        until(lambda: get(server, "/file") == (200, data[:10]), "the shorter file")


main(globals())
