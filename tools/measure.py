# SPDX-License-Identifier: Apache-2.0
"""What the count gates (tests/gates) and the benchmarks (tools/bench) share: servers, the client, counters.

Counts are differences of a long and a short run of the same server, so that start-up, connects and the end cancel out.
Both run on one core, the server with the lowest priority (SCHED_IDLE): it runs only while the client waits, so that it
finds all messages of a round at once, in each round, on every machine.
"""
import contextlib
import os
import re
import resource
import select
import signal
import subprocess
import tempfile
import time

SOURCE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD_DIR = os.environ.get("IOR_BUILD_DIR") or os.path.join(SOURCE_DIR, "build", "release")
CLIENT = os.path.join(BUILD_DIR, "bench", "client")
BARE = os.path.join(BUILD_DIR, "bench", "bare_epoll")
WAIT_S = 120


def example(name):
    return os.path.join(BUILD_DIR, "examples", name)


def echo_command(engine):
    return [example("echo"), "--listen", "127.0.0.1:0", "--engine", engine]


def engines():
    """The engines that work here, by name: those that echo starts on."""
    found = []
    for engine in ("epoll", "uring", "poll"):
        try:
            Server(echo_command(engine)).stop()
        except RuntimeError:
            continue
        found.append(engine)
    return found


def raise_fd_limit():
    """Raises the soft limit of open files for this process and those it starts; answers it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1048576 if hard == resource.RLIM_INFINITY else min(hard, 1048576)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def cores():
    return sorted(os.sched_getaffinity(0))


def place(core, idle):
    """Makes what is to be called in a child before exec: where it runs, and whether only when nobody else does."""
    def run():
        if core is not None:
            os.sched_setaffinity(0, {core})
        if idle:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    return run


def sleeps(pid):
    """Whether each thread of a process waits in a system call: one that is stopped by strace does not."""
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/stat", encoding="ascii") as file:
                if file.read().rsplit(")", 1)[1].split()[0] != "S":
                    return False
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended meanwhile
    return True


class Server:
    """A server process, up once constructed: it has printed "listening on ADDRESS". End it with stop, or `with`."""

    def __init__(self, command, prefix=(), core=None, idle=False):
        self.traced = bool(prefix) and os.path.basename(prefix[0]) == "strace"
        self.process = subprocess.Popen([*prefix, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        stdin=subprocess.DEVNULL, preexec_fn=place(core, idle))
        try:
            self.address = self._address()
            self.pid = self._child() if self.traced else self.process.pid
        except BaseException:
            self.process.kill()
            raise

    def _address(self):
        line = b""
        until = time.monotonic() + WAIT_S
        while b"\n" not in line:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, until - time.monotonic()))
            piece = os.read(self.process.stdout.fileno(), 4096) if ready else b""
            if not piece:
                self.process.kill()
                errors = self.process.stderr.read().decode(errors="replace")
                raise RuntimeError(f"{self.process.args} does not listen: {errors}")
            line += piece
        found = re.search(rb"listening on (\S+)", line)
        if not found:
            raise RuntimeError(f"{self.process.args} says: {line}")
        return found.group(1).decode()

    def _child(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            return int(file.read().split()[0])

    def settle(self):
        """Waits until it waits for something to happen, and strace, where it traces it, has written all down."""
        until = time.monotonic() + WAIT_S
        while not (sleeps(self.pid) and sleeps(self.process.pid)):
            if time.monotonic() > until:
                raise RuntimeError(f"{self.process.args} does not come to rest")
            time.sleep(0.01)

    def stop(self):
        """Asks it to end, and waits until it has."""
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
            try:
                self.process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                os.kill(self.pid, signal.SIGKILL)
                self.process.wait()
                raise
        self.process.stdout.close()
        self.process.stderr.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def user_bytes(self):
        """Memory that is the process's own: not files, not shared."""
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as file:
            return 1024 * int(re.search(r"^Anonymous:\s+(\d+) kB", file.read(), re.M).group(1))


def cpu_ns(pid):
    """CPU time that a process's main thread has used."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0])


def client_command(server, options):
    command = [CLIENT, "-a", server.address]
    for letter, value in options.items():
        command += [f"-{letter}", str(value)]
    return command


def figures(line):
    return {name: float(value) for name, value in (word.split("=") for word in line.split())}


def client(server, core=None, **options):
    """Runs the client to its end; options are its letters. Answers its figures."""
    command = client_command(server, options)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                          timeout=10 * WAIT_S, preexec_fn=place(core, False))
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stderr}")
    return figures(done.stdout)


class Client:
    """A client that keeps its connections, and measures as often as it is asked to."""

    def __init__(self, server, core=None, **options):
        self.process = subprocess.Popen([*client_command(server, options), "-K"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, preexec_fn=place(core, False))

    def measure(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} has ended: see above")
        return figures(line)

    def stop(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate(timeout=WAIT_S)


class Held:
    """Connections that are open, were served once (but fresh ones), and stay idle until `with` ends."""

    def __init__(self, server, number, core=None, fresh=False):
        self.process = subprocess.Popen([CLIENT, "-a", server.address, "-c", str(number), "-H", *["-F"][:fresh]],
                                        text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        preexec_fn=place(core, False))
        if not self.process.stdout.readline().startswith("holding"):
            self.process.kill()
            raise RuntimeError(f"cannot hold {number} connections")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate()


def dump_and_kill(server):
    """
    Makes callgrind write what it has counted so far, to its file with ".1" at the end. Valgrind 3.19 blocks signals in
    io_uring_enter and looks for them once in a while only: a server that waits in a ring does not hear SIGTERM.
    """
    subprocess.run(["vgdb", f"--pid={server.pid}", "dump"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   check=True, timeout=WAIT_S)
    server.process.kill()
    server.process.wait()


def instructions(command, rounds, **options):
    """User instructions of a whole run, by callgrind."""
    core = cores()[0]
    in_ring = any("uring" in word for word in command)
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "callgrind")
        with Server(command, ("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"), core, True) as server:
            client(server, core, r=rounds, **options)
            if in_ring:
                dump_and_kill(server)
                out += ".1"
        with open(out, encoding="utf-8") as file:
            return int(re.search(r"^(?:totals|summary): (\d+)", file.read(), re.M).group(1))


def system_calls(command, rounds, **options):
    """System calls of a whole run by name, by strace."""
    core = cores()[0]
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "strace")
        with Server(command, ("strace", "-f", "-c", "-o", out), core, True) as server:
            client(server, core, r=rounds, **options)
        counts = {}
        with open(out, encoding="utf-8") as file:
            for line in file:
                words = line.split()
                if len(words) >= 5 and words[3].isdigit() and words[-1] != "total":
                    counts[words[-1]] = int(words[3])
        return counts


def slope(count, command, short, long, **options):
    """What a message costs: count(long run) - count(short run), for each message more."""
    more = (long - short) * options.get("c", 1) * options.get("d", 1)
    return (count(command, long, **options) - count(command, short, **options)) / more


def instructions_per_message(command, short, long, **options):
    return slope(instructions, command, short, long, **options)


def system_calls_per_message(command, short, long, **options):
    def total(*args, **kwargs):
        return sum(system_calls(*args, **kwargs).values())
    return slope(total, command, short, long, **options)
