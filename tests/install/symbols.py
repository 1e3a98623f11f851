# SPDX-License-Identifier: Apache-2.0
"""What the library exports is what the headers promise, and what it imports breaks no promise.

The functions marked IOR_API, the symbol map, and the dynamic symbols of the shared library are the same set, under the
right version; the static library pollutes no other names; the shared library is hardened and named as it should be.
"""
import os
import re
import subprocess
import sys

source = os.environ["IOR_SOURCE_DIR"]
build = os.environ["IOR_BUILD_DIR"]

# The core, and the simulated world: its header, map, name and version node, and what is forbidden but for some objects.
# The first makes child processes, which reset their signals and end where their program cannot be run, and has handlers
# where there is no signalfd; the second may end the program (without memory, says its header).
CORE = {"headers": lambda name: name != "sim.h", "map": "src/ioreactor.map", "name": "libioreactor",
        "node": "IOREACTOR_0.1", "may": {"_exit": {"spawn.c.o"}, "sigaction": {"spawn.c.o", "signal_pipe.c.o"}}}
SIM = {"headers": lambda name: name == "sim.h", "map": "sim/ioreactor-sim.map", "name": "libioreactor-sim",
       "node": "IOREACTOR_SIM_0.1", "may": {"abort": None}}

# The library never ends the program, prints, or changes signal handlers (assertions are not in release builds).
FORBIDDEN = {
    "abort", "exit", "_exit", "quick_exit", "printf", "__printf_chk", "fprintf", "__fprintf_chk", "vfprintf", "puts",
    "putchar", "fputs", "fwrite", "perror", "syslog", "stdout", "stderr", "signal", "sigaction", "raise", "setenv",
    "putenv", "system", "popen", "atexit", "__assert_fail",
}
failures = []


def check(what, left_name, left, right_name, right):
    for name in sorted(left - right):
        failures.append(f"{what}: {name} is in {left_name}, not in {right_name}")
    for name in sorted(right - left):
        failures.append(f"{what}: {name} is in {right_name}, not in {left_name}")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def declared(library):
    names = set()
    folder = os.path.join(source, "include", "ioreactor")
    for header in sorted(filter(library["headers"], os.listdir(folder))):
        with open(os.path.join(folder, header), encoding="utf-8") as file:
            text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
        marks = len(re.findall(r"^IOR_API\b", text, re.M))
        found = re.findall(r"^IOR_API\s[^;{]*?\b(ior_\w+)\s*\(", text, re.M)
        if marks != len(found):
            failures.append(f"{header}: {marks} declarations marked IOR_API, {len(found)} understood")
        # What is declared without the mark would be hidden.
        for line in re.findall(r"^(?!IOR_API|static|typedef|#|extern|struct \w+ \{|enum)\w[^;{]*\bior_\w+\s*\([^;]*;", text, re.M):
            failures.append(f"{header}: not marked IOR_API: {line}")
        names.update(found)
    return names


def mapped(library):
    with open(os.path.join(source, library["map"]), encoding="utf-8") as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
    return set(re.findall(r"^\s+(ior_\w+);$", text, re.M))


def exported(library, shared):
    node = library["node"]
    names = set()
    for line in run("nm", "-D", "--defined-only", "--with-symbol-versions", shared).splitlines():
        name = line.split()[2]
        if name == node or name.startswith(node + "@"):
            continue
        name, _, version = name.partition("@@")
        if version != node:
            failures.append(f"{name} is exported under '{version}'")
        names.add(name)
    return names


def look(library, release):
    """Looks at one library; answers how many functions it has."""
    name = library["name"]
    shared, static = os.path.join(build, name + ".so"), os.path.join(build, name + ".a")
    headers = declared(library)
    check(f"{name}, map", "the headers", headers, "the map", mapped(library))
    check(f"{name}, exports", "the headers", headers, "the shared library", exported(library, shared))
    for line in run("nm", "--defined-only", "--extern-only", static).splitlines():
        fields = line.split()
        if len(fields) == 3 and not fields[2].startswith("ior_"):
            failures.append(f"{name}: the static library defines {fields[2]}")
    if release:
        for line in run("nm", "-A", "--undefined-only", static).splitlines():
            member, symbol = line.split(":")[1], line.split()[-1]
            allowed = library["may"].get(symbol, set())
            if symbol in FORBIDDEN and allowed is not None and member not in allowed:
                failures.append(f"{name}: {member} uses {symbol}")
    dynamic = run("readelf", "-dW", shared)
    for wanted in (r"SONAME.*\[" + name + r"\.so\.0\]", "BIND_NOW|NOW"):
        if not re.search(wanted, dynamic):
            failures.append(f"{name}: readelf -d: no {wanted}")
    if "TEXTREL" in dynamic:
        failures.append(f"{name}: the shared library has text relocations")
    if "GNU_RELRO" not in run("readelf", "-lW", shared):
        failures.append(f"{name}: the shared library has no RELRO")
    return len(headers)


with open(os.path.join(build, "CMakeCache.txt"), encoding="utf-8") as cache:
    is_release = "CMAKE_BUILD_TYPE:STRING=Debug" not in cache.read()
count = look(CORE, is_release) + look(SIM, is_release)
for failure in failures:
    print("FAILED:", failure)
print(f"{count} functions, {len(failures)} failures")
sys.exit(1 if failures else 0)
