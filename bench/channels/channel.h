/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages from other threads to a loop, as commands.c sends them: it is linked once with each of ours.c, libuv.c and
 * floor.c.
 */
#ifndef IOR_BENCH_CHANNEL_H
#define IOR_BENCH_CHANNEL_H

#include <stddef.h>

/* The size of a message; the sender allocates it, zeroed, and it may be sent again once it has arrived. */
extern const size_t channel_message_bytes;

/* Starts the loop in a thread of its own; ends it. */
void channel_open(void);
void channel_close(void);

/* Sends; any thread. */
void channel_send(void *message);

/* Sends, and waits for the loop's answer; any thread. */
void channel_call(void *message);

/* From the program: called on the loop's thread for each message of channel_send. */
void channel_on_message(void);

#endif
