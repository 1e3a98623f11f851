# SPDX-License-Identifier: Apache-2.0
"""The serial example: lines between a device, played by socat's pseudo-terminals, and TCP clients."""

import contextlib
import os
import select
import socket
import subprocess
import tempfile
import termios
import threading

from _lib import LIMIT, Server, main, need, run, until

need("socat")


@contextlib.contextmanager
def line(folder):
    """Two pseudo-terminals that are the ends of one line: FOLDER/device and FOLDER/far."""
    with subprocess.Popen(["socat", f"pty,raw,echo=0,link={folder}/device", f"pty,raw,echo=0,link={folder}/far"],
                          stdin=subprocess.DEVNULL) as process:
        try:
            until(lambda: os.path.exists(f"{folder}/device") and os.path.exists(f"{folder}/far"), "socat's links")
            yield process
        finally:
            process.kill()
            process.wait()
            for name in ["device", "far"]:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{folder}/{name}")


class Far:
    """The far end of the line: what a device does."""

    def __init__(self, folder):
        self.fd = os.open(f"{folder}/far", os.O_RDWR | os.O_NOCTTY)
        self.buffer = b""

    def send(self, data):
        while data:
            data = data[os.write(self.fd, data):]

    def line(self):
        while b"\n" not in self.buffer:
            assert select.select([self.fd], [], [], LIMIT)[0], f"no line from the bridge, only {self.buffer!r}"
            self.buffer += os.read(self.fd, 65536)
        text, self.buffer = self.buffer.split(b"\n", 1)
        return text

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)


def said(server, text, times=1):
    until(lambda: server.errors().count(text) >= times, f"{text!r} on stderr: {server.errors()!r}")


@contextlib.contextmanager
def bridge(folder, *args):
    with Server("serial", "--device", f"{folder}/device", "--retry-ms", "200", *args) as server:
        yield server


@contextlib.contextmanager
def all_of_it(*args):
    with tempfile.TemporaryDirectory() as folder, line(folder), bridge(folder, *args) as server, Far(folder) as far:
        said(server, "is open")
        yield server, far


def test_lines_both_ways():
    with all_of_it("--speed", "115200") as (server, far), server.client() as one, server.client() as other:
        one.send("to the device\n")
        assert far.line() == b"to the device"
        other.send("me too\n")
        assert far.line() == b"me too"
        far.send(b"to all\nof you\n")
        for client in [one, other]:
            client.expect("to all", "of you")


def test_bytes_that_mean_something_to_terminals():
    every = bytes(byte for byte in range(256) if byte != 10)
    with all_of_it() as (server, far), server.client() as client:
        client.send(every + b"\n")
        assert far.line() == every
        far.send(every + b"\n")
        assert client.exactly(256) == every + b"\n"


def test_lines_never_mix():
    with all_of_it() as (server, far):
        clients = [server.client() for _ in range(8)]
        per_client = 200

        def talk(number):
            for i in range(per_client):
                for part in [f"{number} ", f"{i} ", "x" * (i % 50), "\n"]:
                    clients[number].send(part)

        threads = [threading.Thread(target=talk, args=(number,)) for number in range(len(clients))]
        for thread in threads:
            thread.start()
        came = [0] * len(clients)
        for _ in range(len(clients) * per_client):
            number, i, rest = far.line().decode().split(" ", 2)
            assert came[int(number)] == int(i) and rest == "x" * (int(i) % 50)
            came[int(number)] += 1
        for thread in threads:
            thread.join()
        for client in clients:
            client.close()


def test_half_a_line_waits():
    with all_of_it() as (server, far), server.client() as one, server.client() as other:
        one.send("half")
        other.send("whole\n")
        assert far.line() == b"whole"
        one.send(" and half\n")
        assert far.line() == b"half and half"
        far.send(b"no end")
        far.send(b" yet\n")
        one.expect("no end yet")


def test_the_device_hangs_up_and_comes_back():
    with tempfile.TemporaryDirectory() as folder:
        with bridge(folder) as server, server.client() as client:
            said(server, "cannot open")
            client.send("kept until it is there\n")
            for turn in range(1, 4):
                with line(folder), Far(folder) as far:
                    said(server, "is open", turn)
                    if turn == 1:
                        assert far.line() == b"kept until it is there"
                    client.send(f"to number {turn}\n")
                    assert far.line() == b"to number %d" % turn
                    far.send(b"from number %d\n" % turn)
                    client.expect(f"from number {turn}")
                said(server, "hung up", turn)
            client.send("nobody is there\n")


def test_the_pause_stays_one_however_long_the_device_is_away():
    """Doubling it must not wrap round to no pause at all: the program has to sleep before each attempt."""
    def sleeps_so_far(server):
        with open(f"/proc/{server.pid()}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))

    with tempfile.TemporaryDirectory() as folder:
        with Server("serial", "--device", f"{folder}/device", "--retry-ms", "1") as server:
            until(lambda: sleeps_so_far(server) > 200, "it sleeps between its attempts")


def test_a_slow_device_holds_the_clients_up():
    with all_of_it() as (server, far), server.client() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        count = 80_000
        text = b"a line of some length that goes to a slow device\n"
        sender = threading.Thread(target=lambda: client.send(text * count))
        sender.start()
        until(server.sleeps, "it waits for the device")
        assert sender.is_alive()  # it is more than the queues on the way hold
        for _ in range(count):
            assert far.line() == text[:-1]
        sender.join()


def test_a_client_that_never_reads_is_closed():
    with all_of_it() as (server, far), server.client(receive_buffer=4096) as slow, server.client() as other:
        text = b"x" * 99 + b"\n"
        sent = 0
        while "too slowly" not in server.errors():
            far.send(text * 40)
            for _ in range(40):
                other.expect(text[:-1].decode())
            sent += 1
            assert sent < 100_000
        far.send(b"and on\n")
        other.expect("and on")
        assert slow is not None


def test_a_line_without_an_end_is_no_line():
    with all_of_it() as (server, far), server.client() as bad, server.client() as good:
        with contextlib.suppress(ConnectionError):
            bad.send(b"x" * 1_000_000)
        said(server, "too long")
        good.send("short\n")
        assert far.line() == b"short"


def test_the_terminal_is_put_back():
    with tempfile.TemporaryDirectory() as folder, line(folder):
        fd = os.open(f"{folder}/device", os.O_RDWR | os.O_NOCTTY)
        settings = termios.tcgetattr(fd)
        settings[3] |= termios.ECHO | termios.ICANON
        settings[4] = settings[5] = termios.B300
        termios.tcsetattr(fd, termios.TCSANOW, settings)
        before = termios.tcgetattr(fd)
        with bridge(folder, "--speed", "19200") as server:
            said(server, "is open")
            now = termios.tcgetattr(fd)
            assert now[4] == termios.B19200 and not now[3] & (termios.ECHO | termios.ICANON)
        assert termios.tcgetattr(fd) == before
        os.close(fd)


def test_what_the_device_cannot_is_said():
    with tempfile.TemporaryDirectory() as folder, line(folder):
        with bridge(folder, "--parity", "even") as server:
            said(server, "EINVAL")
    with tempfile.TemporaryDirectory() as folder:
        os.symlink("/dev/null", f"{folder}/device")
        with bridge(folder) as server:
            said(server, "ENOTTY")


def test_bad_options():
    for args in [["--parity", "odd one"], ["--flow", "none at all"], ["--data-bits", "9"], ["--speed", "fast"]]:
        result = run("serial", "--device", "/dev/null", *args, check=2)
        assert args[0] in result.stderr and f'"{args[1]}"' in result.stderr, result
    assert "--device" in run("serial", check=2).stderr


if __name__ == "__main__":
    main(globals())
