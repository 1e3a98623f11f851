# SPDX-License-Identifier: Apache-2.0
"""The echo example: every byte comes back, in order, whatever the client does."""

import os
import random
import tempfile
import threading

from _lib import Server, main, until


def test_bytes_come_back():
    with Server("echo") as server, server.client() as client:
        for size in [1, 2, 1000, 65536, 65537]:
            data = os.urandom(size)
            client.send(data)
            assert client.exactly(size) == data


def test_byte_by_byte():
    with Server("echo") as server, server.client() as client:
        for byte in b"one after the other":
            client.send(bytes([byte]))
            assert client.exactly(1) == bytes([byte])


def echo_all(client, data):
    """Sends in one thread and reads in another, as only this way a lot can be sent."""
    sender = threading.Thread(target=lambda: (client.send(data), client.finish()))
    sender.start()
    got = client.rest()
    sender.join()
    return got


def test_a_lot_and_then_the_end():
    with Server("echo") as server, server.client() as client:
        data = random.Random(1).randbytes(20_000_000)
        assert echo_all(client, data) == data
        server.gone()


def test_unix_socket():
    with tempfile.TemporaryDirectory() as folder:
        with Server("echo", listen=f"unix:{folder}/socket") as server, server.client() as client:
            data = random.Random(2).randbytes(3_000_000)
            assert echo_all(client, data) == data


def test_half_close_at_once():
    with Server("echo") as server, server.client() as client:
        client.send(b"the end")
        client.finish()
        assert client.rest() == b"the end"


def test_a_client_that_never_reads_costs_little_and_others_are_served():
    with Server("echo") as server, server.client(receive_buffer=4096) as slow, server.client() as other:
        slow.sock.setblocking(False)
        sent = 0
        try:
            while True:
                sent += slow.sock.send(b"x" * 65536)
        except BlockingIOError:
            pass
        other.send(b"hello")
        assert other.exactly(5) == b"hello"
        # All that was taken comes back once it reads.
        slow.sock.settimeout(60)
        slow.finish()
        assert slow.rest() == b"x" * sent


def test_clients_killed_at_any_moment_leave_nothing():
    with Server("echo") as server:
        chance = random.Random(3)
        for _ in range(200):
            client = server.client()
            client.send(b"x" * chance.choice([1, 100, 10000, 200000]))
            if chance.random() < 0.5:
                client.exactly(1)
            if chance.random() < 0.5:
                client.reset()
            else:
                client.close()
        server.gone()
        with server.client() as client:
            client.send(b"still here")
            assert client.exactly(10) == b"still here"


def test_what_was_sent_before_the_signal_is_delivered():
    server = Server("echo")
    with server.client() as client:
        client.send(b"last words")
        assert client.exactly(10) == b"last words"
        server.stop()
        assert client.rest() == b""
    until(lambda: server.process.poll() is not None, "the end")


if __name__ == "__main__":
    main(globals())
