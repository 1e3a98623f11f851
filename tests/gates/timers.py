# SPDX-License-Identifier: Apache-2.0
"""What a timer costs among 1,000 and among 1,000,000: user instructions to arm, move, cancel, fire it, by callgrind."""
import os
import re
import subprocess

import _gate as gate
from _gate import measure

PROGRAM = os.path.join(measure.BUILD_DIR, "bench", "timer_count")


def instructions(what, timers):
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--instr-atstart=no", PROGRAM, what,
         str(timers)], capture_output=True, text=True, check=False)
    counted = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not counted:
        raise RuntimeError(f"{what} {timers}: {done.stdout}{done.stderr}")
    if counted[1] == "0":
        gate.skip("built without valgrind/callgrind.h")
    return int(counted[1]) / timers


gate.begin("valgrind", programs=(PROGRAM,))
for one in ("arm", "move", "cancel", "fire"):
    gate.check(f"timer_{one}_instructions_1k", instructions(one, 1000))
    gate.check(f"timer_{one}_instructions_1m", instructions(one, 1000000))
gate.end()
