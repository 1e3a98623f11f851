# SPDX-License-Identifier: Apache-2.0
"""The key-value example, by its protocol: commands, pieces, errors, large values, expiry, subscribers."""

import os
import random
import time

from _lib import Client, Server, main, until


class Redis(Client):
    """Speaks RESP2."""

    def __init__(self, client):
        super().__init__(client.sock)

    def ask(self, *args):
        self.send(request(*args))
        return self.reply()

    def reply(self):
        line = self.line()
        kind, rest = line[0], line[1:]
        if kind in "+-":
            return line
        if kind == ":":
            return int(rest)
        if kind == "$":
            if rest == "-1":
                return None
            data = self.exactly(int(rest) + 2)
            assert data.endswith(b"\r\n")
            return data[:-2]
        assert kind == "*", line
        return [self.reply() for _ in range(int(rest))]

    def expect_reply(self, wanted, *args):
        got = self.ask(*args) if args else self.reply()
        assert got == wanted, f"{args} got {got!r} in place of {wanted!r}"


def request(*args):
    parts = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def connect(server, **options):
    return Redis(server.client(**options))


def info(client):
    lines = client.ask("INFO").decode().split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


def test_simple_commands():
    with Server("kv") as server, connect(server) as c:
        c.expect_reply("+PONG", "PING")
        c.expect_reply(b"hi", "ping", "hi")
        c.expect_reply(b"a\r\n\0b", "ECHO", b"a\r\n\0b")
        c.expect_reply(None, "GET", "k")
        c.expect_reply("+OK", "SET", "k", "v")
        c.expect_reply(b"v", "GET", "k")
        c.expect_reply("+OK", "SET", b"\0\r\n", b"\xff\0")
        c.expect_reply(b"\xff\0", "GET", b"\0\r\n")
        c.expect_reply("+OK", "SET", "", "")
        c.expect_reply(b"", "GET", "")
        c.expect_reply(3, "EXISTS", "k", "k", "", "no")
        c.expect_reply("+OK", "MSET", "a", "1", "b", "2")
        c.expect_reply([b"1", None, b"2"], "MGET", "a", "no", "b")
        c.expect_reply(2, "DEL", "a", "b", "no")
        c.expect_reply(0, "EXISTS", "a", "b")
        c.expect_reply([], "CONFIG", "GET", "save")
        assert c.ask("COMMAND", "COUNT") == len(c.ask("COMMAND"))
        c.expect_reply([], "COMMAND", "DOCS")
        assert info(c)["keys"] == "3"
        c.expect_reply("+OK", "QUIT")
        assert c.rest() == b""


def test_set_options():
    with Server("kv") as server, connect(server) as c:
        c.expect_reply(None, "SET", "k", "v", "XX")
        c.expect_reply("+OK", "SET", "k", "v", "NX")
        c.expect_reply(None, "SET", "k", "w", "nx")
        c.expect_reply("+OK", "SET", "k", "w", "EX", "100", "xx")
        assert 90 <= c.ask("TTL", "k") <= 100
        c.expect_reply("+OK", "SET", "k", "w")
        c.expect_reply(-1, "TTL", "k")
        for bad in [("EX",), ("EX", "1", "PX", "1"), ("NX", "XX"), ("FOO",)]:
            c.expect_reply("-ERR syntax error", "SET", "k", "v", *bad)
        for bad in ["0", "-1", "9223372036854775807"]:
            c.expect_reply("-ERR invalid expire time in 'set' command", "SET", "k", "v", "EX", bad)
        for bad in ["x", "1.5", "", "9223372036854775808"]:
            c.expect_reply("-ERR value is not an integer or out of range", "SET", "k", "v", "PX", bad)
        c.expect_reply(b"w", "GET", "k")


def test_counters():
    with Server("kv") as server, connect(server) as c:
        c.expect_reply(1, "INCR", "n")
        c.expect_reply(0, "DECR", "n")
        c.expect_reply(-1, "DECR", "n")
        c.expect_reply("+OK", "SET", "n", 2**63 - 2)
        c.expect_reply(2**63 - 1, "INCR", "n")
        c.expect_reply("-ERR increment or decrement would overflow", "INCR", "n")
        c.expect_reply("+OK", "SET", "n", -(2**63) + 1)
        c.expect_reply(-(2**63), "DECR", "n")
        c.expect_reply("-ERR increment or decrement would overflow", "DECR", "n")
        for bad in ["", "x", " 1", "1 ", "+1", "01", "-", "-0", "9223372036854775808", "1.0"]:
            c.expect_reply("+OK", "SET", "n", bad)
            c.expect_reply("-ERR value is not an integer or out of range", "INCR", "n")
        c.expect_reply("+OK", "SET", "n", "5", "EX", "100")
        c.expect_reply(6, "INCR", "n")
        assert 90 <= c.ask("TTL", "n") <= 100


def test_wrong_arity_and_unknown_commands():
    with Server("kv") as server, connect(server) as c:
        for args in [("GET",), ("GET", "a", "b"), ("SET", "a"), ("DEL",), ("MSET", "a"), ("MSET", "a", "1", "b"),
                     ("INCR",), ("EXPIRE", "a"), ("PUBLISH", "a"), ("SUBSCRIBE",), ("PING", "a", "b"), ("ECHO",)]:
            c.expect_reply(f"-ERR wrong number of arguments for '{args[0].lower()}' command", *args)
        c.expect_reply("-ERR unknown command 'FROB', with args beginning with: 'a' 'b' ", "FROB", "a", "b")
        assert c.ask("X" * 1000, *["y" * 1000] * 100).startswith("-ERR unknown command 'XXX")
        assert c.ask("A\r\nB").startswith("-ERR unknown command 'A  B'")
        c.expect_reply("+PONG", "PING")


def test_inline_requests():
    with Server("kv") as server, connect(server) as c:
        c.send("PING\r\n\r\n\n  SET k 'a b'\nget \"k\"\r\n")
        for wanted in ["+PONG", "+OK", b"a b"]:
            c.expect_reply(wanted)


def test_a_browser_is_sent_away():
    with Server("kv") as server, connect(server) as c:
        c.send("POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET evil 1\r\n")
        c.expect_reply("-ERR this is no web server")
        assert c.rest() == b""
        with connect(server) as other:
            other.expect_reply(0, "EXISTS", "evil")


def test_malformed_input_closes_only_that_client():
    with Server("kv") as server, connect(server) as other:
        for text, error in [
                (b"*1\r\n:1\r\n", "expected '$', got ':'"),
                (b"*x\r\n", "invalid multibulk length"),
                (b"*9999999\r\n", "invalid multibulk length"),
                (b"*1\r\n$-5\r\n", "invalid bulk length"),
                (b"*1\r\n$99999999\r\n", "too big request"),
                (b"*1\r\n$4\r\nPINGPING\r\n", "expected CRLF behind a bulk string"),
                (b"SET 'k\r\n", "unbalanced quotes in request"),
                (b"x" * 70000, "too big inline request"),
        ]:
            with connect(server) as c:
                # What came before is answered, what comes after is not; and the answer is not lost by a reset.
                c.send(request("PING") + text + request("SET", "evil", "1") * 1000)
                c.expect_reply("+PONG")
                c.expect_reply(f"-ERR Protocol error: {error}")
                assert c.rest() == b""
            other.expect_reply("+PONG", "PING")
        other.expect_reply(0, "EXISTS", "evil")


def test_requests_in_pieces():
    with Server("kv") as server, connect(server) as c:
        for byte in request("SET", "key", "value") + request("GET", "key") + b"PING\r\n":
            c.send(bytes([byte]))
        for wanted in ["+OK", b"value", "+PONG"]:
            c.expect_reply(wanted)
        chance = random.Random(5)
        stream = b"".join(request("ECHO", chance.randbytes(chance.randrange(3000))) for _ in range(300))
        at = 0
        while at < len(stream):
            size = chance.choice([1, 2, 7, 100, 5000])
            c.send(stream[at:at + size])
            at += size
        chance = random.Random(5)
        for _ in range(300):
            assert c.reply() == chance.randbytes(chance.randrange(3000))


def test_large_values():
    with Server("kv") as server, connect(server) as c:
        for size in [65535, 65536, 65537, 300_000, 1_048_000]:
            value = os.urandom(size)
            c.expect_reply("+OK", "SET", "k", value)
            c.expect_reply(value, "GET", "k")
        # Seven of these fit a reply, many do not; and that is the reply then.
        c.expect_reply([value] * 7, "MGET", *["k"] * 7)
        assert c.ask("MGET", *["k"] * 100).startswith("-ERR the reply would be longer than")
        assert c.ask("GET", "k") == value


def test_a_client_that_asks_and_does_not_read():
    """It asks for 400 MB: the server holds little of it, and all of it comes when the client reads."""
    with Server("kv") as server, connect(server, receive_buffer=65536) as c, connect(server) as other:
        value = os.urandom(200_000)
        c.expect_reply("+OK", "SET", "k", value)
        c.expect_reply("+OK", "SET", "n", "0")
        c.send((request("GET", "k") + request("INCR", "n")) * 2000)
        until(lambda: int(other.ask("GET", "n")) > 0, "the first requests")
        with open(f"/proc/{server.pid()}/status", encoding="ascii") as file:
            status = dict(line.split(":", 1) for line in file)
        if not is_sanitized(server):
            assert int(status["VmRSS"].split()[0]) < 60_000, status["VmRSS"]
        other.expect_reply("+PONG", "PING")
        # Each request was served once, in order.
        for i in range(1, 2001):
            assert c.reply() == value, i
            assert c.reply() == i


def is_sanitized(server):
    with open(f"/proc/{server.pid()}/maps", encoding="ascii") as file:
        return any("libasan" in line or "libtsan" in line for line in file)


def test_expiry():
    with Server("kv") as server, connect(server) as c:
        c.expect_reply(-2, "TTL", "k")
        c.expect_reply(0, "EXPIRE", "k", "10")
        c.expect_reply("+OK", "SET", "k", "v")
        c.expect_reply(1, "EXPIRE", "k", "10")
        assert 5 <= c.ask("TTL", "k") <= 10
        c.expect_reply(1, "EXPIRE", "k", "-1")
        c.expect_reply(0, "EXISTS", "k")
        c.expect_reply("-ERR value is not an integer or out of range", "EXPIRE", "k", "x")
        c.expect_reply("-ERR invalid expire time in 'expire' command", "EXPIRE", "k", "9223372036854775807")
        # Never early, and then gone; by itself as well, with nobody asking for it.
        start = time.monotonic()
        c.expect_reply("+OK", "SET", "soon", "v", "PX", "80")
        c.expect_reply("+OK", "SET", "alone", "v", "PX", "80")
        while c.ask("GET", "soon") is not None:
            pass
        assert time.monotonic() - start >= 0.08
        until(lambda: info(c)["keys"] == "0", "the end of the other one")
        # A new value has no end, and the old one's does not touch it.
        c.expect_reply("+OK", "SET", "k", "v", "PX", "50")
        c.expect_reply("+OK", "SET", "k", "w")
        c.expect_reply("+OK", "SET", "later", "v", "PX", "120")
        until(lambda: c.ask("EXISTS", "later") == 0, "the end of the later one")
        c.expect_reply(b"w", "GET", "k")
        assert int(info(c)["expired_keys"]) >= 3


def test_many_keys():
    with Server("kv") as server, connect(server) as c:
        count = 50_000
        for first in range(0, count, 1000):
            c.send(b"".join(request("SET", f"key:{i}", i, "EX", "1000") for i in range(first, first + 1000)))
            for _ in range(1000):
                c.expect_reply("+OK")
        assert info(c)["keys"] == str(count)
        for first in range(0, count, 1000):
            keys = [f"key:{i}" for i in range(first, first + 1000)]
            c.expect_reply([str(i).encode() for i in range(first, first + 1000)], "MGET", *keys)
            c.expect_reply(1000, "DEL", *keys)
        assert info(c)["keys"] == "0"


def test_pub_sub():
    with Server("kv") as server, connect(server) as a, connect(server) as b, connect(server) as pub:
        pub.expect_reply(0, "PUBLISH", "news", "nobody hears")
        a.expect_reply([b"subscribe", b"news", 1], "SUBSCRIBE", "news")
        b.send(request("SUBSCRIBE", "news", "sport", "news"))
        b.expect_reply([b"subscribe", b"news", 1])
        b.expect_reply([b"subscribe", b"sport", 2])
        b.expect_reply([b"subscribe", b"news", 2])
        pub.expect_reply(2, "PUBLISH", "news", b"hear\r\n\0")
        for c in [a, b]:
            c.expect_reply([b"message", b"news", b"hear\r\n\0"])
        pub.expect_reply(1, "PUBLISH", "sport", "goal")
        b.expect_reply([b"message", b"sport", b"goal"])
        assert a.ask("GET", "k").startswith("-ERR Can't execute 'get': only")
        a.expect_reply([b"pong", b""], "PING")
        a.expect_reply([b"unsubscribe", b"news", 0], "UNSUBSCRIBE")
        a.expect_reply([b"unsubscribe", None, 0], "UNSUBSCRIBE")
        a.expect_reply("+PONG", "PING")
        b.send(request("UNSUBSCRIBE"))
        assert sorted(b.reply()[1] for _ in range(2)) == [b"news", b"sport"]
        pub.expect_reply(0, "PUBLISH", "news", "gone")
        a.expect_reply([b"subscribe", b"x", 1], "SUBSCRIBE", "x")
        a.expect_reply("+OK", "QUIT")
        assert a.rest() == b""
        until(lambda: pub.ask("PUBLISH", "x", "y") == 0, "the end of the subscription")
        assert info(pub)["pubsub_channels"] == "0"


def test_a_slow_subscriber_is_disconnected_and_others_are_not():
    with Server("kv") as server, connect(server, receive_buffer=4096) as slow, connect(server) as fast, connect(
        server) as pub:
        slow.expect_reply([b"subscribe", b"c", 1], "SUBSCRIBE", "c")
        fast.expect_reply([b"subscribe", b"c", 1], "SUBSCRIBE", "c")
        message = b"x" * 100_000
        told = 2
        sent = 0
        while told == 2:
            told = pub.ask("PUBLISH", "c", message)
            fast.expect_reply([b"message", b"c", message])
            sent += 1
            assert sent < 1000
        assert told == 1
        assert info(pub)["slow_subscribers_disconnected"] == "1"
        until(lambda: info(pub)["connected_clients"] == "2", "the end of the slow one")


def test_clients_killed_at_any_moment_leave_nothing():
    with Server("kv") as server, connect(server) as c:
        chance = random.Random(6)
        whole = request("SUBSCRIBE", "c") + request("SET", "k", "v" * 5000) * 3 + request("PUBLISH", "c", "m")
        for _ in range(200):
            client = server.client()
            client.send(whole[:chance.randrange(len(whole))] if chance.random() < 0.5 else request("GET", "k") * 500)
            chance.choice([client.reset, client.close])()
        until(lambda: info(c)["connected_clients"] == "1", "the end of all others")
        assert info(c)["pubsub_channels"] == "0"
        c.expect_reply(0, "PUBLISH", "c", "m")
        c.close()
        server.gone()


def test_answers_are_flushed_at_the_end():
    server = Server("kv")
    with connect(server) as c:
        c.expect_reply("+OK", "SET", "k", "v", "EX", "1000")
        server.stop()
        assert c.rest() == b""


if __name__ == "__main__":
    main(globals())
