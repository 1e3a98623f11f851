# SPDX-License-Identifier: Apache-2.0
"""An event among 1,000,000 simulated connections in one runtime, and among 1,000: user instructions, by callgrind."""
import os
import re
import subprocess

import _gate as gate
from _gate import measure

PROGRAM = os.path.join(measure.BUILD_DIR, "bench", "sim_scale")
EVENTS = 4000


def instructions(connections):
    """For one event. Making the connections is not counted, nor instrumented."""
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--instr-atstart=no", PROGRAM,
         str(connections), str(EVENTS)], capture_output=True, text=True, check=False)
    counted = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not counted:
        raise RuntimeError(f"{connections} connections: {done.stdout}{done.stderr}")
    if counted[1] == "0":
        gate.skip("built without valgrind/callgrind.h")
    return int(counted[1]) / EVENTS


gate.begin("valgrind", programs=(PROGRAM,))
few, many = instructions(1000), instructions(1000000)
print(f"instructions for an event among 1,000 connections: {few:.1f}, among 1,000,000: {many:.1f}")
gate.check("sim_instructions_ratio", many / few)
gate.end()
