# SPDX-License-Identifier: Apache-2.0
"""The chat service in the simulated world: seeds pass, a planted mistake is found, and a seed is always the same."""

import os
import re
import sys

from _lib import main, path_of, run


def test_seeds_pass():
    assert run("sim_chat", "--seeds", "60", check=0).stdout == "60 seeds passed\n"


def test_the_mistake_is_found_and_seen_again():
    found = run("sim_chat", "--bug", "--seeds", "2000", check=1)
    seed = re.search(r"^seed (\d+) failed: .+\nsee it again: sim_chat --bug --seed \1 --trace\n$", found.stdout)
    assert seed, found
    failure = found.stdout.splitlines()[0]
    again = [run("sim_chat", "--bug", "--seed", seed[1], "--trace", check=1).stdout for _ in range(2)]
    assert again[0] == again[1]
    assert failure in again[0].splitlines()
    # Without the mistake the same seed passes.
    assert "failed" not in run("sim_chat", "--seed", seed[1], check=0).stdout


def test_seeds_differ():
    traces = {run("sim_chat", "--seed", seed, "--trace", check=0).stdout for seed in ("1", "2")}
    assert len(traces) == 2
    sums = {re.search(r"the sum of the trace is (\w{16})$", trace.strip())[1] for trace in traces}
    assert len(sums) == 2


def test_bad_options():
    for option, value in [("--seed", "x"), ("--seeds", "0")]:
        refused = run("sim_chat", option, value, check=2)
        assert option in refused.stderr and f'"{value}"' in refused.stderr, refused


if __name__ == "__main__":
    if not os.path.exists(path_of("sim_chat")):
        print("skipped: built without the simulated world")
        sys.exit(77)
    main(globals())
