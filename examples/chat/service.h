/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chat service, apart from the program: chat.c runs it on real sockets, sim_chat.c in a simulated world. It knows
 * nothing of either.
 */
#ifndef EXAMPLES_CHAT_SERVICE_H
#define EXAMPLES_CHAT_SERVICE_H

#include <ioreactor.h>

/* config.read_bytes of its runtime. */
#define CHAT_READ_BYTES 65536

struct room;

/* Zero it, and set cx once the runtime is made. */
struct chat {
    struct ior_context *cx;
    struct room *rooms;
    uint64_t guests; /* ever */
    bool bug;        /* plants a mistake, for sim_chat to find */
};

extern const struct ior_handler chat_handler;

/* How it listens, and its streams. */
void chat_listen_options(struct ior_listen_options *opts);

#endif
