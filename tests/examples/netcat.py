# SPDX-License-Identifier: Apache-2.0
"""The examples, as a person with netcat uses them."""

import os
import subprocess
import tempfile

from _lib import LIMIT, Server, main, need

need("nc")
if "-N" not in subprocess.run(["nc", "-h"], capture_output=True, text=True, check=False).stderr:
    # The other netcats end differently at the end of their input.
    need("nc.openbsd")
NC = "nc.openbsd" if os.path.exists("/bin/nc.openbsd") else "nc"


def netcat(server, text):
    """Sends a text and its end, and answers everything that comes back."""
    where = ["-U", server.address[len("unix:"):]] if server.address.startswith("unix:") else [
        "127.0.0.1", str(server.port())]
    result = subprocess.run([NC, "-N", *where], input=text, capture_output=True, text=True, timeout=LIMIT, check=True)
    return result.stdout


class Person:
    """Somebody at a terminal: types lines and reads lines."""

    def __init__(self, server):
        self.nc = subprocess.Popen([NC, "127.0.0.1", str(server.port())], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True, bufsize=1)

    def type(self, line):
        self.nc.stdin.write(line + "\n")
        self.nc.stdin.flush()

    def reads(self, *lines):
        for wanted in lines:
            got = self.nc.stdout.readline().rstrip("\n")
            assert got == wanted, f"got {got!r} in place of {wanted!r}"

    def leave(self):
        self.nc.kill()
        self.nc.wait()
        self.nc.stdin.close()
        self.nc.stdout.close()


def test_echo():
    with Server("echo") as server:
        assert netcat(server, "hello\n") == "hello\n"
        assert netcat(server, "") == ""
        text = "".join(f"line {i}\n" for i in range(100_000))
        assert netcat(server, text) == text
        server.gone()


def test_echo_on_a_unix_socket():
    with tempfile.TemporaryDirectory() as folder:
        with Server("echo", listen=f"unix:{folder}/socket") as server:
            assert netcat(server, "hello\n") == "hello\n"


def test_chat():
    with Server("chat") as server:
        ann = Person(server)
        ann.reads("* welcome, guest1; /help tells the commands", "* guest1 joined lobby")
        ann.type("/nick ann")
        ann.reads("* guest1 is now ann")
        bob = Person(server)
        bob.reads("* welcome, guest2; /help tells the commands", "* guest2 joined lobby")
        ann.reads("* guest2 joined lobby")
        bob.type("/nick bob")
        bob.reads("* guest2 is now bob")
        ann.reads("* guest2 is now bob")
        ann.type("hello bob")
        bob.reads("ann: hello bob")
        bob.type("/join tea")
        bob.reads("* bob joined tea")
        ann.reads("* bob left lobby")
        ann.type("nobody hears this")
        ann.type("/join tea")
        ann.reads("* ann joined tea")
        bob.reads("* ann joined tea")
        bob.type("/quit")
        bob.reads("* bye")
        ann.reads("* bob left tea")
        ann.leave()
        bob.leave()
        server.gone()


def test_kv():
    with Server("kv") as server:
        assert netcat(server, "SET k v\nGET k\nPING\n") == "+OK\n$1\nv\n+PONG\n"
        assert netcat(server, "*1\r\n+\r\n") == "-ERR Protocol error: expected '$', got '+'\n"


def test_services():
    with Server("services") as server:
        assert netcat(server, "put k v\nget k\ndel k\nget k\n") == "ok\nvalue v\nok\nnone\n"
        server.gone()


if __name__ == "__main__":
    main(globals())
