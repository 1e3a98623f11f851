# SPDX-License-Identifier: Apache-2.0
"""The key-value example, driven by redis-cli and redis-benchmark."""

import csv
import io
import subprocess
import threading

from _lib import LIMIT, Server, main, need

need("redis-cli", "redis-benchmark")


def cli(server, *args, stdin=None):
    result = subprocess.run(["redis-cli", "-h", "127.0.0.1", "-p", str(server.port()), *args], input=stdin or "",
                            capture_output=True, text=True, timeout=LIMIT, check=True)
    return result.stdout


def test_redis_cli():
    with Server("kv") as server:
        assert cli(server, "PING") == "PONG\n"
        assert cli(server, "SET", "k", "a b") == "OK\n"
        assert cli(server, "GET", "k") == "a b\n"
        assert cli(server, "INCR", "k").startswith("ERR value is not an integer")
        assert cli(server, "MSET", "a", "1", "b", "2") == "OK\n"
        assert cli(server, "MGET", "a", "b", "none") == "1\n2\n\n"
        assert cli(server, stdin="SET x 1\nINCR x\nTTL x\nDEL x\nEXISTS x\n") == "OK\n2\n-1\n1\n0\n"
        assert "connected_clients:1" in cli(server, "INFO")
        assert cli(server, "FROB").startswith("ERR unknown command 'FROB'")
        server.gone()


def test_redis_cli_pipe():
    with Server("kv") as server:
        data = "".join(f"*3\r\n$3\r\nSET\r\n${len(str(i))}\r\n{i}\r\n$1\r\nv\r\n" for i in range(20000))
        assert "errors: 0, replies: 20000" in cli(server, "--pipe", stdin=data)
        assert "\r\nkeys:20000\r\n" in cli(server, "INFO").replace("\r\n", "\n").replace("\n", "\r\n")


def test_redis_cli_subscribes():
    with Server("kv") as server:
        sub = subprocess.Popen(["redis-cli", "-p", str(server.port()), "SUBSCRIBE", "news"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True)
        assert [sub.stdout.readline() for _ in range(3)] == ["subscribe\n", "news\n", "1\n"]
        assert cli(server, "PUBLISH", "news", "hello") == "1\n"
        assert [sub.stdout.readline() for _ in range(3)] == ["message\n", "news\n", "hello\n"]
        sub.kill()
        sub.wait()
        sub.stdout.close()
        server.gone()


def benchmark(server, *args):
    result = subprocess.run(["redis-benchmark", "-h", "127.0.0.1", "-p", str(server.port()), "--csv", *args],
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=True)
    assert "rror" not in result.stderr + result.stdout, result
    return {row["test"]: float(row["rps"]) for row in csv.DictReader(io.StringIO(result.stdout))}


def test_redis_benchmark():
    with Server("kv") as server:
        rates = benchmark(server, "-t", "ping,set,get,incr,mset", "-n", "20000", "-P", "16", "-r", "1000")
        assert {"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR"} <= set(rates), rates
        assert all(rate > 0 for rate in rates.values())
        print("   ", ", ".join(f"{name} {rate:.0f}/s" for name, rate in rates.items()))
        benchmark(server, "-t", "set,get", "-n", "2000", "-c", "20", "-d", "20000")
        server.gone()


def test_two_benchmarks_and_a_person():
    with Server("kv") as server:
        threads = [threading.Thread(target=benchmark, args=(server, "-t", test, "-n", "10000", "-P", "16"))
                   for test in ["set", "get"]]
        for thread in threads:
            thread.start()
        for i in range(10):
            assert cli(server, "ECHO", str(i)) == f"{i}\n"
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(globals())
