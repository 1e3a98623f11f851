# SPDX-License-Identifier: Apache-2.0
"""The syslogd example: messages of both forms, from logger and from sockets, to a pipe and to a file."""

import os
import shutil
import socket
import subprocess
import tempfile

from _lib import LIMIT, Server, main, run, until


def udp(server, *messages):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for message in messages:
            sock.sendto(message if isinstance(message, bytes) else message.encode(), ("127.0.0.1", server.port()))


def lines(server, n):
    return [server.process.stdout.readline().rstrip("\n") for _ in range(n)]


def expect(server, message, line):
    udp(server, message)
    got = lines(server, 1)[0]
    assert got == line, f"{message!r} became {got!r} in place of {line!r}"


def test_both_forms():
    with Server("syslogd") as server:
        expect(server, "<34>1 2003-10-11T22:14:15.003Z mymachine su - ID47 - 'su root' failed",
               "2003-10-11T22:14:15.003Z mymachine auth.crit su: 'su root' failed")
        expect(server, '<165>1 2003-08-24T05:14:15-07:00 - app 8710 - [a@1 b="x ] \\" y"][c@1] \ufeffh\u00e9llo',
               '2003-08-24T05:14:15-07:00 127.0.0.1 local4.notice app[8710]: [a@1 b="x ] \\" y"][c@1] h\u00e9llo')
        expect(server, "<13>Feb  5 17:32:18 10.0.0.99 cron[7]: started",
               "Feb  5 17:32:18 10.0.0.99 user.notice cron[7]: started")
        expect(server, "<86>Nov 28 07:12:01 sshd[12]: no host here",
               "Nov 28 07:12:01 127.0.0.1 authpriv.info sshd[12]: no host here")


def test_what_is_neither():
    with Server("syslogd") as server:
        expect(server, "plain text\n", "- 127.0.0.1 user.notice plain text")
        expect(server, "", "- 127.0.0.1 user.notice ")
        expect(server, "<", "- 127.0.0.1 user.notice <")
        expect(server, "<192>x", "- 127.0.0.1 user.notice <192>x")
        expect(server, "<1", "- 127.0.0.1 user.notice <1")
        expect(server, "<0>", "- 127.0.0.1 kern.emerg ")
        expect(server, "<13>1 ", "  127.0.0.1 user.notice : "[1:])
        expect(server, b"<13>two\nlines\x1b[0m\0", "- 127.0.0.1 user.notice two\\x0alines\\x1b[0m")
        expect(server, "x" * 9000, "- 127.0.0.1 user.notice " + "x" * 8192 + " [cut]")


def test_in_order():
    with Server("syslogd") as server:
        for part in range(20):
            udp(server, *[f"<14>number {part * 50 + i}" for i in range(50)])
            assert lines(server, 50) == [f"- 127.0.0.1 user.info number {part * 50 + i}" for i in range(50)]


def test_a_path_of_this_host_and_a_file():
    with tempfile.TemporaryDirectory() as folder:
        path, out = f"{folder}/log", f"{folder}/messages"
        with Server("syslogd", "--unix", f"unix:{path}", "--output", out) as server:
            assert os.stat(path).st_mode & 0o777 == 0o666
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(LIMIT)
                sock.connect(path)
                for i in range(2000):
                    sock.send(f"<29>Nov 28 07:12:01 test: number {i}".encode())
            wanted = [f"Nov 28 07:12:01 localhost daemon.notice test: number {i}\n" for i in range(2000)]

            def content():
                with open(out, encoding="utf-8") as file:
                    return file.readlines()

            until(lambda: len(content()) >= 2000, "all lines are in the file")
            assert content() == wanted
        assert not os.path.exists(path)


def test_an_output_that_does_not_keep_up_makes_programs_wait():
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/log"
        with Server("syslogd", "--unix", f"unix:{path}") as server:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.connect(path)
                sock.setblocking(False)
                sent = 0
                refused = 0
                while refused < 200:
                    try:
                        sock.send(b"<14>" + str(sent).encode().ljust(1000, b"x"))
                        sent += 1
                        refused = 0
                    except BlockingIOError:
                        refused += 1
                        until(server.sleeps, "it waits")
                assert sent < 10000
                for i in range(sent):
                    line = server.process.stdout.readline().rstrip("\n")
                    assert line == "- localhost user.info " + str(i).ljust(1000, "x"), (i, line[:60])


def test_logger():
    if not shutil.which("logger"):
        print("left out: logger is not installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/log"
        with Server("syslogd", "--unix", f"unix:{path}") as server:
            remote = ["logger", "--server", "127.0.0.1", "--port", str(server.port()), "--udp", "--tag", "me",
                      "--priority", "local1.warning"]
            for args in [[*remote, "--rfc5424", "by network"], [*remote, "--rfc3164", "by network"],
                         ["logger", "--socket", path, "--tag", "me", "--priority", "mail.err", "by path"]]:
                subprocess.run(args, check=True, timeout=LIMIT)
            new, old, local = lines(server, 3)
            assert " local1.warning me: " in new and new.endswith("by network"), new
            assert " local1.warning me: by network" in old, old
            assert " mail.err me" in local and local.endswith(": by path"), local


def test_help_and_bad_options():
    result = run("syslogd", "--help", check=0)
    assert result.stdout.startswith("usage: syslogd ") and "--unix" in result.stdout and "--output" in result.stdout
    for args, word in [(["--frobnicate"], "--frobnicate"), (["--listen", "nowhere"], '"nowhere"'),
                       (["--output"], "missing"), (["--engine", "warp"], "warp")]:
        result = run("syslogd", *args, check=2)
        assert word in result.stderr and result.stdout == "", result


def test_errors():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken, tempfile.TemporaryDirectory() as folder:
        taken.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        result = run("syslogd", "--listen", address, check=1)
        assert address in result.stderr and "EADDRINUSE" in result.stderr, result
        result = run("syslogd", "--listen", "127.0.0.1:0", "--output", folder, check=1)
        assert folder in result.stderr and "EISDIR" in result.stderr, result
        result = run("syslogd", "--listen", "127.0.0.1:0", "--unix", "nonsense", check=2)
        assert "--unix" in result.stderr and '"nonsense"' in result.stderr, result


if __name__ == "__main__":
    main(globals())
