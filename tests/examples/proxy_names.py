# SPDX-License-Identifier: Apache-2.0
"""
Dialling by name as the system does it: the proxy in a network namespace with a resolver, hosts and routes of the test's
own, on the C library's getaddrinfo. Some addresses answer, some refuse, some have no route, some are black holes.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading

from _lib import LIMIT, Client, Server, main, need, until

PORT = 7777
LONG = ".".join(["x" * 63, "y" * 63, "z" * 63, "w" * 56, "test"])
A, AAAA = 1, 28

# What the name server knows: addresses, "servfail", "silent"; all else is NXDOMAIN.
NAMES = {
    "both.test": ["fd09::2", "10.9.0.2"],
    "four.test": ["10.9.0.2"],
    "refused6.test": ["fd09::3", "10.9.0.2"],
    "noroute6.test": ["2001:db8:beef::1", "10.9.0.2"],
    "blackhole6.test": ["fd0a::1", "10.9.0.2"],
    "dead.test": ["fd0a::1", "198.51.100.1", "198.51.100.2"],
    "refused.test": ["fd09::3", "10.9.0.3"],
    "servfail.test": "servfail",
    "silent.test": "silent",
    LONG: ["10.9.0.2"],
}
asked = []


def answer(query):
    """The answer to one question, or None."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    name, kind = ".".join(labels).lower(), int.from_bytes(query[at + 1:at + 3], "big")
    asked.append(name)
    known = NAMES.get(name)
    if known == "silent":
        return None
    question, records = query[12:at + 5], []
    for addr in known if isinstance(known, list) else []:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in addr else socket.AF_INET, addr)
        if kind == (AAAA if ":" in addr else A):
            records.append(b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\0\x01\0\0\0\x3c" +
                           len(packed).to_bytes(2, "big") + packed)
    code = 3 if known is None else 2 if known == "servfail" else 0
    head = query[:2] + bytes([0x81, 0x80 | code, 0, 1, 0, len(records), 0, 0, 0, 0])
    return head + question + b"".join(records)


def serve_names(sock):
    while True:
        query, peer = sock.recvfrom(4096)
        if reply := answer(query):
            sock.sendto(reply, peer)


def proxy_to(name, *args):
    return Server("proxy", "--to", f"{name}:{PORT}", *args)


def greeting(name):
    """What the server at the other end says: the address it was reached at."""
    with proxy_to(name) as proxy, proxy.client() as client:
        client.finish()
        return client.rest().decode()


def failure(name, *args):
    proxy = proxy_to(name, *args)
    try:
        with proxy.client() as client:
            assert client.rest() == b""
            raise AssertionError("an end, and no reset")
    except ConnectionResetError:
        pass
    return proxy.stop()


def test_names_of_live_hosts():
    assert greeting("both.test") in ("fd09::2", "10.9.0.2")
    assert greeting("four.test") == "10.9.0.2"
    assert greeting("four.test.") == "10.9.0.2"


def test_the_other_family_is_tried():
    for name in ("refused6.test", "noroute6.test", "blackhole6.test"):
        assert greeting(name) == "10.9.0.2", name


def test_addresses_need_no_look_up():
    before = len(asked)
    assert greeting("[fd09::2]") == "fd09::2"
    assert greeting("10.9.0.2") == "10.9.0.2"
    assert len(asked) == before


def test_nothing_answers():
    told = failure("dead.test", "--connect", "1")
    assert told.startswith(f"proxy: cannot connect to dead.test:{PORT}: ETIMEDOUT ("), told
    assert told.count("ETIMEDOUT") == 4 and "[fd0a::1]" in told and "198.51.100.2" in told, told
    told = failure("refused.test")
    assert told.count("ECONNREFUSED") == 3 and "10.9.0.3" in told and "[fd09::3]" in told, told


def test_look_ups_that_fail():
    for name, error in [("no-such-name.test", "ENOENT"), ("servfail.test", "EAGAIN"), ("silent.test", "EAGAIN")]:
        told = failure(name)
        assert told == f"proxy: cannot connect to {name}:{PORT}: {error} (name look-up: {error})\n", told


def test_the_longest_name_is_asked_for_as_a_whole():
    assert len(LONG) == 253
    assert greeting(LONG) == "10.9.0.2"
    assert LONG in asked


# ---- the network ----

SETUP = """
set -e
mount -t tmpfs none /run
ip link set lo up
ip netns add far
ip link add near type veth peer name far netns far
ip addr add 10.9.0.1/24 dev near
ip addr add fd09::1/64 dev near nodad
ip link set near up
ip netns exec far sh -ec '
    ip link set lo up
    ip addr add 10.9.0.2/24 dev far
    ip addr add 10.9.0.3/24 dev far
    ip addr add fd09::2/64 dev far nodad
    ip addr add fd09::3/64 dev far nodad
    ip link set far up'
ip route add 198.51.100.0/24 via 10.9.0.2
ip -6 route add fd0a::/48 via fd09::2
mount --bind "$0/resolv.conf" /etc/resolv.conf
mount --bind "$0/hosts" /etc/hosts
mount --bind "$0/nsswitch.conf" /etc/nsswitch.conf
"""

FAR = f"""
import socket, selectors
ready = selectors.DefaultSelector()
for family, host in [(socket.AF_INET, "10.9.0.2"), (socket.AF_INET6, "fd09::2")]:
    sock = socket.socket(family)
    sock.bind((host, {PORT}))
    sock.listen()
    ready.register(sock, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in ready.select():
        conn, _ = key.fileobj.accept()
        conn.sendall(conn.getsockname()[0].encode())
        conn.close()
"""


def inside(folder):
    """In the namespaces: builds the network, and runs the tests in it."""
    for name, text in [("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
                       ("hosts", "127.0.0.1 localhost\n"), ("nsswitch.conf", "hosts: files dns\n")]:
        with open(os.path.join(folder, name), "w", encoding="ascii") as file:
            file.write(text)
    built = subprocess.run(["sh", "-c", SETUP, folder], capture_output=True, text=True, timeout=LIMIT, check=False)
    if built.returncode != 0:
        print(f"skipped: no network can be built in a namespace here: {built.stderr.strip()}")
        sys.exit(77)
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 53))
    threading.Thread(target=serve_names, args=(names,), daemon=True).start()
    with subprocess.Popen(["ip", "netns", "exec", "far", sys.executable, "-c", FAR], stdout=subprocess.PIPE,
                          text=True) as far:
        try:
            assert far.stdout.readline() == "ready\n"
            until(lambda: answers("fd09::2"), "IPv6 answers on the link")
            main(globals())
        finally:
            far.kill()


def answers(host):
    try:
        with Client(socket.create_connection((host, PORT), LIMIT)) as client:
            return client.rest() != b""
    except OSError:
        return False


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--inside":
        inside(sys.argv[2])
    need("ip", "unshare", "mount")
    spaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        spaces.append("--map-root-user")
    tried = subprocess.run(["unshare", *spaces, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        print(f"skipped: namespaces cannot be made: {tried.stderr.strip()}")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(subprocess.run(["unshare", *spaces, sys.executable, os.path.abspath(__file__), "--inside", scratch],
                                check=False).returncode)
