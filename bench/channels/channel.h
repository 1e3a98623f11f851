/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages from other threads to a loop, as commands.c sends them: it is linked once with each of ours.c, libuv.c and
 * floor.c.
 */
#ifndef IOR_BENCH_CHANNEL_H
#define IOR_BENCH_CHANNEL_H

#include <stddef.h>

/*
 * The size of a message, for all channels: a cache line, as one has that carries something. The sender allocates it,
 * zeroed, and it may be sent again once it has arrived. (The least they need is 48 bytes for ours and 16 for the others,
 * which do not know senders, replies and drops; a million messages of nothing but a link would be cheaper to walk.)
 */
#define CHANNEL_MESSAGE_BYTES ((size_t)64)

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
