# SPDX-License-Identifier: Apache-2.0
"""Every example, as a user meets it first: help, bad options, addresses, engines, signals."""

import itertools
import os
import signal
import socket
import tempfile

from _lib import Server, main, run, together

SERVERS = ["echo", "chat", "kv", "services", "proxy"]
PROGRAMS = SERVERS + ["load", "supervise"]

# Where the proxy goes: to somebody who lets everyone in, and says nothing.
TARGET = socket.create_server(("127.0.0.1", 0))
ARGS = {"proxy": ["--to", f"127.0.0.1:{TARGET.getsockname()[1]}"]}


def test_help():
    for name in PROGRAMS:
        result = run(name, "--help", check=0)
        assert result.stdout.startswith(f"usage: {name} "), result
        assert "--engine" in result.stdout and "epoll" in result.stdout and "poll" in result.stdout
        assert ("--listen" in result.stdout) == (name in SERVERS)
        assert result.stderr == ""


def refused(name, *args, words, env=None):
    result = run(name, *args, env=env, check=2)
    assert result.stdout == "", result
    for word in words:
        assert word in result.stderr, (word, result)


def test_bad_options_name_the_option_and_the_value():
    for name in PROGRAMS:
        refused(name, "--frobnicate", words=["--frobnicate"])
        refused(name, "stray", words=["stray"])
        refused(name, "--engine", "warp", words=["--engine", "warp", "poll", "epoll"])
        refused(name, "--engine=warp", words=["--engine", "warp"])
        refused(name, "--engine", words=["--engine", "missing"])
        refused(name, env={"IOR_ENGINE": "warp"}, words=["IOR_ENGINE", "warp", "poll"])
    for name in SERVERS:
        for value in ["nonsense", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "localhost:80",
                      "[::1]", "unix:", ""]:
            if value != "unix:":
                refused(name, "--listen", value, words=["--listen", f'"{value}"'])
        refused(name, "--listen", "unix:/" + "x" * 200, words=["--listen", "too long"])
        refused(name, "--listen", words=["--listen", "missing"])
    for option, value in [("--connections", "0"), ("--connections", "x"), ("--depth", "-1"), ("--depth", "1x"),
                          ("--size", ""), ("--size", "99999999999999999999999"), ("--connect", "nowhere")]:
        refused("load", option, value, words=[option, f'"{value}"'])
    refused("load", "--depth", "4096", "--size", "1000000", words=["--depth", "4096"])


def test_address_in_use():
    for name in SERVERS:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            result = run(name, "--listen", address, check=1)
            assert address in result.stderr and "EADDRINUSE" in result.stderr, result
            assert "listening" not in result.stdout


def test_unix_path_that_cannot_be():
    for name in SERVERS:
        result = run(name, "--listen", "unix:/no/such/folder/socket", check=1)
        assert "/no/such/folder/socket" in result.stderr and "ENOENT" in result.stderr, result


def test_port_0_is_told_and_signals_end_it_cleanly():
    def ends_cleanly(name, number, listen):
        server = Server(name, *ARGS.get(name, []), listen=listen)
        assert server.port() > 0
        with server.client():
            errors = server.stop(number)
        assert errors == "", errors

    # Each waits a while for its client.
    together(ends_cleanly, *zip(*itertools.product(
        SERVERS, [signal.SIGINT, signal.SIGTERM], ["127.0.0.1:0", "[::1]:0"])))


def test_unix_socket():
    for name in SERVERS:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            with Server(name, *ARGS.get(name, []), listen=f"unix:{path}") as server:
                assert server.address == f"unix:{path}"
                with server.client():
                    pass
            assert not os.path.exists(path)


def test_both_engines_by_option():
    for name in SERVERS:
        for engine in ["poll", "epoll"]:
            # The option goes before the environment.
            with Server(name, *ARGS.get(name, []), "--engine", engine, env={"IOR_ENGINE": "warp"}) as server:
                with server.client():
                    pass


def test_a_signal_right_after_the_start():
    for name in SERVERS:
        for _ in range(5):
            Server(name).stop(signal.SIGTERM)


def test_two_signals_do_not_wait_for_a_client_that_never_reads():
    # The client leaves megabytes unread, so there is output that cannot be flushed.
    server = Server("echo")
    with server.client(receive_buffer=4096) as client:
        client.sock.setblocking(False)
        try:
            while True:
                client.sock.send(b"x" * 65536)
        except BlockingIOError:
            pass
        os.kill(server.process.pid, signal.SIGTERM)
        # It has begun to end once it does not listen any more.
        while True:
            try:
                server.client().close()
            except ConnectionError:
                break
        server.stop(signal.SIGTERM)


if __name__ == "__main__":
    main(globals())
