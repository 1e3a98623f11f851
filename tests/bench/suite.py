# SPDX-License-Identifier: Apache-2.0
"""The suite itself: two scenarios as short as they can be, the document's places, a plot. No figure is looked at."""
import os
import subprocess
import sys
import xml.etree.ElementTree

sys.dont_write_bytecode = True
TOOLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools")
sys.path[:0] = [os.path.join(TOOLS, "bench"), TOOLS]
import measure  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402

if measure.raise_fd_limit() < 8300:
    print("skipped: the suite wants a limit of open files of 8,300")
    sys.exit(77)
for program in (measure.CLIENT, measure.BARE, measure.example("echo")):
    if not os.access(program, os.X_OK):
        print(f"skipped: {program} is not built")
        sys.exit(77)


def suite(*arguments, status=0):
    done = subprocess.run([sys.executable, "-B", os.path.join(TOOLS, "bench"), *arguments], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=measure.WAIT_S)
    assert done.returncode == status, (arguments, done.returncode, done.stdout)
    return done.stdout


said = suite("quick", "echo-1", "watchers", "--rounds", "1", "--seconds", "0.01", "--engine", "epoll")
for words in ("\n## Echo\n", "1 connection, depth 1, 64 B", "bare epoll, again (control)", "ours, epoll",
              "\n## Stop and start"):
    assert words in said, (words, said)
against = suite("quick", "echo-1", "--rounds", "1", "--seconds", "0.01", "--engine", "poll", "--against", "epoll")
assert "ours, epoll, again (control)" in against and "ours, poll" in against and "bare" not in against, against
assert "no scenario 'nonsense'" in suite("nonsense", status=2)
assert "--write is for" in suite("quick", "--write", status=2)

with open(report.PATH, encoding="utf-8") as file:
    document = file.read()
scenarios = suite("--help").split("scenarios: ")[1].splitlines()[0].split(", ")
assert len(scenarios) > 10, scenarios
for name in ("machine", *scenarios):
    changed = report.replaced(document, name, "|changed|")
    assert changed.count("|changed|") == 1 and changed.count("<!-- begin") == document.count("<!-- begin"), name
try:
    report.replaced(document, "nowhere", "")
    raise AssertionError("a place that is not there was written to")
except KeyError:
    pass

picture = xml.etree.ElementTree.fromstring(plot.draw("A < B & C", "x", "y", {
    "one": [(10, 1, 2, 3), (1000, 4, 5, 6)], "two": [(10, 100, 200, 900), (1000, 0, 0, 0)]}))
lines = [part.get("points") for part in picture.iter("{http://www.w3.org/2000/svg}polyline")]
assert len(lines) == 2, lines
first, last = (tuple(float(word) for word in point.split(",")) for point in lines[1].split())
assert plot.LEFT == first[0] < last[0] == plot.WIDTH - plot.RIGHT, lines
assert first[1] < plot.TOP, "what is far above the base leaves the picture"
assert first[1] < last[1] == plot.HEIGHT - plot.BOTTOM, "the larger figure is higher up, and 0 lies on the axis"
print("ok: the suite")
