# SPDX-License-Identifier: Apache-2.0
"""The demo in small: its report, its status, and that nothing is left of it, whatever happens."""

import os
import signal
import subprocess
import sys
import tempfile

from _lib import BUILD, LIMIT, SOURCE, main, spawn, until

if not os.path.exists("/proc/self/stat"):
    print("skipped: there is no /proc")
    sys.exit(77)

SCRIPT = ["sh", os.path.join(SOURCE, "tools", "demo.sh")]
DEMO = [*SCRIPT, "--connections", "300", "--seconds", "2", "--pause", "50"]


def environment(**more):
    return {**os.environ, "IOR_BIN": os.path.join(BUILD, "examples"), **more}


def nobody(group):
    """Whether no process of a group is left."""
    try:
        os.killpg(group, 0)
        return False
    except ProcessLookupError:
        return True


def test_options():
    result = subprocess.run([*SCRIPT, "--help"], capture_output=True, text=True, timeout=LIMIT, check=True)
    assert result.stdout.startswith("usage: ") and "--connections N" in result.stdout
    for args, words in [(["--frob"], ["--frob"]), (["--seconds", "x"], ["--seconds", '"x"']),
                        (["--connections", "0"], ["--connections", '"0"']), (["--pause"], ["--pause", "missing"]),
                        (["--pause", "99999999999999999999"], ["--pause", "99999999999999999999"])]:
        result = subprocess.run([*SCRIPT, *args], capture_output=True, text=True, timeout=LIMIT, check=False)
        assert result.returncode == 2 and all(word in result.stderr for word in words), result


def test_report():
    result = subprocess.run(DEMO, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=LIMIT, check=False)
    assert result.returncode == 0, result
    for word in ["connections     300", "lost            0\n", "server CPU ", "server memory ", "latency         p50 ",
                 "server exit     0", "Nothing was lost.", "nc 127.0.0.1"]:
        assert word in result.stdout, (word, result)
    assert "300 connections" in result.stderr, result


def test_fewer_files_than_connections():
    result = subprocess.run(["sh", "-c", f"ulimit -n 250; exec {' '.join(DEMO)}"], env=environment(),
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert result.returncode == 0, result
    assert "150 connections instead of 300" in result.stdout
    assert "connections     150," in result.stdout


def test_no_programs():
    result = subprocess.run(DEMO, env=environment(IOR_BIN="/no/such/folder"), capture_output=True, text=True,
                            timeout=LIMIT, check=False)
    assert result.returncode == 1 and "/no/such/folder/echo" in result.stderr


def test_a_load_that_fails_fails_the_demo():
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(os.path.join(BUILD, "examples", "echo"), os.path.join(folder, "echo"))
        with open(os.path.join(folder, "load"), "w", encoding="ascii") as file:
            file.write('#!/bin/sh\necho \'{"connections": 300, "messages": 5, "lost": 1}\'\nexit 1\n')
        os.chmod(os.path.join(folder, "load"), 0o755)
        result = subprocess.run(DEMO, env=environment(IOR_BIN=folder), capture_output=True, text=True, timeout=LIMIT,
                                check=False)
        assert result.returncode == 1 and "FAILED" in result.stdout, result


def test_a_signal_leaves_nothing_behind():
    with spawn(*DEMO, "--seconds", "600", env=environment()) as demo:
        line = demo.stderr.readline()
        assert "connections" in line, line
        demo.send_signal(signal.SIGTERM)
        # Both streams end only once nobody holds them any more: the load and the server are gone, too.
        demo.communicate(timeout=LIMIT)
        assert demo.returncode == 143
        until(lambda: nobody(demo.pid), "the end of all its processes")


def test_a_reader_that_goes_leaves_nothing_behind():
    with spawn(*DEMO, env=environment(), stderr=subprocess.STDOUT) as demo:
        assert "listens on" in demo.stdout.readline()
        demo.stdout.close()
        assert demo.wait(LIMIT) != 0
        until(lambda: nobody(demo.pid), "the end of all its processes")


if __name__ == "__main__":
    main(globals())
