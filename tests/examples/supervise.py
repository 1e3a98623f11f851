# SPDX-License-Identifier: Apache-2.0
"""The supervise example: starts, restarts, logs and stops programs, and leaves none behind."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile

from _lib import LIMIT, main, path_of, run, until


class Supervisor:
    """The program with its commands, and what it printed so far. All of its children have a mark in their environment."""

    def __init__(self, *args):
        self.mark = f"SUPERVISE_TEST={os.getpid()}-{id(self)}"
        name, value = self.mark.split("=")
        self.log = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(
            [path_of("supervise"), *args], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, text=True,
            env={**os.environ, name: value}, start_new_session=True)

    def text(self):
        with open(f"/proc/self/fd/{self.log.fileno()}", encoding="utf-8", errors="replace") as file:
            return file.read()

    def lines(self, name):
        return [line[len(name) + 1:] for line in self.text().splitlines() if line.startswith(name + " ")]

    def wait_for(self, pattern, count=1):
        until(lambda: len(re.findall(pattern, self.text(), re.M)) >= count or self.process.poll() is not None,
              f"{count} x {pattern} in {self.text()}")
        assert len(re.findall(pattern, self.text(), re.M)) >= count, self.text()

    def pids(self, name):
        return [int(pid) for pid in re.findall(rf"^{name} - started, pid (\d+)$", self.text(), re.M)]

    def family(self):
        """All living processes with the mark but the supervisor itself."""
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            if int(entry) == self.process.pid:
                continue
            with contextlib.suppress(OSError):
                with open(f"/proc/{entry}/environ", "rb") as file:
                    if self.mark.encode() in file.read().split(b"\0"):
                        found.append(int(entry))
        return found

    def signal(self, number):
        os.kill(self.process.pid, number)

    def ends(self, status):
        self.process.wait(LIMIT)
        assert self.process.returncode == status, (self.process.returncode, self.text())
        # Who was killed with its parent is no zombie of ours, but may take its time to go.
        until(lambda: not self.family(), f"{self.family()} are gone")
        return self.text()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.family():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.log.close()


def test_lines_are_logged_with_their_names():
    with Supervisor("--", "one=echo first; echo second; echo wrong >&2; printf 'no end'", "two=echo other") as it:
        it.ends(0)
        assert [line for line in it.lines("one") if line[0] == "|"] == ["| first", "| second", "| no end"]
        assert [line for line in it.lines("one") if line[0] == "!"] == ["! wrong"]
        assert "| other" in it.lines("two")
        assert "- exited with status 0" in it.lines("one")


def test_long_lines_and_many():
    with Supervisor("--", "long=head -c 10000 /dev/zero | tr '\\0' x; echo; seq 20000") as it:
        it.ends(0)
        lines = [line[2:] for line in it.lines("long") if line[0] == "|"]
        assert "".join(lines[:3]) == "x" * 10000 and len(lines[0]) == 4096
        assert lines[3:] == [str(number) for number in range(1, 20001)]


def test_killed_children_start_again():
    with Supervisor("--backoff-ms", "1", "--", "a=echo up; exec sleep 1000", "b=echo up; exec sleep 1000") as it:
        for times in range(1, 4):
            it.wait_for(r"^a \| up$", times)
            os.kill(it.pids("a")[-1], signal.SIGKILL)
            it.wait_for("^a - ended by signal 9$", times)
        it.wait_for(r"^a \| up$", 4)
        it.wait_for(r"^b \| up$")
        assert len(it.pids("b")) == 1, it.text()
        it.signal(signal.SIGTERM)
        it.ends(0)
        assert "supervise - all stop" in it.text()


def test_back_off_grows_and_has_an_end():
    with Supervisor("--backoff-ms", "1", "--backoff-most-ms", "4", "--failures", "6", "--", "bad=exit 7") as it:
        it.ends(1)
        assert len(it.pids("bad")) == 6
        assert re.findall(r"starts again in (\d+) ms", it.text()) == ["1", "2", "4", "4", "4"]
        assert "- failed 6 times in a row: given up" in it.lines("bad")


def test_a_healthy_one_has_not_failed_in_a_row():
    with Supervisor("--backoff-ms", "1", "--healthy-ms", "0", "--failures", "2", "--", "a=echo up; exit 1") as it:
        it.wait_for(r"^a \| up$", 5)
        it.signal(signal.SIGINT)
        it.ends(0)


def test_done_is_done_but_with_always():
    with Supervisor("--", "a=exit 0") as it:
        it.ends(0)
        assert len(it.pids("a")) == 1
    with Supervisor("--always", "--backoff-ms", "1", "--failures", "3", "--", "a=exit 0") as it:
        it.ends(1)
        assert len(it.pids("a")) == 3


def test_stopping_asks_first():
    with Supervisor("--", "polite=trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done") as it:
        it.wait_for(r"^polite \| up$")
        it.signal(signal.SIGTERM)
        it.ends(0)
        assert "| bye" in it.lines("polite") and "- exited with status 0" in it.lines("polite")


def test_the_deaf_are_killed():
    deaf = "deaf=trap '' TERM; echo up; exec sleep 1000"
    with Supervisor("--grace-ms", "20", "--", deaf) as it:
        it.wait_for(r"^deaf \| up$")
        it.signal(signal.SIGTERM)
        it.ends(0)
        assert "- ended by signal 9" in it.lines("deaf")
    # The second signal does not wait.
    with Supervisor("--grace-ms", "3600000", "--", deaf) as it:
        it.wait_for(r"^deaf \| up$")
        it.signal(signal.SIGTERM)
        it.wait_for("^supervise - all stop$")
        it.signal(signal.SIGTERM)
        it.ends(0)
        assert "- ended by signal 9" in it.lines("deaf")


def test_hang_up_starts_all_again():
    with Supervisor("--failures", "1", "--", "a=echo up; exec sleep 1000", "b=echo up; exit 1", "c=exit 0") as it:
        it.wait_for(r"^a \| up$")
        it.wait_for("^b - failed 1 times in a row: given up$")
        it.wait_for("^c - exited with status 0$")
        it.signal(signal.SIGHUP)
        for name, count in (("a", 2), ("b", 2), ("c", 2)):
            it.wait_for(rf"^{name} - started", count)
        it.wait_for("^a - ended by signal 15$")
        it.wait_for(r"^a \| up$", 2)
        it.signal(signal.SIGTERM)
        it.ends(1)  # b was given up again


def test_no_orphans():
    # Children of children: left behind by one that exits, and by one that is killed.
    with Supervisor("--backoff-ms", "1", "--", "a=sleep 1000 & sleep 1000 & echo up; wait") as it:
        it.wait_for(r"^a \| up$")
        os.kill(it.pids("a")[0], signal.SIGKILL)
        it.wait_for(r"^a \| up$", 2)
        until(lambda: len(it.family()) == 3, f"{it.family()} are three")
        it.signal(signal.SIGTERM)
        it.ends(0)


def test_a_closed_log_is_no_reason_to_stop():
    read_fd, write_fd = os.pipe()
    process = subprocess.Popen([path_of("supervise"), "--", "a=trap 'exit 0' TERM; while :; do echo x; sleep 0.01; done"],
                               stdout=write_fd, stdin=subprocess.DEVNULL)
    os.close(write_fd)
    assert os.read(read_fd, 10) != b""
    os.close(read_fd)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT) == 0


def test_bad_commands_are_named():
    for args, words in (([], ["none is given"]), (["--"], ["none is given"]), (["--", "x"], ['"x"', "NAME=COMMAND"]),
                        (["--", "=x"], ['"=x"']), (["--", "a="], ['"a="']), (["--", "a b=x"], ['"a b=x"']),
                        (["--", "a=x", "a=y"], ['"a"', "two"]), (["--failures", "0", "--", "a=x"], ["--failures"]),
                        (["--grace-ms", "soon", "--", "a=x"], ["--grace-ms", '"soon"'])):
        result = run("supervise", *args, check=2)
        assert result.stdout == "", result
        for word in words:
            assert word in result.stderr, (word, result)


if __name__ == "__main__":
    main(globals())
