# SPDX-License-Identifier: Apache-2.0
"""The example of two services in two threads: answers, their order, clients that vanish, and the end."""

import os
import random
import signal

from _lib import Server, main, until


def test_put_get_del():
    with Server("services") as server, server.client() as c:
        for ask, answer in [("get k", "none"), ("put k v w ", "ok"), ("get k", "value v w "), ("put k x", "ok"),
                            ("get k", "value x"), ("del k", "ok"), ("del k", "none"), ("get k", "none")]:
            c.send(ask + "\r\n")
            c.expect(answer)


def test_two_threads_and_the_main_one():
    with Server("services") as server:
        names = set()
        for task in os.listdir(f"/proc/{server.pid()}/task"):
            with open(f"/proc/{server.pid()}/task/{task}/comm", encoding="ascii") as file:
                names.add(file.read().strip())
        assert {"gateway", "store"} <= names, names


def test_bad_lines_are_answered_in_their_place():
    usage = "error usage: put KEY VALUE | get KEY | del KEY"
    with Server("services") as server, server.client() as c:
        c.send(b"put k v\nfrob\n\nget k\nput k\nget\nget a b\ndel\nget k\0\n" + b"x" * 1024 + b"\nget k\n")
        c.expect("ok", usage, usage, "value v", usage, usage, usage, usage, usage, usage, "value v")


def test_answers_come_in_order_also_of_many_at_once():
    with Server("services") as server, server.client() as a, server.client() as b:
        for first in range(0, 5000, 500):
            for name, c in [("a", a), ("b", b)]:
                c.send("".join(f"put {name}{i} {i}\nget {name}{i}\n" for i in range(first, first + 500)))
            for c in [a, b]:
                for i in range(first, first + 500):
                    c.expect("ok", f"value {i}")


def test_lines_in_pieces():
    with Server("services") as server, server.client() as c:
        for byte in b"put key a value\nget key\n":
            c.send(bytes([byte]))
        c.expect("ok", "value a value")


def test_an_early_end_still_gets_all_answers():
    with Server("services") as server:
        for count in [1, 31, 32, 33, 2000]:
            with server.client() as c:
                c.send("".join(f"put k {i}\nget k\n" for i in range(count)))
                c.finish()
                assert c.rest().decode().splitlines() == [x for i in range(count) for x in ("ok", f"value {i}")]
        with server.client() as c:
            c.finish()
            assert c.rest() == b""
        server.gone()


def test_a_line_without_end():
    with Server("services") as server, server.client() as c, server.client() as other:
        try:
            c.send(b"x" * 100_000)
            assert c.rest() == b""
        except ConnectionError:
            pass
        other.send("get k\n")
        other.expect("none")


def test_a_client_that_does_not_read():
    with Server("services") as server, server.client(receive_buffer=4096) as slow, server.client() as other:
        value = "x" * 1000
        slow.send(f"put k {value}\n")
        slow.expect("ok")
        slow.sock.setblocking(False)
        sent = b"get k\n" * 50_000
        count = 0
        try:
            while count < len(sent):
                count += slow.sock.send(sent[count:])
        except BlockingIOError:
            pass
        other.send("get k\n")
        other.expect(f"value {value}")
        slow.sock.settimeout(60)
        slow.finish()
        assert slow.rest().decode().splitlines() == [f"value {value}"] * (count // 6)


def test_clients_killed_at_any_moment_leave_nothing():
    with Server("services") as server:
        chance = random.Random(7)
        for _ in range(300):
            c = server.client()
            c.send("".join(f"put k {i}\nget k\n" for i in range(chance.randrange(200))))
            if chance.random() < 0.3:
                c.send("get half a li")
            chance.choice([c.reset, c.close])()
        with server.client() as c:
            c.send("put k last\nget k\n")
            c.expect("ok", "value last")
        server.gone()


def test_the_end_answers_what_was_read():
    for number in [signal.SIGINT, signal.SIGTERM]:
        server = Server("services")
        with server.client() as c:
            c.send("put k v\nget k\n" * 5000)
            c.expect("ok")
            os.kill(server.pid(), number)
            until(lambda: server.process.poll() is not None, "the end")
            try:
                answers = ["ok"] + c.rest().decode().splitlines()
            except ConnectionResetError:
                answers = None  # it did not read all that had been sent
            if answers:
                assert answers == (["ok", "value v"] * 5000)[:len(answers)]
        assert server.process.returncode == 0, server.errors()
        server.process.stdout.close()


def test_two_signals():
    server = Server("services")
    with server.client() as c:
        c.send("put k v\n")
        c.expect("ok")
        os.kill(server.pid(), signal.SIGTERM)
        server.stop(signal.SIGINT)


if __name__ == "__main__":
    main(globals())
