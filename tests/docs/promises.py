# SPDX-License-Identifier: Apache-2.0
"""docs/promises.md: fifteen promises in order; each names tests that are there, and whose numbers, if any, are its own."""
import re

from _tables import check, finish

rows, failures = check("docs/promises.md", 15)
if [cells[0] for cells in rows] != [str(number) for number in range(1, 16)]:
    failures.append("the promises are not numbered 1 to 15")
for cells in rows:
    for number in re.findall(r":inv(\d\d)_", cells[-1]):
        if int(number) != int(cells[0]):
            failures.append(f"{cells[0]}: a test with the number {number}")
finish(failures)
