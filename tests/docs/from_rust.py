# SPDX-License-Identifier: Apache-2.0
"""docs/from-rust.md: each row names a test, and each test it names is there and run: a unit test is registered with
cmocka, a script or program lies in a folder whose files are all registered with CTest."""
import os
import re
import sys

root = os.environ.get("IOR_SOURCE_DIR") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
# In these each program or script is a test by itself.
WHOLE = ("tests/gates/", "tests/programs/", "tests/examples/")
failures = []
rows = named = 0


def check(row, path, test):
    full = os.path.join(root, path)
    if not os.path.isfile(full):
        failures.append(f"{row}: no file {path}")
    elif not test:
        if not path.startswith(WHOLE):
            failures.append(f"{row}: {path} without the name of a test")
    else:
        with open(full, encoding="utf-8") as file:
            if not re.search(rf"(cmocka_unit_test\w*|[A-Z]+_TEST)\(\s*{test}\b", file.read()):
                failures.append(f"{row}: no test {test} in {path}")


with open(os.path.join(root, "docs", "from-rust.md"), encoding="utf-8") as file:
    for line in file:
        if not line.startswith("|") or re.match(r"\|(-+\||\s*Rust\s*\|)", line):
            continue
        rows += 1
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != 3:
            failures.append(f"{cells[0]}: {len(cells)} cells instead of 3")
        tests = re.findall(r"`(tests/[\w/.]+)(?::(\w+))?`", cells[-1])
        if not tests:
            failures.append(f"{cells[0]}: no test")
        for path, test in tests:
            named += 1
            check(cells[0], path, test)

if rows < 20:
    failures.append("the table is not found")
for failure in failures:
    print("FAILED:", failure)
print(f"{rows} rows, {named} tests named, {len(failures)} failures")
sys.exit(1 if failures else 0)
