# SPDX-License-Identifier: Apache-2.0
"""The proxy example between programs that people use: curl, redis-benchmark, iperf3."""

import contextlib
import csv
import hashlib
import http.server
import io
import json
import random
import socket
import subprocess
import tempfile
import threading

from _lib import LIMIT, Server, main, need, spawn, until

need("curl", "redis-benchmark", "iperf3")


def proxy_to(port, *args):
    return Server("proxy", "--to", f"127.0.0.1:{port}", *args)


class Files(http.server.BaseHTTPRequestHandler):
    """Answers GET with the body of the server, and PUT with the sum of what came."""

    protocol_version = "HTTP/1.1"

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):  # pylint: disable=invalid-name
        self.answer(self.server.body)

    def do_PUT(self):  # pylint: disable=invalid-name
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(hashlib.sha256(body).hexdigest().encode())

    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass


@contextlib.contextmanager
def web(body):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    server.body = body
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def curl(*args):
    return subprocess.run(["curl", "-sS", "--max-time", str(LIMIT), "--noproxy", "*", *args], capture_output=True,
                          timeout=LIMIT, check=True).stdout


def test_curl():
    body = random.Random(1).randbytes(8 << 20)
    with tempfile.NamedTemporaryFile() as file, web(body) as port, proxy_to(port) as proxy:
        file.write(body)
        file.flush()
        url = f"http://127.0.0.1:{proxy.port()}/"
        assert curl(url) == body
        assert curl("-T", file.name, url) == hashlib.sha256(body).hexdigest().encode()
        # Several at once, and one that does not hurry.
        assert curl("-Z", *[url] * 8).count(body[:64]) == 8
        assert curl("--limit-rate", "40M", url) == body
        proxy.gone()


def test_redis_benchmark():
    with Server("kv") as kv, proxy_to(kv.port()) as proxy:
        result = subprocess.run(
            ["redis-benchmark", "-p", str(proxy.port()), "-n", "20000", "-c", "50", "-P", "16", "-d", "100", "-r",
             "1000", "-t", "ping,set,get,incr,mset", "--csv"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=True)
        rows = [row for row in csv.reader(io.StringIO(result.stdout)) if row and row[0] != "test"]
        assert len(rows) >= 3, result.stdout
        assert all(float(row[1]) > 0 for row in rows), result.stdout
        proxy.gone()


def test_iperf3():
    """The server reads on its own connections, so both count the bytes; iperf3 itself says where they differ."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    with spawn("iperf3", "-s", "-p", str(port), "-B", "127.0.0.1", "--forceflush") as server, proxy_to(port) as proxy:
        for args in ([], ["-R"], ["--bidir"]):
            # It says so before the first test, and again when it is done with one.
            until(lambda: "listening" in server.stdout.readline(), "iperf3 listens")
            result = subprocess.run(
                ["iperf3", "-c", "127.0.0.1", "-p", str(proxy.port()), "-n", "32M", "-P", "4", "-J", *args],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False)
            told = json.loads(result.stdout)
            assert result.returncode == 0 and "error" not in told, told
            assert told["end"]["sum_sent"]["bytes"] > 0 and told["end"]["sum_received"]["bytes"] > 0, told["end"]
        proxy.gone()


if __name__ == "__main__":
    main(globals())
