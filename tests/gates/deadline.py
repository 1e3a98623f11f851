# SPDX-License-Identifier: Apache-2.0
"""What an idle deadline that every message moves adds to an echo: user instructions for a message, by callgrind."""
import os

import _gate as gate
from _gate import measure

PROGRAM = os.path.join(measure.BUILD_DIR, "bench", "deadline_echo")

gate.begin("valgrind", programs=(PROGRAM,))
without, idle = (measure.instructions_per_message([PROGRAM, how, "epoll"], 200, 2200, c=10) for how in ("none", "idle"))
print(f"for comparison: {without:.1f} without a deadline")
gate.check("idle_deadline_instructions", idle - without)
gate.end()
