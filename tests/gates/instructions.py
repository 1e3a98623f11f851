# SPDX-License-Identifier: Apache-2.0
"""User instructions for an echoed 64-byte message: 10 connections, depth 1, and 16 on epoll, by callgrind."""
import _gate as gate
from _gate import measure

gate.begin("valgrind", programs=(measure.example("echo"), measure.BARE))
bare = measure.instructions_per_message([measure.BARE], 200, 2200, c=10)
print(f"for comparison: a bare epoll loop takes {bare:.1f}")
gate.check("instructions_per_message", measure.instructions_per_message(measure.echo_command("epoll"), 200, 2200, c=10))
gate.check("instructions_per_message_poll",
           measure.instructions_per_message(measure.echo_command("poll"), 200, 2200, c=10))
if "uring" in measure.engines():
    gate.check("instructions_per_message_uring",
               measure.instructions_per_message(measure.echo_command("uring"), 200, 1200, c=10))
gate.check("instructions_per_message_depth_16",
           measure.instructions_per_message(measure.echo_command("epoll"), 200, 2200, c=10, d=16))
gate.end()
