# SPDX-License-Identifier: Apache-2.0
"""System calls for an echoed message: 100 connections in lock-step, depth 1 and 16, by strace."""
import _gate as gate
from _gate import measure

gate.begin("strace", programs=(measure.example("echo"), measure.BARE))
for engine in gate.engines("epoll", "poll", "uring"):
    for depth in (1, 16):
        bare = measure.system_calls_per_message([measure.BARE], 20, 120, c=100, d=depth)
        found = measure.system_calls_per_message(measure.echo_command(engine), 20, 120, c=100, d=depth)
        print(f"{engine}, depth {depth}: {found:.4f}, a bare epoll loop {bare:.4f}")
        gate.check(f"syscalls_per_message_depth_{depth}" + ("_uring" if engine == "uring" else ""), found)
gate.end()
