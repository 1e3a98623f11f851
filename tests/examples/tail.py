# SPDX-License-Identifier: Apache-2.0
"""The tail example: every line that files get is printed once, in order, whatever way they are rotated."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading

from _lib import main, path_of, run, sleeps, spawn, until


class Tail:
    """A tail under test, whose lines are gathered by a thread."""

    def __init__(self, process, err):
        self.process = process
        self.err = err
        self.lines = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def has(self, *wanted):
        """Exactly these lines come, in this order; they are forgotten then."""
        until(lambda: len(self.lines) >= len(wanted), f"{wanted[:5]} ... after {self.lines[-3:]}, {self.errors()}")
        assert self.lines[:len(wanted)] == list(wanted), (self.lines[:10], wanted[:10])
        del self.lines[:len(wanted)]

    def errors(self):
        return os.pread(self.err.fileno(), 1 << 24, 0).decode()

    def says(self, text):
        until(lambda: text in self.errors(), f"{text!r} on stderr, which has {self.errors()!r}")

    def stop(self):
        os.kill(self.process.pid, signal.SIGTERM)
        assert self.process.wait(60) == 0, self.errors()
        self.reader.join(60)
        assert self.lines == [], self.lines


@contextlib.contextmanager
def tail(*files, lines=0):
    with tempfile.TemporaryFile(mode="w+") as err:
        with spawn(path_of("tail"), "--lines", str(lines), "--", *files, stderr=err) as process:
            until(lambda: catches(process, signal.SIGTERM), "it has opened its files, and runs")
            it = Tail(process, err)
            yield it
            it.stop()


def catches(process, number):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        caught = next(line.split()[1] for line in file if line.startswith("SigCgt:"))
    return int(caught, 16) >> (number - 1) & 1


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory() as path:
        yield path


def write(path, text, mode="a"):
    with open(path, mode, encoding="utf-8") as file:
        file.write(text)


def test_the_last_lines_and_new_ones():
    for last, size in [(0, 5), (3, 5), (5, 5), (10, 5), (3, 30000)]:
        with folder() as path:
            log = f"{path}/log"
            write(log, "".join(f"line {i}\n" for i in range(size)))
            with tail(log, lines=last) as it:
                it.has(*[f"line {i}" for i in range(max(size - last, 0), size)])
                if last:
                    write(log, "more\n")
                    it.has("more")


def test_a_line_is_printed_once_it_has_an_end():
    with folder() as path:
        log = f"{path}/log"
        write(log, "first\nhalf")
        with tail(log, lines=1) as it:
            it.has("first")
            write(log, " and half")
            write(log, "\nnext\n")
            it.has("half and half", "next")


def test_a_line_longer_than_a_piece():
    with folder() as path:
        log = f"{path}/log"
        write(log, "a\n")
        with tail(log, lines=1) as it:
            it.has("a")
            long = "x" * 200_000
            write(log, long + "\nshort\n")
            it.has(long, "short")


def test_a_file_that_comes_later():
    with folder() as path:
        log = f"{path}/log"
        with tail(log) as it:
            it.says("is not there")
            write(log, "now\n")
            it.has("now")


def test_rotated_by_renaming():
    with folder() as path:
        log = f"{path}/log"
        write(log, "old\n")
        with tail(log, lines=1) as it:
            it.has("old")
            for turn in range(5):
                # The writer goes on with the old file for a while, as one does that is told by a signal.
                with open(log, "a", encoding="utf-8") as old:
                    os.rename(log, f"{log}.{turn}")
                    old.write(f"to the old one {turn}\n")
                    old.flush()
                    it.has(f"to the old one {turn}")
                    write(log, f"to the new one {turn}\n")
                    it.has(f"to the new one {turn}")
                    old.write(f"still to the old one {turn}\n")
                    old.flush()
                    it.has(f"still to the old one {turn}")
                    old.write("its end has no end of a line")
                it.has("its end has no end of a line")
                write(log, "next\n")
                it.has("next")


def test_rotated_by_renaming_at_full_speed():
    with folder() as path:
        log = f"{path}/log"
        write(log, "begin\n")
        with tail(log, lines=1) as it:
            it.has("begin")
            wanted = []
            for turn in range(20):
                with open(log, "a", encoding="utf-8") as old:
                    for i in range(200):
                        wanted.append(f"{turn} {i}")
                        old.write(wanted[-1] + "\n")
                    old.flush()
                    os.rename(log, f"{log}.{turn}")
                # A new one at once; but rotated again only when this was seen, since a second look finds names only.
                wanted.append(f"new {turn}")
                write(log, wanted[-1] + "\n")
                until(lambda: wanted[-1] in it.lines, wanted[-1])
            assert sorted(it.lines) == sorted(wanted)
            it.lines.clear()


def test_replaced_by_another_file():
    with folder() as path:
        log = f"{path}/log"
        write(log, "old\n")
        with tail(log, lines=1) as it:
            it.has("old")
            write(f"{path}/other", "all of it\nis new\n")
            os.rename(f"{path}/other", log)
            it.has("all of it", "is new")
            os.unlink(log)
            write(log, "again\n")
            it.has("again")


def test_rotated_by_copying_and_cutting():
    with folder() as path:
        log = f"{path}/log"
        write(log, "a rather long first line\n")
        with tail(log, lines=1) as it:
            it.has("a rather long first line")
            for turn in range(5):
                shutil.copy(log, f"{log}.{turn}")
                os.truncate(log, 0)
                until(lambda: it.errors().count("was cut") == turn + 1, "each cut is seen")
                write(log, f"after cut {turn}\n")
                it.has(f"after cut {turn}")


def test_several_files_in_several_folders():
    with folder() as one, folder() as other:
        logs = [f"{one}/a", f"{one}/b", f"{other}/a", f"{other}/c"]
        for log in logs:
            write(log, "x\n")
        with tail(*logs, lines=1) as it:
            it.has(*[f"{log}: x" for log in logs])
            for log in logs:
                write(log, "y\nz\n")
                it.has(f"{log}: y", f"{log}: z")
            os.rename(logs[0], logs[0] + ".1")
            write(logs[0], "new\n")
            it.has(f"{logs[0]}: new")
            write(logs[1], "same\n")
            it.has(f"{logs[1]}: same")


def test_a_folder_that_goes_and_comes_back():
    with folder() as path:
        os.mkdir(f"{path}/logs")
        log = f"{path}/logs/log"
        write(log, "first\n")
        with tail(log, lines=1) as it:
            it.has("first")
            os.rename(f"{path}/logs", f"{path}/away")
            write(f"{path}/away/log", "moved along\n")
            it.has("moved along")
            os.mkdir(f"{path}/logs")
            write(log, "another\n")
            it.has("another")


def test_a_flood():
    with folder() as path:
        log = f"{path}/log"
        write(log, "")
        with tail(log) as it:
            count = 200_000
            with open(log, "a", encoding="utf-8") as file:
                for i in range(count):
                    file.write(f"line {i}\n")
            until(lambda: len(it.lines) == count, "all lines")
            assert it.lines == [f"line {i}" for i in range(count)]
            it.lines.clear()


def test_a_reader_that_does_not_read_holds_it_up():
    with folder() as path:
        log = f"{path}/log"
        count = 100_000
        write(log, "".join(f"line number {i}\n" for i in range(count)))
        with tempfile.TemporaryFile(mode="w+") as err:
            with spawn(path_of("tail"), "--lines", "1000000", log, stderr=err) as process:
                until(lambda: sleeps(process.pid), "it waits for the reader")
                it = Tail(process, err)
                it.has(*[f"line number {i}" for i in range(count)])
                it.stop()


def test_rotated_twice_while_nobody_reads():
    """The oldest file is kept until stdout has taken all of it; then the newest is looked for."""
    with folder() as path, tempfile.TemporaryFile(mode="w+") as err:
        log, mark = f"{path}/log", f"{path}/mark"
        write(log, "")
        write(mark, "")
        with spawn(path_of("tail"), "--lines", "0", log, mark, stderr=err) as process:
            def says(text):
                until(lambda: text in os.pread(err.fileno(), 1 << 16, 0).decode(), text)

            until(lambda: catches(process, signal.SIGTERM), "it runs")
            wanted = [f"{log}: line {i} of the first" for i in range(100_000)]
            write(log, "".join(f"line {i} of the first\n" for i in range(100_000)))
            until(lambda: sleeps(process.pid), "it waits for its reader")
            for name in ["second", "third"]:
                os.rename(log, f"{path}/before.{name}")
                write(log, f"the {name}\n")
                wanted.append(f"{log}: the {name}")
                if name == "second":
                    says(f"{log}: was replaced")
            os.rename(mark, f"{path}/before.mark")
            write(mark, "")
            says(f"{mark}: was replaced")  # then it has seen what was before
            it = Tail(process, err)
            it.has(*wanted)
            it.stop()


def test_a_reader_that_goes_ends_it():
    with folder() as path:
        log = f"{path}/log"
        write(log, "one\n")
        with spawn(path_of("tail"), log) as process:
            assert process.stdout.readline() == "one\n"
            process.stdout.close()
            assert process.wait(60) == 0
            process.stdout = open(os.devnull, encoding="ascii")


def test_into_a_file():
    with folder() as path:
        log = f"{path}/log"
        write(log, "one\n")
        with open(f"{path}/out", "w", encoding="utf-8") as out:
            with subprocess.Popen([path_of("tail"), log], stdout=out) as process:
                until(lambda: catches(process, signal.SIGTERM), "it runs")
                for text in ["two\n", "three\n"]:
                    write(log, text)
                    until(lambda: pathlib.Path(f"{path}/out").read_text().endswith(text), text)
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
        assert pathlib.Path(f"{path}/out").read_text() == "one\ntwo\nthree\n"


def test_bad_arguments():
    assert "FILE" in run("tail", check=2).stderr
    assert "--lines" in run("tail", "--lines", "x", "f", check=2).stderr
    assert run("tail", "--help", check=0).stdout.startswith("usage: tail [OPTION]... FILE...\n")
    with folder() as path:
        write(f"{path}/log", "one\n")
        os.symlink("log", f"{path}/same")
        with tail(f"{path}/log", f"{path}/same", path, lines=1) as it:
            it.has(f"{path}/log: one")
            it.says("is followed already")
            it.says("is no regular file")


if __name__ == "__main__":
    main(globals())
