# SPDX-License-Identifier: Apache-2.0
"""
What the tests of the examples share: programs under test, clients, and the running of test functions.

Nothing here waits for a time to pass: reads block until bytes come (or LIMIT is over, which is a failure), and
until() asks again and again.
"""

import concurrent.futures
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

LIMIT = 60.0
BUILD = os.environ.get("IOR_BUILD_DIR") or sys.exit("IOR_BUILD_DIR is not set")
SOURCE = os.environ.get("IOR_SOURCE_DIR") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def need(*tools):
    """Skips the whole file where a tool is not there."""
    for tool in tools:
        if not shutil.which(tool):
            print(f"skipped: {tool} is not installed")
            sys.exit(77)


def path_of(name):
    return os.path.join(BUILD, "examples", name)


def until(condition, what):
    """Waits until condition() is true."""
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"never happened: {what}")
        time.sleep(0.01)


def run(name, *args, env=None, check=None):
    """Runs a program to its end."""
    result = subprocess.run(
        [path_of(name), *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False,
        env={**os.environ, **(env or {})})
    if check is not None:
        assert result.returncode == check, (name, args, result)
    return result


@contextlib.contextmanager
def spawn(*args, **options):
    """A process with pipes, in a group of its own, of which nothing is left in the end."""
    with subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
                          **{"stderr": subprocess.PIPE, **options}) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def sleeps(pid):
    """Whether each thread of a process waits: those that end between two looks do not matter."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{pid}/task/{task}/stat", encoding="ascii") as file:
                if file.read().rsplit(")", 1)[1].split()[0] != "S":
                    return False
    return True


class Server:
    """An example that listens. Use it with `with`: at the end it gets SIGTERM and has to exit with 0."""

    def __init__(self, name, *args, listen="127.0.0.1:0", prefix=(), env=None):
        self.name = name
        self.prefix = prefix
        self.err = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(
            [*prefix, path_of(name), "--listen", listen, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=self.err, text=True, env={**os.environ, **(env or {})}, start_new_session=True)
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            self.process.wait(LIMIT)
            raise AssertionError(f"{name} said {line!r} and {self.errors()!r}")
        self.address = line[len("listening on "):].rstrip("\n")
        # It says so before its loop runs, and an engine may exchange fds as that begins.
        until(self.sleeps, f"{name} waits for its first connection")
        self.fds_at_start = self.fds()

    def errors(self):
        # The program writes where this file is at: it may not be moved.
        return os.pread(self.err.fileno(), 1 << 24, 0).decode(errors="replace")

    def pid(self):
        """The program itself, also below strace."""
        if not self.prefix:
            return self.process.pid
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            return int(file.read().split()[0])

    def sleeps(self):
        return sleeps(self.pid())

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid()}/fd"))

    def gone(self):
        """Waits until the server holds no connection any more."""
        until(lambda: self.fds() == self.fds_at_start, f"{self.name} has {self.fds()} fds")

    def port(self):
        return int(self.address.rsplit(":", 1)[1])

    def client(self, receive_buffer=None):
        if self.address.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(LIMIT)
            sock.connect(self.address[len("unix:"):])
        else:
            sock = socket.socket(socket.AF_INET6 if self.address.startswith("[") else socket.AF_INET)
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(LIMIT)
            sock.connect((self.address.rsplit(":", 1)[0].strip("[]"), self.port()))
        return Client(sock)

    def stop(self, number=signal.SIGTERM, status=0):
        os.kill(self.pid(), number)
        self.process.wait(LIMIT)
        rest = self.process.stdout.read()
        self.process.stdout.close()
        assert self.process.returncode == status, (self.name, self.process.returncode, self.errors())
        assert rest == "", rest
        errors = self.errors()
        self.err.close()
        return errors

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            if kind is None:
                self.stop()
            else:
                print(f"--- stderr of {self.name}:\n{self.errors()}", file=sys.stderr)
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(LIMIT)
        elif kind is None:
            assert self.process.returncode == 0, (self.name, self.process.returncode, self.errors())


class Client:
    """A blocking client with a buffer."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = bytearray()

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def _more(self):
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def exactly(self, count):
        while len(self.buffer) < count:
            assert self._more(), f"the end came after {len(self.buffer)} of {count} bytes: {self.buffer[:200]!r}"
        return self._take(count)

    def _take(self, count):
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def line(self):
        """The next line, without its end."""
        while (end := self.buffer.find(b"\n")) < 0:
            assert self._more(), f"the end came in the line {self.buffer[:200]!r}"
        return self._take(end + 1)[:-1].rstrip(b"\r").decode(errors="replace")

    def expect(self, *lines):
        for wanted in lines:
            got = self.line()
            assert got == wanted, f"got {got!r} in place of {wanted!r}"

    def skip_to(self, wanted):
        """Reads lines until this one; answers those before it."""
        lines = []
        while True:
            line = self.line()
            if line == wanted:
                return lines
            lines.append(line)

    def rest(self):
        """Everything up to the end of the stream."""
        while self._more():
            pass
        return self._take(len(self.buffer))

    def finish(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.sock.close()

    def reset(self):
        """Ends the connection as a killed client on a broken line would: with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def together(function, *lists):
    """As map(), all at once: for what mostly waits."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=32) as pool:
        return list(pool.map(function, *lists))


def main(names, at_once=False):
    """
    Runs all functions that begin with test_, one after the other or all at once; one that fails does not keep the
    others from running.
    """
    sys.stdout.reconfigure(line_buffering=True)

    def passes(name):
        start = time.monotonic()
        try:
            names[name]()
        except Exception:  # pylint: disable=broad-except
            sys.stdout.write(f"{traceback.format_exc()}FAILED  {name}\n")
            return False
        sys.stdout.write(f"ok      {name} ({time.monotonic() - start:.2f} s)\n")
        return True

    tests = [name for name in names if name.startswith("test_")]
    sys.exit(0 if all(together(passes, tests) if at_once else [passes(name) for name in tests]) else 1)
