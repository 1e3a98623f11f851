/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A loop, as the programs timers.c, watchers.c and pipes.c use it: each is linked once with each of bare.c, ours.c,
 * libuv.c, libev.c and libevent.c. Calls go straight to the loop's own ones; what they add is the same for all.
 */
#ifndef IOR_BENCH_LOOP_H
#define IOR_BENCH_LOOP_H

#include <stdbool.h>
#include <stdint.h>

/* A loop with room for so many watches and timers, which are named by numbers below that. */
void loop_open(unsigned watches, unsigned timers);
void loop_close(void);

/* One pass, without waiting. */
void loop_turn(void);

/* Watches an fd for input; stop and start turn that off and on again. */
void loop_watch(unsigned index, int fd);
void loop_stop(unsigned index);
void loop_start(unsigned index);

/* A one-shot timer: arm one that is not armed, move one that is, cancel one that is. */
void loop_timer_set(unsigned index, uint64_t after_ns);
void loop_timer_move(unsigned index, uint64_t after_ns);
void loop_timer_cancel(unsigned index);

/* From the program: what the loop calls. */
void loop_on_readable(unsigned index, int fd);
void loop_on_timer(unsigned index);

#endif
