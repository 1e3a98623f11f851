# SPDX-License-Identifier: Apache-2.0
"""The program in README.md compiles as it stands, without a warning, and echoes; and the command that README.md names for
the tests is the one that .ci/run calls."""
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

source = os.environ["IOR_SOURCE_DIR"]
build = os.environ["IOR_BUILD_DIR"]
COMPILERS = [compiler for compiler in ("cc", "gcc", "clang") if shutil.which(compiler)]
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wpedantic", "-Werror"]
ADDRESS = "127.0.0.1:7000"


def fail(why):
    print("FAILED:", why)
    sys.exit(1)


def library():
    for folder, _, names in os.walk(build):
        if "libioreactor.a" in names:
            return os.path.join(folder, "libioreactor.a")
    return fail("libioreactor.a is not built")


def libraries():
    """What a static link needs besides, as the pkg-config file says."""
    with open(os.path.join(os.path.dirname(library()), "ioreactor.pc"), encoding="utf-8") as file:
        return re.search(r"^Libs.private: *(.*)$", file.read(), re.M).group(1).split()


def connect(path, server):
    for _ in range(1000):
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(path)
            return client
        except OSError:
            client.close()
            if server.poll() is not None:
                fail("the program ended at once")
            time.sleep(0.01)
    return fail("the program does not listen")


def echoes(program, path):
    with subprocess.Popen([program]) as server:
        try:
            with connect(path, server) as client:
                client.settimeout(20)
                client.sendall(b"hello")
                client.shutdown(socket.SHUT_WR)
                got = b""
                while piece := client.recv(100):
                    got += piece
                if got != b"hello":
                    fail(f"the echo of 'hello' is {got!r}")
        finally:
            server.kill()


with open(os.path.join(source, "README.md"), encoding="utf-8") as file:
    readme = file.read()
with open(os.path.join(source, ".ci", "run"), encoding="utf-8") as file:
    if "./dev test" not in readme or "./dev test" not in file.read():
        fail("README.md and .ci/run do not name the same command")
programs = re.findall(r"```c\n(#include.*?)```", readme, re.DOTALL)
if len(programs) != 1 or ADDRESS not in programs[0]:
    fail("README.md has no program, or more than one")
if not COMPILERS:
    print("skipped: no compiler here")
    sys.exit(77)
with tempfile.TemporaryDirectory() as work:
    for compiler in COMPILERS:
        path = os.path.join(work, compiler + ".sock")
        # As it is shown; then with an address nobody else uses, to be run.
        for name, text in (("shown", programs[0]), ("echo", programs[0].replace(ADDRESS, "unix:" + path))):
            file_name = os.path.join(work, name + ".c")
            with open(file_name, "w", encoding="utf-8") as file:
                file.write(text)
            command = [compiler, *FLAGS, "-I", os.path.join(source, "include"), file_name, library(), *libraries()]
            if subprocess.run([*command, "-o", os.path.join(work, name)], check=False).returncode != 0:
                fail(f"{compiler} does not compile it")
        echoes(os.path.join(work, "echo"), path)
        print(f"ok: {compiler}")
