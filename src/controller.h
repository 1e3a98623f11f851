/* SPDX-License-Identifier: Apache-2.0 */
/* Controllers and their queue, see controller.c. */
#ifndef IOR_SRC_CONTROLLER_H
#define IOR_SRC_CONTROLLER_H

#include <ioreactor/controller.h>
#include <stdatomic.h>

#include "util.h"

struct ior_runtime;

/*
 * What senders write for each command lies in another line of the cache than what the receiver writes for each, wherever
 * the struct begins.
 */
struct ior_controller {
    _Atomic uintptr_t head; /* a stack of commands, newest first; its lowest bit is the mark: it takes no more */
    _Atomic uint64_t wakes; /* that are done; each batch was announced by one */
    unsigned char apart[IOR__LINE_BYTES];
    /* the receiver's own */
    struct ior_command *pending; /* taken, oldest first */
    uint64_t batches;            /* taken so far: each one has, or will have, its wake */
    uint32_t asks_seen;
    /* asking for shutdown */
    _Atomic uint32_t asks;     /* how often shutdown was asked for */
    _Atomic uint64_t drain_ns; /* the shortest that was asked for */
    _Atomic uint32_t asking;   /* calls under way */
    _Atomic bool gone;         /* the receiver must not be woken any more */
    /* the receiver: how to wake it, and whose thread it is */
    void (*wake)(void *arg);
    void *wake_arg;
    _Atomic uintptr_t loop_thread;
    _Atomic uint32_t refs;
};

#define IOR__CLOSED ((uintptr_t)1) /* the mark */

struct ior_controller *ior__controller_new(void (*wake)(void *arg), void *wake_arg);

/* Whether there is nothing to serve, nor a shutdown to look at: one load. The receiver's thread. */
static inline bool ior__controller_idle(const struct ior_controller *ctl)
{
    return !ctl->pending && atomic_load_explicit(&ctl->head, memory_order_acquire) == 0;
}

/* Whether something is queued that was not taken, or not served. The receiver's thread. */
bool ior__controller_ready(const struct ior_controller *ctl);

/* Takes what was sent, where nothing is pending: the oldest, NULL: none. The receiver's thread. */
struct ior_command *ior__controller_batch(struct ior_controller *ctl);

/* The oldest command not yet served, NULL: none. It stays pending. The receiver's thread. */
static inline struct ior_command *ior__controller_first(struct ior_controller *ctl)
{
    return ctl->pending ? ctl->pending : ior__controller_batch(ctl);
}

/* `first` is to be served now. Answers the next one of the same batch, NULL: none. The receiver's thread. */
static inline struct ior_command *ior__controller_shift(struct ior_controller *ctl, struct ior_command *first)
{
    struct ior_command *next = first->priv[0];
    first->priv[0] = NULL;
    ctl->pending = next;
    return next;
}

/* Both: takes out the oldest command not yet served, NULL: none. The receiver's thread. */
static inline struct ior_command *ior__controller_take(struct ior_controller *ctl)
{
    struct ior_command *first = ior__controller_first(ctl);
    if (first)
        (void)ior__controller_shift(ctl, first);
    return first;
}

/*
 * From here on sends answer -EPIPE. What was queued before can still be taken. Without a wake. The receiver's thread.
 */
void ior__controller_close(struct ior_controller *ctl);

/* The receiver goes away: returns when no sender will wake it any more. It must be closed, and taken empty. */
void ior__controller_gone(struct ior_controller *ctl);

/*
 * Sends a command back to whoever waits for it: 0, or -EPIPE where nobody does (any more), and the command is still the
 * caller's. Never calls back.
 */
int ior__command_reply(struct ior_command *command, int status);

/* An accepted command that cannot be delivered: to a thread that waits for its reply, else to `drop`. From a loop. */
void ior__command_drop(struct ior_command *command);

#endif
