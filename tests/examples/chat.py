# SPDX-License-Identifier: Apache-2.0
"""The chat example: rooms, names, and readers that are too slow."""

import random
import re

from _lib import Server, main


def enter(server, nick, room=None, **options):
    """A client with a name, in a room, that has read everything so far."""
    client = server.client(**options)
    welcome = client.line()
    guest = re.fullmatch(r"\* welcome, (guest\d+); /help tells the commands", welcome)
    assert guest, welcome
    client.expect(f"* {guest[1]} joined lobby")
    client.send(f"/nick {nick}\n")
    client.expect(f"* {guest[1]} is now {nick}")
    if room:
        client.send(f"/join {room}\n")
        client.expect(f"* {nick} joined {room}")
    return client


def test_two_in_a_room():
    with Server("chat") as server, enter(server, "ann", "tea") as ann, enter(server, "bob", "tea") as bob:
        ann.expect("* bob joined tea")
        ann.send("hello\n")
        bob.expect("ann: hello")
        bob.send("hello yourself\r\n")
        ann.expect("bob: hello yourself")
        bob.send("/quit\n")
        bob.expect("* bye")
        assert bob.rest() == b""
        ann.expect("* bob left tea")


def test_rooms_do_not_hear_each_other():
    with Server("chat") as server, enter(server, "ann", "tea") as ann, enter(server, "bob", "coffee") as bob, enter(
        server, "cat", "tea") as cat:
        ann.expect("* cat joined tea")
        ann.send("for tea\n")
        cat.expect("ann: for tea")
        bob.send("/rooms\n")
        assert sorted(re.findall(r"\w+ \(\d\)", bob.line())) == ["coffee (1)", "tea (2)"]
        cat.send("/join coffee\n/who\n")
        cat.expect("* cat joined coffee")
        assert sorted(cat.line().split(": ")[1].split()) == ["bob", "cat"]
        ann.expect("* cat left tea")
        bob.expect("* cat joined coffee")
        ann.send("/who\n")
        ann.expect("* 1 in tea: ann")


def test_names():
    with Server("chat") as server, enter(server, "ann") as ann, enter(server, "bob") as bob:
        ann.skip_to("* guest2 is now bob")
        bob.send("/nick ann\n")
        bob.expect("* this nickname is taken")
        for bad in ["/nick", "/nick a b", "/nick " + "x" * 25, "/nick a\x1b[2J"]:
            bob.send(bad + "\n")
            assert bob.line().startswith("* usage: /nick NAME")
        bob.send("/nick Zoë\n")
        bob.expect("* bob is now Zoë")
        ann.expect("* bob is now Zoë")
        # A name is free again once its owner has gone.
        bob.close()
        ann.expect("* Zoë left lobby")
        ann.send("/nick bob\n")
        ann.expect("* ann is now bob")


def test_commands():
    with Server("chat") as server, enter(server, "ann") as ann:
        ann.send("/help\n/frob\n/join no good\n/rooms\n")
        assert len([ann.line() for _ in range(5)]) == 5
        ann.expect("* there is no such command; /help tells which there are")
        assert ann.line().startswith("* usage: /join ROOM")
        ann.expect("* rooms: lobby (1)")


def test_lines_in_pieces_and_many_at_once():
    with Server("chat") as server, enter(server, "ann", "r") as ann, enter(server, "bob", "r") as bob:
        ann.expect("* bob joined r")
        for byte in b"byte by byte\n":
            ann.send(bytes([byte]))
        bob.expect("ann: byte by byte")
        lines = [f"line {i}" for i in range(2000)]
        ann.send("\n".join(lines) + "\npartial")
        bob.expect(*[f"ann: {line}" for line in lines])
        ann.send(" no more\n")
        bob.expect("ann: partial no more")


def test_long_lines_and_control_characters():
    with Server("chat") as server, enter(server, "ann", "r") as ann, enter(server, "bob", "r") as bob:
        ann.expect("* bob joined r")
        ann.send("x" * 1024 + "\n")
        bob.expect("ann: " + "x" * 1024)
        ann.send("y" * 1025 + "\nafter\n")
        ann.expect("* a line may have 1024 bytes; this one was dropped")
        bob.expect("ann: after")
        ann.send("z" * 500_000)
        ann.send("\nafter again\n")
        ann.expect("* a line may have 1024 bytes; this one was dropped")
        bob.expect("ann: after again")
        ann.send(b"a\x1b[2J\0b\x7f\n")
        bob.expect("ann: a?[2J?b?")


def test_a_slow_reader_loses_messages_and_is_told_how_many():
    count = 20000
    with Server("chat") as server, enter(server, "ann", "r") as ann, enter(
        server, "slow", "r", receive_buffer=4096) as slow, enter(server, "bob", "r") as bob:
        ann.expect("* slow joined r", "* bob joined r")
        slow.expect("* bob joined r")
        text = "x" * 1000
        got = 0
        for first in range(0, count, 100):
            ann.send("".join(f"{i} {text}\n" for i in range(first, first + 100)))
            for i in range(first, first + 100):
                bob.expect(f"ann: {i} {text}")
        # Now the slow one reads: what it missed and what it got is all there was, in order.
        ann.send("/who\n")
        ann.line()
        dropped = 0
        previous = -1
        while got + dropped < count:
            line = slow.line()
            notice = re.fullmatch(r"\* (\d+) messages were dropped, because you read too slowly", line)
            if notice:
                dropped += int(notice[1])
                continue
            number = int(re.fullmatch(r"ann: (\d+) x{1000}", line)[1])
            assert number > previous
            previous = number
            got += 1
        assert dropped > 0
        assert got + dropped == count, (got, dropped)
        ann.send("and now?\n")
        slow.expect("ann: and now?")
        # What it said meanwhile and afterwards is heard.
        slow.send("here I am\n")
        ann.expect("slow: here I am")


def test_one_who_does_not_read_is_not_listened_to_for_ever():
    """A client asks for more than it reads: the answers stay bounded, and none is lost once it reads."""
    count = 30000
    with Server("chat") as server, enter(server, "ann", receive_buffer=4096) as ann:
        ann.sock.setblocking(False)
        request = b"/help\n" * count
        sent = 0
        try:
            while sent < len(request):
                sent += ann.sock.send(request[sent:])
        except BlockingIOError:
            pass
        ann.sock.settimeout(60)
        whole = sent // len(b"/help\n")
        for i in range(whole):
            lines = [ann.line() for _ in range(5)]
            assert lines[0].startswith("* /join") and lines[4].startswith("* /quit"), (i, lines)


def test_people_who_vanish():
    with Server("chat") as server, enter(server, "ann") as ann:
        chance = random.Random(4)
        for i in range(100):
            client = server.client()
            client.send(chance.choice(["", "/join x\n", "/nick n\n", "half a li", "/who\n" * 1000]))
            if chance.random() < 0.5:
                client.line()
            chance.choice([client.reset, client.close])()
        ann.send("/rooms\n")
        while not ann.line().startswith("* rooms:"):
            pass
        ann.close()
        server.gone()


def test_long_lists_are_cut():
    with Server("chat") as server, enter(server, "ann") as ann:
        others = [server.client() for _ in range(300)]
        for i, other in enumerate(others):
            other.send(f"/nick somebody_with_a_name_{i:03}\n/join a_room_{i:03}\n")
            other.skip_to(f"* somebody_with_a_name_{i:03} joined a_room_{i:03}")
        ann.send("/rooms\n")
        while not (line := ann.line()).startswith("* rooms:"):
            pass
        assert 3900 < len(line) < 4096 and line.endswith(") ..."), line[-50:]
        for other in others:
            other.send("/join all\n")
        ann.send("/join all\n")
        ann.skip_to("* ann joined all")
        ann.send("/who\n")
        while not (line := ann.line()).endswith(" ..."):
            pass
        assert 3900 < len(line) < 4096, len(line)
        for other in others:
            other.close()


def test_the_end_is_announced():
    server = Server("chat")
    with enter(server, "ann") as ann:
        server.stop()
        ann.expect("* the server is going down")
        ann.rest()


if __name__ == "__main__":
    main(globals())
