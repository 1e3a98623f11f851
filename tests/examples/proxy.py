# SPDX-License-Identifier: Apache-2.0
"""The proxy example: bytes, back-pressure, half-closes, resets, limits and deadlines, between plain sockets."""

import contextlib
import os
import random
import re
import select
import selectors
import socket
import struct
import tempfile
import threading

from _lib import BUILD, LIMIT, Client, Server, main, run, until


def optimised():
    with open(os.path.join(BUILD, "CMakeCache.txt"), encoding="utf-8") as file:
        return "CMAKE_BUILD_TYPE:STRING=RelWithDebInfo" in file.read()


# What a pair may take, the engine's own buffers included. (A sanitizer keeps what was freed.)
MEMORY = 8 << 20 if optimised() else 64 << 20


class Upstream:
    """A listening socket behind a proxy."""

    def __init__(self, *args, backlog=128, receive_buffer=None, host="127.0.0.1"):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(LIMIT)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(backlog)
        self.port = self.sock.getsockname()[1]
        self.proxy = Server("proxy", "--to", f"{host}:{self.port}", *args)

    def accept(self):
        sock, _ = self.sock.accept()
        sock.settimeout(LIMIT)
        return Client(sock)

    def pair(self, **options):
        client = self.proxy.client(**options)
        return client, self.accept()

    def __enter__(self):
        self.proxy.__enter__()
        return self

    def __exit__(self, *error):
        self.sock.close()
        self.proxy.__exit__(*error)


def memory(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"^VmRSS:\s+(\d+) kB", file.read(), re.M)[1]) * 1024


def was_reset(client):
    """Reads up to a reset; a plain end is a failure."""
    try:
        while client.sock.recv(65536):
            pass
    except ConnectionResetError:
        return True
    return False


def is_turned_away(proxy):
    """Whether a new client is reset: while it connects, or later."""
    try:
        with proxy.client() as client:
            return was_reset(client)
    except ConnectionResetError:
        return True


def test_both_ways():
    with Upstream() as up:
        client, server = up.pair()
        client.send("hello")
        assert server.exactly(5) == b"hello"
        server.send("hello yourself")
        assert client.exactly(14) == b"hello yourself"
        client.close()
        assert server.rest() == b""
        server.close()
        up.proxy.gone()


def test_by_name_and_over_unix_sockets():
    with Upstream(host="localhost") as up:
        client, server = up.pair()
        client.send("x")
        assert server.exactly(1) == b"x"
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.join(folder, "up"))
        listener.listen()
        listener.settimeout(LIMIT)
        with Server("proxy", "--to", f"unix:{folder}/up", listen=f"unix:{folder}/down") as proxy:
            with proxy.client() as client:
                client.send("over paths")
                with Client(listener.accept()[0]) as server:
                    assert server.exactly(10) == b"over paths"


def test_half_closes_are_passed_on():
    with Upstream() as up:
        client, server = up.pair()
        client.send("question")
        client.finish()
        assert server.rest() == b"question"
        server.send("an answer after the end")
        server.close()
        assert client.rest() == b"an answer after the end"
        client.close()
        # The other way: the server says all it has to say first.
        client, server = up.pair()
        server.send("greeting")
        server.finish()
        assert client.rest() == b"greeting"
        client.send("bye")
        client.close()
        assert server.rest() == b"bye"
        server.close()
        up.proxy.gone()


def test_an_end_before_the_server_is_there():
    with Upstream() as up:
        client = up.proxy.client()
        client.send("all of it")
        client.finish()
        server = up.accept()
        assert server.rest() == b"all of it"
        server.close()
        assert client.rest() == b""
        client.close()
        up.proxy.gone()


def test_resets_are_passed_on():
    with Upstream() as up:
        client, server = up.pair()
        client.send("x")
        server.exactly(1)
        client.reset()
        assert was_reset(server)
        client, server = up.pair()
        server.send("x")
        client.exactly(1)
        server.reset()
        assert was_reset(client)
        up.proxy.gone()


def test_slow_readers_are_held_at_bounded_memory():
    """Nobody reads on the one side: the other side is stopped, memory stays, and then every byte comes."""
    total = 24 << 20
    for to_server in (True, False):
        with Upstream("--buffer", "64", receive_buffer=65536) as up:
            client, server = up.pair(receive_buffer=65536)
            writer, reader = (client, server) if to_server else (server, client)
            data = random.Random(7).randbytes(1 << 20)
            before = memory(up.proxy.pid())
            writer.sock.setblocking(False)
            sent = stalls = 0
            # Full for good: nothing can be written although the proxy sleeps.
            while stalls < 3:
                try:
                    sent += writer.sock.send(data[sent % len(data):])
                    stalls = 0
                except BlockingIOError:
                    until(up.proxy.sleeps, "the proxy sleeps")
                    stalls += 1
            assert sent < 16 << 20, sent
            assert memory(up.proxy.pid()) - before < MEMORY, memory(up.proxy.pid()) - before
            # The other direction does not wait for that one.
            reader.send("still here")
            writer.sock.settimeout(LIMIT)
            assert writer.exactly(10) == b"still here"

            def write_on(at):
                while at < total:
                    at += writer.sock.send(data[at % len(data):][:total - at])
                writer.finish()

            thread = threading.Thread(target=write_on, args=(sent,))
            thread.start()
            got = 0
            while chunk := reader.sock.recv(1 << 18):
                at = got % len(data)
                assert chunk == (data + data)[at:at + len(chunk)]
                got += len(chunk)
            thread.join()
            assert got == total
            assert memory(up.proxy.pid()) - before < MEMORY, memory(up.proxy.pid()) - before


def test_more_than_the_limit_wait():
    with Upstream("--pairs", "2") as up:
        first, second = up.pair(), up.pair()
        third = up.proxy.client()
        third.send("patience")
        up.sock.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            up.sock.accept()
            raise AssertionError("a third pair")
        up.sock.settimeout(LIMIT)
        first[0].close()
        first[1].close()
        assert up.accept().exactly(8) == b"patience"
        second[0].close()


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        to = f"127.0.0.1:{taken.getsockname()[1]}"
        proxy = Server("proxy", "--to", to)
        for _ in range(3):
            assert is_turned_away(proxy)
        proxy.gone()
        # Told once for each spell.
        assert proxy.stop() == f"proxy: cannot connect to {to}: ECONNREFUSED ({to}: ECONNREFUSED)\n"
    proxy = Server("proxy", "--to", "a..b:80")
    assert is_turned_away(proxy)
    assert "cannot connect to a..b:80" in proxy.stop()


def test_deadlines():
    with contextlib.ExitStack() as stack:
        # A backlog that is full answers no SYN.
        up = stack.enter_context(Upstream("--connect", "1", backlog=0))
        for _ in range(4):
            crowd = stack.enter_context(socket.socket())
            crowd.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                crowd.connect(("127.0.0.1", up.port))
            assert select.select([up.sock], [], [], LIMIT)[0]  # the first one fills it
        assert is_turned_away(up.proxy)
        assert "ETIMEDOUT" in up.proxy.errors()
    with Upstream("--idle", "1") as up:
        client, server = up.pair()
        client.send("x")
        server.exactly(1)
        was_reset(client)  # or closed: both sides have been idle for as long
        was_reset(server)
        up.proxy.gone()


def test_bad_options():
    long = "x" * 260
    for option, value, words in [
            ("--to", "nowhere", "HOST:PORT"), ("--to", ":80", "HOST:PORT"), ("--to", "a b:80", "HOST:PORT"),
            ("--to", "::1:80", "HOST:PORT"), ("--to", "[::1:80", "HOST:PORT"), ("--to", "host:", "the port"),
            ("--to", "host:0", "the port"), ("--to", "host:65536", "the port"), ("--to", "host:8o", "the port"),
            ("--to", f"{long}:80", "too long"), ("--to", "unix:/" + long, "too long"), ("--to", "unix:", "not a path"),
            ("--pairs", "0", "1 to"), ("--pairs", "1000000", "ulimit -n"), ("--idle", "x", "0 to"),
            ("--connect", "0", "1 to"), ("--buffer", "1", "4 to"), ("--memory", "0", "1 to")]:
        refused = run("proxy", option, value, check=2)
        assert option in refused.stderr and f'"{value}"' in refused.stderr and words in refused.stderr, refused


def test_many_pairs():
    """8,000 pairs at once, where the limits and the time allow it; each passes something on, both ways."""
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    pairs = 8000 if optimised() and os.environ.get("IOR_ENGINE") == "epoll" else 200
    if hard != resource.RLIM_INFINITY:
        pairs = min(pairs, (hard - 100) // 2)
    with Upstream("--pairs", str(pairs), backlog=1024) as up:
        up.sock.setblocking(False)
        clients, servers, ready = [], [], selectors.DefaultSelector()
        ready.register(up.sock, selectors.EVENT_READ)
        address = ("127.0.0.1", up.proxy.port())

        def take():
            with contextlib.suppress(BlockingIOError):
                while True:
                    servers.append(up.sock.accept()[0])

        while len(servers) < pairs:
            # Never more on the way than the backlogs hold.
            if len(clients) < pairs and len(clients) - len(servers) < 256:
                client = socket.create_connection(address, LIMIT)
                client.sendall(struct.pack("<I", len(clients)))
                clients.append(client)
            else:
                assert ready.select(LIMIT), len(servers)
            take()
        assert up.proxy.fds() >= 2 * pairs
        for server in servers:
            server.settimeout(LIMIT)
            number = server.recv(4, socket.MSG_WAITALL)
            server.sendall(number[::-1])
        for number, client in enumerate(clients):
            assert client.recv(4, socket.MSG_WAITALL) == struct.pack(">I", number)
        for sock in clients + servers:
            sock.close()
        up.proxy.gone()


if __name__ == "__main__":
    main(globals())
