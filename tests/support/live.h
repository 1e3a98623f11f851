/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is alive: an allocator that counts the library's blocks, checks what is given back, and fails on demand.
 * Sockets, folders and fds of tests on real engines are in net.h.
 */
#ifndef TESTS_SUPPORT_LIVE_H
#define TESTS_SUPPORT_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Puts the counting allocator under the library (ior_set_alloc), while no block is in use. New blocks are filled with
 * garbage, freed ones too, a grown block always moves. Any number of threads may use it.
 */
void live_alloc_start(void);

/*
 * Takes it away again. Fails the test where a block is still in use, was given back with another length than it had, or
 * was written past its end.
 */
void live_alloc_stop(void);

/* Fails the n-th allocation from now on (1: the next one; 0: none), and with `all` every later one too. */
void live_alloc_fail(uint64_t nth, bool all);

/* Allocations (and growths) asked for since the start or the last live_alloc_fail; how many of them were refused. */
uint64_t live_alloc_calls(void);
uint64_t live_alloc_refused(void);

/* Blocks and bytes in use now, and the most bytes that were in use since live_alloc_start. */
size_t live_alloc_blocks(void);
size_t live_alloc_bytes(void);
size_t live_alloc_peak(void);

#endif
