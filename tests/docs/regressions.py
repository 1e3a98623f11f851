# SPDX-License-Identifier: Apache-2.0
"""docs/regressions.md and the tests agree: R01-R82 each have a row, in order; a row names tests that are registered with
cmocka, or says what it waits for; and each numbered test in tests/test_r_*.c is named in its number's row."""
import glob
import os
import re
import sys

root = os.environ.get("IOR_SOURCE_DIR") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
failures = []

registered, on_engines = set(), set()
for path in glob.glob(os.path.join(root, "tests", "test_*.c")):
    with open(path, encoding="utf-8") as file:
        names = re.findall(r"cmocka_unit_test\w*\(\s*(\w+)", file.read())
    registered.update(names)
    if os.path.basename(path).startswith("test_r_"):
        on_engines.update(names)

rows = {}
with open(os.path.join(root, "docs", "regressions.md"), encoding="utf-8") as file:
    for line in file:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if re.fullmatch(r"R\d\d", cells[0]):
            if len(cells) != 5:
                failures.append(f"{cells[0]}: {len(cells)} cells instead of 5")
            rows[cells[0]] = cells[3:]

expected = [f"R{number:02}" for number in range(1, 83)]
if list(rows) != expected:
    failures.append(f"rows are missing, doubled or out of order: {sorted(set(expected) ^ set(rows))}")

named = set()
for number, cells in rows.items():
    tests = re.findall(r"`(\w+)`", " ".join(cells))
    named.update(tests)
    for test in tests:
        if test not in registered:
            failures.append(f"{number}: no test {test}")
        if not test.startswith(number.lower() + "_"):
            failures.append(f"{number}: {test} has another number")
    if not tests and not cells[0].startswith("waiting for: "):
        failures.append(f"{number}: neither a test nor what it waits for")

for test in sorted(on_engines - named):
    if re.match(r"r\d\d_", test):
        failures.append(f"{test} is not named in docs/regressions.md")

for failure in failures:
    print(failure)
print(f"{len(rows)} rows, {len(named)} tests named, {len(failures)} failures")
sys.exit(1 if failures else 0)
