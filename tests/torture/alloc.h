/* SPDX-License-Identifier: Apache-2.0 */
/* The library's memory in a run: counted, and refused where a run says so. And what the runs know of each other. */
#ifndef TESTS_TORTURE_ALLOC_H
#define TESTS_TORTURE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ioreactor/sim.h>

/* Puts the hook under the library (once) and counts from 0 on. Allocation `fail` is refused; `all`: and later ones. */
void alloc_begin(uint64_t fail, bool all);
uint64_t alloc_calls(void);
uint64_t alloc_refused(void);
size_t alloc_blocks(void);
size_t alloc_bytes(void);

/* Which call it was that the first run of the scenario counted under this index. */
enum ior_sim_call torture_call_of(uint64_t index);

extern bool torture_prints_trace;

#endif
