# SPDX-License-Identifier: Apache-2.0
"""docs/regressions.md and the tests agree: R01-R82 each have a row, in order; a row names tests that are registered with
cmocka, or says what it waits for; and each test whose name begins with a number is named in that number's row."""
import glob
import os
import re
import sys

root = os.environ.get("IOR_SOURCE_DIR") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
failures = []

registered = set()
for path in glob.glob(os.path.join(root, "tests", "test_*.c")):
    with open(path, encoding="utf-8") as file:
        registered.update(re.findall(r"cmocka_unit_test\w*\(\s*(\w+)", file.read()))

rows = {}
with open(os.path.join(root, "docs", "regressions.md"), encoding="utf-8") as file:
    for line in file:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if re.fullmatch(r"R\d\d", cells[0]):
            if len(cells) != 4:
                failures.append(f"{cells[0]}: {len(cells)} cells instead of 4")
            rows[cells[0]] = cells[-1]

expected = [f"R{number:02}" for number in range(1, 83)]
if list(rows) != expected:
    failures.append(f"rows are missing, doubled or out of order: {sorted(set(expected) ^ set(rows))}")

named = set()
for number, cell in rows.items():
    tests = re.findall(r"`(\w+)`", cell)
    named.update(tests)
    for test in tests:
        if test not in registered:
            failures.append(f"{number}: no test {test}")
        if not test.startswith(number.lower() + "_"):
            failures.append(f"{number}: {test} has another number")
    if not tests and not cell.startswith("waiting for: "):
        failures.append(f"{number}: neither a test nor what it waits for")

for test in sorted(registered - named):
    if re.match(r"r\d\d_", test):
        failures.append(f"{test} is not named in docs/regressions.md")

for failure in failures:
    print(failure)
print(f"{len(rows)} rows, {len(named)} tests named, {len(failures)} failures")
sys.exit(1 if failures else 0)
