# SPDX-License-Identifier: Apache-2.0
"""The load example: it finds nothing wrong with a good server, and everything that is wrong with bad ones."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import threading

from _lib import LIMIT, Server, main, path_of, run, spawn


def load(server_address, *args, check=0):
    result = run("load", "--connect", server_address, "--json", *args, check=check)
    return json.loads(result.stdout), result.stderr


def endless(server):
    return spawn(path_of("load"), "--connect", server.address, "--seconds", "600", "--progress", "--json")


def test_a_good_server():
    def is_good(args):
        report, errors = load(server.address, "--seconds", "1", *args)
        assert errors == ""
        assert report["connections"] == int(args[1])
        assert report["messages"] > 0 and report["good"] is True
        assert report["lost"] == report["lost_bytes"] == report["wrong"] == report["errors"] == 0
        size = int(args[args.index("--size") + 1]) if "--size" in args else 64
        assert report["bytes_verified"] == report["messages"] * size
        assert 0 < report["p50_us"] <= report["p99_us"] <= report["max_us"]

    with Server("echo") as server:
        for args in [("--connections", "1"), ("--connections", "50", "--depth", "16"),
                     ("--connections", "10", "--size", "100000"),
                     ("--connections", "20", "--size", "7", "--depth", "100"),
                     ("--connections", "100", "--active", "3"), ("--connections", "20", "--pause", "10")]:
            is_good(args)
        server.gone()


def test_a_thousand_connections():
    with Server("echo") as server:
        report, _ = load(server.address, "--connections", "1000", "--seconds", "1")
        assert report["connections"] == 1000 and report["messages"] >= 1000


def test_idle_connections_only():
    with Server("echo") as server:
        report, _ = load(server.address, "--connections", "50", "--active", "0", "--seconds", "0")
        assert report["connections"] == 50 and report["messages"] == 0


def test_unix_socket():
    with tempfile.TemporaryDirectory() as folder:
        with Server("echo", listen=f"unix:{folder}/socket") as server:
            # More than the backlog of the listener, which says so at once.
            report, _ = load(server.address, "--connections", "800", "--seconds", "1")
            assert report["connections"] == 800


def test_the_plain_report_and_progress():
    with Server("echo") as server:
        result = run("load", "--connect", server.address, "--connections", "5", "--seconds", "2", "--progress", check=0)
        for word in ["connections     5\n", "lost            0 (0 bytes)\n", "latency         p50 "]:
            assert word in result.stdout, result
        assert "5 connections" in result.stderr and "messages/s" in result.stderr


def test_a_signal_ends_it_early_and_in_order():
    with Server("echo") as server:
        with endless(server) as process:
            assert "connections" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=LIMIT)
            assert process.returncode == 0
        report = json.loads(out)
        assert report["good"] is True and report["seconds"] < 500


class BadServer(threading.Thread):
    """An echo server for one connection after the other that does something wrong to the bytes."""

    def __init__(self, spoil):
        super().__init__(daemon=True)
        self.spoil = spoil
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]

    def run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        got = 0
        try:
            while True:
                data = sock.recv(65536)
                if not data:
                    break
                sock.sendall(self.spoil(got, data))
                got += len(data)
        except OSError:
            pass
        sock.close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join()


def at(place, change):
    """Changes the bytes from a place in the stream on, once it is reached."""
    def spoil(got, data):
        if not got <= place < got + len(data):
            return data
        return data[:place - got] + change(data[place - got:])
    return spoil


def test_bad_servers():
    bad = {
        "one bit is changed": lambda rest: bytes([rest[0] ^ 1]) + rest[1:],
        "a byte is doubled": lambda rest: rest[:1] + rest,
        "two bytes are exchanged": lambda rest: rest[1:2] + rest[:1] + rest[2:],
    }
    for name, change in bad.items():
        with BadServer(at(100_000, change)) as server:
            report, errors = load(server.address, "--connections", "2", "--depth", "4", "--seconds", "30", check=1)
            assert report["wrong"] >= 1 and report["good"] is False, (name, report)
            assert "not what was sent" in errors


def test_a_server_that_sends_what_nobody_asked_for():
    with BadServer(lambda got, data: data + b"more") as server:
        report, _ = load(server.address, "--connections", "1", "--seconds", "1", check=1)
        assert report["wrong"] == 1


def test_a_server_that_swallows_a_byte():
    # What follows is wrong, or, as the last byte, missing at the end: here nothing follows.
    with BadServer(at(63, lambda rest: rest[1:])) as server:
        report, _ = load(server.address, "--connections", "1", "--seconds", "0", check=1)
        assert report["lost"] == 1 and report["lost_bytes"] >= 1 and report["wrong"] == 0, report


def test_a_server_that_hangs_up():
    def hang_up(got, data):
        if got > 10_000:
            raise OSError
        return data

    with BadServer(hang_up) as server:
        report, errors = load(server.address, "--connections", "3", "--seconds", "30", check=1)
        assert report["errors"] == 3 and report["lost"] >= 1
        assert "the server ended a connection" in errors


def test_a_server_that_is_killed():
    server = Server("echo")
    with endless(server) as process:
        assert "connections" in process.stderr.readline()
        os.kill(server.pid(), signal.SIGKILL)
        server.process.wait()
        server.process.stdout.close()
        out, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 1
    assert json.loads(out)["errors"] == 100


def test_no_server():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        report, errors = load("127.0.0.1:%d" % sock.getsockname()[1], "--connections", "300", check=1)
        assert report["connections"] == 0 and report["errors"] == 300
        assert "ECONNREFUSED" in errors
    report, errors = load("unix:/no/such/socket", "--connections", "3", check=1)
    assert report["errors"] == 3 and "ENOENT" in errors


def test_a_low_limit_of_files():
    with Server("echo") as server:
        command = 'ulimit -n 200; exec "$0" --connect "$1" --connections 1000 --seconds 0 --json'
        result = subprocess.run(["sh", "-c", command, path_of("load"), server.address], capture_output=True, text=True,
                                timeout=LIMIT, check=True)
        assert "136 connections only" in result.stderr
        assert json.loads(result.stdout)["connections"] == 136


if __name__ == "__main__":
    main(globals(), at_once=True)  # each of them runs for a time that it is told
