# SPDX-License-Identifier: Apache-2.0
"""Idle connections cost an active one nothing: instructions for a message beside 8,000 idle ones and beside 10."""
import _gate as gate
from _gate import measure

gate.begin("valgrind", programs=(measure.example("echo"),))
number = min(8000, measure.raise_fd_limit() - 200)
few = measure.instructions_per_message(measure.echo_command("epoll"), 1000, 41000, c=1, i=10)
many = measure.instructions_per_message(measure.echo_command("epoll"), 1000, 41000, c=1, i=number)
print(f"instructions for a message beside 10 idle connections: {few:.1f}, beside {number}: {many:.1f}")
gate.check("sparse_instructions_ratio", many / few)
gate.end()
