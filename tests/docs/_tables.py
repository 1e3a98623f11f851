# SPDX-License-Identifier: Apache-2.0
"""Tables of documents that name tests: `tests/FILE.c:TEST` is registered with cmocka in that file; `tests/FOLDER/FILE` of a
folder whose programs or scripts are all registered with CTest is there."""
import os
import re
import sys

sys.dont_write_bytecode = True
root = os.environ.get("IOR_SOURCE_DIR") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
WHOLE = ("tests/gates/", "tests/programs/", "tests/examples/")


def wrong(path, test):
    """What is wrong with a test that is named, or None."""
    full = os.path.join(root, path)
    if not os.path.isfile(full):
        return f"no file {path}"
    if not test:
        return None if path.startswith(WHOLE) else f"{path} without the name of a test"
    with open(full, encoding="utf-8") as file:
        found = re.search(rf"(cmocka_unit_test\w*|[A-Z]+_TEST)\(\s*{test}\b", file.read())
    return None if found else f"no test {test} in {path}"


def rows_of(document):
    """The cells of each row of its tables, but for heads."""
    rows = []
    with open(os.path.join(root, document), encoding="utf-8") as file:
        for line in file:
            if line.startswith("|---"):
                rows.pop()
            elif line.startswith("|"):
                rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
    return rows


def check(document, least):
    """Each row has three cells, the last of which names a test or more, and these are there. The rows and the failures."""
    rows = rows_of(document)
    failures = [] if len(rows) >= least else [f"{len(rows)} rows instead of {least}"]
    named = 0
    for cells in rows:
        if len(cells) != 3:
            failures.append(f"{cells[0]}: {len(cells)} cells instead of 3")
        tests = re.findall(r"`(tests/[\w/.]+)(?::(\w+))?`", cells[-1])
        named += len(tests)
        if not tests:
            failures.append(f"{cells[0]}: no test")
        failures += [f"{cells[0]}: {wrong(*test)}" for test in tests if wrong(*test)]
    print(f"{document}: {len(rows)} rows, {named} tests named")
    return rows, failures


def finish(failures):
    for failure in failures:
        print("FAILED:", failure)
    sys.exit(1 if failures else 0)
