/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands from other threads: a lock-free stack that the loop takes whole and reverses.
 *
 * A sender links its command in front with one compare-and-swap. The one that found the stack empty wakes the loop, so
 * a batch of any size costs one wake and none is lost: between the loop's taking the stack (which leaves it empty) and
 * its next wait, any new command finds it empty again and wakes. Order per sender is the order of the pushes.
 *
 * Closing sets a mark, the lowest bit of the stack's head (commands are aligned, it is free). That one instruction is
 * the line between commands that will be served and those that are refused. It may come from a signal handler, and
 * from any number of threads: whoever returns from it knows that the line is drawn. The mark stays for good.
 *
 * A waker must not be used once the loop's engine is gone. Each batch taken was announced by exactly one wake (by the
 * sender that found the stack empty), which may still be under way; so the receiver counts batches, senders count the
 * wakes they have finished, and the receiver goes only when both agree.
 */
#include "controller.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "core.h"

struct ior_controller *ior__controller_new(void (*wake)(void *arg), void *wake_arg)
{
    struct ior_controller *ctl = ior__calloc(sizeof(*ctl));
    if (!ctl)
        return NULL;
    atomic_init(&ctl->head, 0);
    atomic_init(&ctl->refs, 1);
    atomic_init(&ctl->drain_ns, IOR_NEVER);
    ctl->wake = wake;
    ctl->wake_arg = wake_arg;
    return ctl;
}

struct ior_controller *ior_controller_ref(struct ior_controller *ctl)
{
    atomic_fetch_add_explicit(&ctl->refs, 1, memory_order_relaxed);
    return ctl;
}

void ior_controller_unref(struct ior_controller *ctl)
{
    if (ctl && atomic_fetch_sub_explicit(&ctl->refs, 1, memory_order_acq_rel) == 1)
        ior__free(ctl, sizeof(*ctl));
}

/* ---- senders ---- */

/* The stack was empty: its receiver may be asleep. */
static IOR_APART int announce(struct ior_controller *ctl)
{
    ctl->wake(ctl->wake_arg);
    atomic_fetch_add_explicit(&ctl->wakes, 1, memory_order_release);
    return 0;
}

/* 0 or -EPIPE. priv[1] stays as it is. */
static IOR_INLINE int push(struct ior_controller *ctl, struct ior_command *command)
{
    uintptr_t head = atomic_load_explicit(&ctl->head, memory_order_relaxed);
    do {
        if (IOR_UNLIKELY(head & IOR__CLOSED))
            return -EPIPE;
        command->priv[0] = (void *)head; /* NOLINT(performance-no-int-to-ptr) */
    } while (!atomic_compare_exchange_weak_explicit(&ctl->head, &head, (uintptr_t)command, memory_order_acq_rel,
                                                    memory_order_relaxed));
    return IOR_LIKELY(head != 0) ? 0 : announce(ctl);
}

int ior_controller_send(struct ior_controller *ctl, struct ior_command *command)
{
    if (!ctl || !command)
        return -EINVAL;
    command->priv[1] = NULL;
    command->is_reply = false;
    return push(ctl, command);
}

int ior_controller_shutdown(struct ior_controller *ctl, uint64_t drain_ns)
{
    if (!ctl)
        return -EINVAL;
    atomic_fetch_add_explicit(&ctl->asking, 1, memory_order_seq_cst);
    if (!atomic_load_explicit(&ctl->gone, memory_order_seq_cst)) {
        uint64_t least = atomic_load_explicit(&ctl->drain_ns, memory_order_relaxed);
        while (drain_ns < least && !atomic_compare_exchange_weak_explicit(&ctl->drain_ns, &least, drain_ns,
                                                                          memory_order_relaxed, memory_order_relaxed))
            ;
        ior__controller_close(ctl);
        atomic_fetch_add_explicit(&ctl->asks, 1, memory_order_release);
        ctl->wake(ctl->wake_arg);
    }
    atomic_fetch_sub_explicit(&ctl->asking, 1, memory_order_release);
    return 0;
}

/* ---- the receiver ---- */

bool ior__controller_ready(const struct ior_controller *ctl)
{
    return ctl->pending || (atomic_load_explicit(&ctl->head, memory_order_acquire) & ~IOR__CLOSED) != 0;
}

/* Takes the stack and leaves the mark: newest first, NULL if there is nothing. */
static struct ior_command *take_stack(struct ior_controller *ctl)
{
    if ((atomic_load_explicit(&ctl->head, memory_order_relaxed) & ~IOR__CLOSED) == 0)
        return NULL;
    uintptr_t head = atomic_fetch_and_explicit(&ctl->head, IOR__CLOSED, memory_order_acq_rel);
    return (void *)(head & ~IOR__CLOSED); /* NOLINT(performance-no-int-to-ptr) */
}

struct ior_command *ior__controller_batch(struct ior_controller *ctl)
{
    struct ior_command *command = take_stack(ctl), *oldest = NULL;
    ctl->batches += command != NULL;
    while (command) {
        struct ior_command *next = command->priv[0];
        command->priv[0] = oldest;
        oldest = command;
        command = next;
    }
    ctl->pending = oldest;
    return oldest;
}

void ior__controller_close(struct ior_controller *ctl)
{
    atomic_fetch_or_explicit(&ctl->head, IOR__CLOSED, memory_order_acq_rel);
}

void ior__controller_gone(struct ior_controller *ctl)
{
    atomic_store_explicit(&ctl->loop_thread, 0, memory_order_relaxed);
    atomic_store_explicit(&ctl->gone, true, memory_order_seq_cst);
    while (atomic_load_explicit(&ctl->asking, memory_order_seq_cst) > 0)
        sched_yield();
    while (atomic_load_explicit(&ctl->wakes, memory_order_acquire) < ctl->batches)
        sched_yield();
}

/* ---- replies ---- */

/* A command sent by ior_controller_call holds a reference to the queue its reply goes to, in priv[1]. */
static void release_waiter(struct ior_command *command, struct ior_controller *waiter)
{
    if (command)
        command->priv[1] = NULL;
    ior_controller_unref(waiter);
}

int ior__command_reply(struct ior_command *command, int status)
{
    struct ior_controller *to = command->reply_to;
    struct ior_controller *waiter = command->priv[1];
    command->status = status;
    command->is_reply = true;
    if (!to)
        return -EPIPE;
    int err = push(to, command);
    if (waiter)
        release_waiter(err < 0 ? command : NULL, waiter);
    if (err < 0)
        command->reply_to = NULL;
    return err;
}

void ior__command_drop(struct ior_command *command)
{
    if (command->priv[1] && ior__command_reply(command, -ECANCELED) == 0)
        return;
    if (command->drop)
        command->drop(command);
}

/* ---- a plain thread waits for a reply ---- */

struct waiter {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool woken;
};

static void waiter_wake(void *arg)
{
    struct waiter *waiter = arg;
    pthread_mutex_lock(&waiter->mutex);
    waiter->woken = true;
    pthread_cond_signal(&waiter->cond);
    pthread_mutex_unlock(&waiter->mutex);
}

static void waiter_wait(struct waiter *waiter, uint64_t timeout_ns)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    uint64_t until = ior_time_add((uint64_t)at.tv_sec * IOR_NS_PER_SEC + (uint64_t)at.tv_nsec, timeout_ns);
    bool for_ever = until / IOR_NS_PER_SEC > INT32_MAX;
    at.tv_sec = (time_t)(until / IOR_NS_PER_SEC);
    at.tv_nsec = (long)(until % IOR_NS_PER_SEC);
    pthread_mutex_lock(&waiter->mutex);
    int err = 0;
    while (!waiter->woken && err != ETIMEDOUT)
        err = for_ever ? pthread_cond_wait(&waiter->cond, &waiter->mutex)
                       : pthread_cond_timedwait(&waiter->cond, &waiter->mutex, &at);
    pthread_mutex_unlock(&waiter->mutex);
}

static int waiter_init(struct waiter *waiter)
{
    pthread_condattr_t attr;
    int err = pthread_condattr_init(&attr);
    if (err)
        return -err;
#if !defined(__APPLE__)
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
#endif
    err = pthread_cond_init(&waiter->cond, &attr);
    pthread_condattr_destroy(&attr);
    if (err)
        return -err;
    err = pthread_mutex_init(&waiter->mutex, NULL);
    if (err)
        pthread_cond_destroy(&waiter->cond);
    waiter->woken = false;
    return -err;
}

/*
 * The reply comes to a queue of the caller's own. Closing that queue decides between the reply and the time-out: a
 * reply that is in it by then is ours, a later one is refused, and goes to `drop` in its loop.
 */
static int call_and_wait(struct ior_controller *ctl, struct ior_command *command, struct ior_controller *own,
                         uint64_t timeout_ns)
{
    command->reply_to = own;
    command->is_reply = false;
    command->priv[1] = ior_controller_ref(own);
    int err = push(ctl, command);
    if (err < 0) {
        command->reply_to = NULL;
        release_waiter(command, own);
        return err;
    }
    waiter_wait(own->wake_arg, timeout_ns);
    ior__controller_close(own);
    struct ior_command *reply = ior__controller_take(own);
    ior__controller_gone(own);
    if (!reply)
        return -ETIMEDOUT;
    reply->reply_to = NULL;
    reply->priv[1] = NULL;
    return 0;
}

int ior_controller_call(struct ior_controller *ctl, struct ior_command *command, uint64_t timeout_ns)
{
    if (!ctl || !command)
        return -EINVAL;
    if (atomic_load_explicit(&ctl->loop_thread, memory_order_relaxed) == ior__thread())
        return -EDEADLK;
    struct waiter waiter;
    int err = waiter_init(&waiter);
    if (err < 0)
        return err;
    struct ior_controller *own = ior__controller_new(waiter_wake, &waiter);
    err = own ? call_and_wait(ctl, command, own, timeout_ns) : -ENOMEM;
    ior_controller_unref(own);
    pthread_mutex_destroy(&waiter.mutex);
    pthread_cond_destroy(&waiter.cond);
    return err;
}
