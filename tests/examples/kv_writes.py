# SPDX-License-Identifier: Apache-2.0
"""16 requests that are read at once are answered in one write, as strace counts them."""

import os
import re
import subprocess
import sys
import tempfile

from _lib import LIMIT, Server, main, need, until

need("strace")
if os.environ.get("IOR_ENGINE") == "uring":
    print("skipped: io_uring writes without a call that strace could show")
    sys.exit(77)
if subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, timeout=LIMIT, check=False).returncode:
    print("skipped: strace may not trace here")
    sys.exit(77)


def test_16_requests_one_write():
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "log")
        # A leak check cannot run under a tracer.
        env = {"ASAN_OPTIONS": "detect_leaks=0"}
        prefix = ["strace", "-f", "-s", "256", "-e", "trace=network,read,readv,write,writev", "-o", log]

        def calls():
            with open(log, encoding="latin-1") as file:
                return file.read().splitlines()

        with Server("kv", prefix=prefix, env=env) as server, server.client() as client:
            client.send("PING first\r\n")
            client.expect("$5", "first")
            before = len(calls())
            client.send("*1\r\n$4\r\nPING\r\n" * 16)
            assert client.exactly(7 * 16) == b"+PONG\r\n" * 16
            client.send("PING last\r\n")
            client.expect("$4", "last")
            until(lambda: any("last" in line and "$4" in line for line in calls()), "the last reply in the log")
            trace = calls()[before:]
        # From the read of the sixteen to the reply to the last.
        reads = [line for line in trace if re.search(r"\b(recv|recvfrom|recvmsg|read|readv)\(", line)]
        writes = [line for line in trace
                  if re.search(r"\b(send|sendto|sendmsg|write|writev)\(", line) and "PONG" in line]
        assert any(line.count("PING") == 16 for line in reads), reads
        assert len(writes) == 1, writes
        assert writes[0].endswith("= 112"), writes


if __name__ == "__main__":
    main(globals())
